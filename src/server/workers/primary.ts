import type { Configuration } from '../../config/settings.js'
import { Denial } from '../../decision/denials.js'
import { CombinedMetrics } from '../../observe/combined-metrics.js'
import { bufferedStdout, openLog } from '../../observe/logger.js'
import { type Exposition, Metrics } from '../../observe/metrics.js'
import { createMemoryReplayStore } from '../../sources/replay-store.js'
import { createAdminServer } from '../admin.js'
import { announce, partsOf, warnOfRestart } from '../announce.js'
import { FAILURES, newSeed, now } from '../house.js'
import { createReload } from '../reload.js'
import type { Beginning, Server } from '../start.js'
import { SharedBudgets } from './asked-budgets.js'
import { Fleet } from './fleet.js'

/**
 * The process that serves no request: it keeps the workers, and has what there is one of. That is the admin port, the watch
 * of files, the replay store, and the stdout of the log.
 */
export async function startPrimary(
  { configuration, load, watch, version }: Beginning,
  workers: number,
): Promise<Server> {
  const { server, admin: adminAddress, log: logSettings } = configuration.settings
  const sink = bufferedStdout()
  const log = openLog(logSettings.level, { sink })
  const metrics = new Metrics(version)
  const combined = new CombinedMetrics(metrics)
  const replays = createMemoryReplayStore(now, server.limits.proofs)
  const budgets = new SharedBudgets()
  let inUse = configuration
  let draining = false
  const fleet = new Fleet({
    workers,
    configuration,
    common: { version, seed: newSeed() },
    shared: {
      takeOnce: async ({ key, seconds }) => {
        const first = await replays.takeOnce(key, seconds)
        return first instanceof Denial ? first.detail : first
      },
      budget: question => budgets.answer(question),
    },
    log,
    writeLog: lines => sink.write(lines),
    onEnd: ({ id }) => {
      metrics.workerEnded()
      combined.ended(id)
    },
  })
  // However this process ends, but for SIGKILL: then the workers notice by themselves.
  process.once('exit', () => fleet.kill())

  const reload = createReload({
    load,
    use: async next => {
      await fleet.adopt(next)
      inUse = next
      log.setLevel(next.settings.log.level)
      tell(next)
      warnOfRestart(configuration, next, log)
    },
    hashInUse: () => inUse.hash,
    log,
    metrics,
    watch,
  })
  function tell(policy: Configuration): void {
    budgets.keepOnly(
      new Set([FAILURES, ...policy.routes.routes.flatMap(({ rates }) => rates.map(({ id }) => id))]),
    )
    metrics.policyInUse(partsOf(policy, []), now())
    const { issuers, upstreams } = policy.settings
    combined.keepOnly({
      issuer: [...issuers.keys()],
      upstream: [...upstreams.keys()],
      address: [...upstreams.values()].flatMap(({ urls }) => urls),
    })
    announce(policy, log)
  }

  async function scrape(): Promise<Exposition> {
    const { asked, silent } = await fleet.metrics((id, snapshot) => combined.heard(id, snapshot))
    metrics.workersAre(asked, silent)
    return combined.expose()
  }
  let scraping: Promise<Exposition> | null = null
  const admin = createAdminServer({
    metrics: () => {
      // All who ask at the same time get the same: the work grows with the workers, not with the scrapers.
      scraping ??= scrape().finally(() => {
        scraping = null
      })
      return scraping
    },
    conditions: async () => [
      { name: 'accepting', ok: !draining, detail: 'draining' },
      ...(await fleet.conditions()),
    ],
    reload: () => reload('admin'),
  })
  try {
    const address = await fleet.start()
    await admin.listen(adminAddress.host, adminAddress.port)
    watch.begin(again => reload(again ? 'retry' : 'file'))
    tell(configuration)
    return {
      address,
      admin: admin.address(),
      log,
      reload,
      stop: async () => {
        draining = true
        watch.close()
        log.info({ workers }, 'draining')
        await fleet.drain()
        admin.close()
        log.info({}, 'stopped')
        await log.flush()
      },
    }
  } catch (error) {
    fleet.kill()
    admin.close()
    throw error
  }
}
