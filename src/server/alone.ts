import { setTimeout as sleep } from 'node:timers/promises'
import { openLog } from '../observe/logger.js'
import { Metrics } from '../observe/metrics.js'
import { openMemoryBudget } from '../sources/budget.js'
import { createDpop } from '../sources/dpop.js'
import { createMemoryReplayStore } from '../sources/replay-store.js'
import { createAdminServer } from './admin.js'
import { announce, warnOfRestart } from './announce.js'
import { createHouse, newSeed, now } from './house.js'
import { createReload } from './reload.js'
import { createService } from './service.js'
import { NOTICE_MS } from './shutdown.js'
import type { Beginning, Server } from './start.js'

/** Everything in this one process. */
export async function startAlone({ configuration, load, watch, version }: Beginning): Promise<Server> {
  const { server, admin: adminAddress, log: logSettings } = configuration.settings
  const log = openLog(logSettings.level)
  const metrics = new Metrics(version)
  metrics.workersAre(1, 0)
  let draining = false
  const house = createHouse(log, metrics, () => draining, server.limits, openMemoryBudget)
  const { via, nonceSecret } = newSeed()
  const dpop = createDpop(createMemoryReplayStore(now, server.limits.proofs), nonceSecret)
  const lasting = { via, dpop, openBudget: openMemoryBudget }
  const service = createService(configuration, server, house, lasting)
  const reload = createReload({
    load,
    use: next => {
      service.prepare(next)()
      house.recorder.flush()
      log.setLevel(next.settings.log.level)
      metrics.policyInUse(service.parts(), now())
      announce(next, log)
      warnOfRestart(configuration, next, log)
    },
    hashInUse: () => service.configuration().hash,
    log,
    metrics,
    watch,
  })
  const admin = createAdminServer({
    metrics: () => {
      house.recorder.flush()
      return metrics.expose()
    },
    conditions: () => [{ name: 'accepting', ok: !draining, detail: 'draining' }, ...service.conditions()],
    reload: () => reload('admin'),
  })
  try {
    await service.listen(server.listen)
    await admin.listen(adminAddress.host, adminAddress.port)
  } catch (error) {
    service.destroy()
    admin.close()
    throw error
  }
  watch.begin(again => reload(again ? 'retry' : 'file'))
  service.start()
  metrics.policyInUse(service.parts(), now())
  announce(configuration, log)
  return {
    address: service.address(),
    admin: admin.address(),
    log,
    reload,
    stop: async () => {
      draining = true
      service.announceEnd()
      watch.close()
      log.info({ connections: service.connections() }, 'draining')
      await sleep(NOTICE_MS)
      await service.finish()
      admin.close()
      house.recorder.flush()
      log.info({}, 'stopped')
      await log.flush()
    },
  }
}
