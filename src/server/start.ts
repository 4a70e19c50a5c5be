import { randomBytes } from 'node:crypto'
import { loadConfiguration } from '../config/load.js'
import { formatProblem, type Problem } from '../config/problem.js'
import type { Address, Configuration, IssuerSettings, Limits } from '../config/settings.js'
import { createFailures, type Failures } from '../gate/failures.js'
import type { House } from '../gate/gate.js'
import { Places } from '../gate/places.js'
import { type Logger, openLog } from '../observe/logger.js'
import { Metrics } from '../observe/metrics.js'
import { openMemoryBudget } from '../sources/budget.js'
import { type Condition, createAdminServer } from './admin.js'
import { compose, type Running, takeOver } from './compose.js'
import { createListener } from './listener.js'
import { createReload, type Reload } from './reload.js'
import { drain } from './shutdown.js'
import { closeUpstreams, upstreamAddresses, upstreamConditions } from './upstreams.js'
import { type FileWatch, watchFiles } from './watch-files.js'

/** The process at work. */
export interface Server {
  readonly address: Address
  readonly admin: Address
  readonly log: Logger
  readonly reload: Reload
  /** Drains and ends everything. Resolves when nothing is left. */
  readonly stop: () => Promise<void>
}

/**
 * Loads the policy and starts the sidecar. Returns the problems instead when the policy has any; rejects when a port
 * cannot be had or OpenSSL refuses a certificate.
 */
export async function startServer(
  file: string,
  environment: NodeJS.ProcessEnv,
  version: string,
): Promise<Server | readonly Problem[]> {
  const watch = watchFiles()
  const load = () => loadWatched(file, environment, watch)
  const loaded = await load()
  if (!('settings' in loaded)) return loaded
  const atStart = loaded
  const { settings } = atStart
  const log = openLog(settings.log.level)
  const metrics = new Metrics(version)
  let draining = false
  const stopwatch = () => performance.now() / 1000
  const house: House = {
    log,
    metrics,
    now: () => Date.now() / 1000,
    stopwatch,
    isDraining: () => draining,
    places: new Places(settings.server.limits.requests),
    failures: failuresOf(settings.server.limits, stopwatch),
  }
  const via = `postern-${randomBytes(4).toString('hex')}`

  let running = compose(atStart, null, house, via)
  const listener = createListener(() => running, house, settings.server.limits)
  const reload = createReload({
    load,
    use: configuration => use(configuration),
    hashInUse: () => running.configuration.hash,
    log,
    metrics,
  })
  const admin = createAdminServer({
    metrics,
    conditions: () => conditionsOf(running, draining),
    reload: () => reload('admin'),
  })

  function use(configuration: Configuration): void {
    const before = running
    running = compose(configuration, before, house, via)
    takeOver(running, before)
    listener.trustChanged()
    log.setLevel(configuration.settings.log.level)
    announce(running, house)
    warnOfRestart(atStart, configuration, log)
  }

  try {
    await listener.listen(settings.server.listen.host, settings.server.listen.port)
    await admin.listen(settings.admin.host, settings.admin.port)
  } catch (error) {
    listener.destroy()
    listener.stopAccepting()
    admin.close()
    throw error
  }
  watch.begin(async again => (await reload(again ? 'retry' : 'file')).length === 0)
  takeOver(running, null)
  announce(running, house)
  return {
    address: addressOf(listener.address()),
    admin: addressOf(admin.address()),
    log,
    reload,
    stop: async () => {
      draining = true
      listener.announceEnd()
      watch.close()
      await drain(listener, log, () => closeUpstreams(running.upstreams))
      for (const { tokens } of running.sources.values()) tokens.close()
      admin.close()
      log.info({}, 'stopped')
      log.flush()
    },
  }
}

function failuresOf({ failures: { requests, perSeconds } }: Limits, stopwatch: () => number): Failures {
  return createFailures(openMemoryBudget('failures', { count: requests, perSeconds }), perSeconds, stopwatch)
}

/** Files are looked at before they are read for use, so that no change falls between; new ones are read twice. */
async function loadWatched(
  file: string,
  environment: NodeJS.ProcessEnv,
  watch: FileWatch,
): Promise<Configuration | readonly Problem[]> {
  for (;;) {
    const loaded = await loadConfiguration(file, environment)
    if (!('settings' in loaded) || watch.isWatching(loaded.files)) return loaded
    await watch.files(loaded.files)
  }
}

function addressOf({ address, port }: { address: string; port: number }): Address {
  return { host: address, port }
}

/** Says what policy is in use, in metrics and log. */
function announce(
  { configuration: { settings, hash, routes, warnings }, upstreams }: Running,
  { metrics, log, now }: House,
): void {
  const { certificates, clients } = settings.server.tls
  const issuers = [...settings.issuers.values()]
  metrics.policyInUse(
    {
      hash,
      certificates,
      lists: (clients.crl ?? []).map(({ name, list }) => ({ name, nextUpdate: list.nextUpdate })),
      fetched: namesOf(issuers.filter(({ keys }) => keys !== null && keys.from !== 'file')),
      asked: namesOf(issuers.filter(({ introspection }) => introspection !== null)),
      addresses: upstreamAddresses(upstreams),
    },
    now(),
  )
  log.info(
    { policy: hash.slice(0, 12), routes: routes.routes.length, profile: settings.server.tls.profile },
    'policy in use',
  )
  for (const warning of warnings) log.warn({ problem: formatProblem(warning) }, 'policy warning')
}

function namesOf(issuers: readonly IssuerSettings[]): readonly string[] {
  return issuers.map(({ rules }) => rules.name)
}

/** Settings that a reload cannot change are said, not ignored in silence, for as long as they differ from the start. */
function warnOfRestart(atStart: Configuration, after: Configuration, log: Logger): void {
  const fixed = ({ settings }: Configuration) => {
    const { bodyBytes: _, ...limits } = settings.server.limits
    return JSON.stringify([settings.server.listen, settings.admin, limits])
  }
  if (fixed(atStart) !== fixed(after))
    log.warn(
      {},
      'server.listen, server.limits (except bodyBytes) and admin.listen take effect at the next start',
    )
}

function conditionsOf({ sources, upstreams }: Running, draining: boolean): readonly Condition[] {
  return [
    { name: 'accepting', ok: !draining, detail: 'draining' },
    ...[...sources].map(([name, { tokens }]) => ({
      name: `keys ${name}`,
      ok: tokens.isReady(),
      detail: 'the keys of the issuer were never had',
    })),
    ...upstreamConditions(upstreams),
  ]
}
