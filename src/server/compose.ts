import type { Configuration } from '../config/settings.js'
import type { Gate, House } from '../gate/gate.js'
import { createRequestCounter } from '../gate/rates.js'
import { createAuthenticator } from '../sources/authenticate-token.js'
import type { OpenBudget } from '../sources/budget.js'
import type { Dpop } from '../sources/dpop.js'
import type { SourceMeter } from '../sources/token-source.js'
import type { UpstreamMeter } from '../upstream/balanced-upstream.js'
import { type TrustBundle, trustBundle } from './client-trust.js'
import { permittedTunnels } from './permitted-tunnels.js'
import { closeReplacedBudgets, type RateBudgets, rateBudgets } from './rate-budgets.js'
import { type TlsContexts, tlsContexts } from './tls-options.js'
import { closeReplacedSources, type SourcesByIssuer, startNewSources, tokenSources } from './token-sources.js'
import { clientsOf } from './trusted-terminators.js'
import { forwardTo, type RunningUpstreams, runUpstreams, takeOverUpstreams } from './upstreams.js'

/** Everything that one configuration became. One immutable value: a reload builds another and swaps the reference. */
export interface Running {
  readonly configuration: Configuration
  readonly gate: Gate
  readonly bundle: TrustBundle
  readonly tls: TlsContexts
  readonly sources: SourcesByIssuer
  readonly upstreams: RunningUpstreams
  readonly budgets: RateBudgets
}

/** What outlives gates: it is made once and goes from each to the next. */
export interface Lasting {
  /** Pseudonym of this sidecar in the Via header. */
  readonly via: string
  /** Used proofs stay used, and nonces that are on their way stay good. */
  readonly dpop: Dpop
  readonly openBudget: OpenBudget
}

/**
 * Builds a gate with its edges; the only file that knows every edge. Parts whose settings have not changed are taken
 * over from `before`, so that caches, key sets and upstream connections survive a reload. Throws, leaving `before` as
 * it was, when OpenSSL refuses what the settings ask for.
 */
export function compose(
  configuration: Configuration,
  before: Running | null,
  house: House,
  { via, dpop, openBudget }: Lasting,
): Running {
  const { settings, routes, hash } = configuration
  const tls = tlsContexts(settings.server.tls)
  const bundle = trustBundle(settings.server.tls.clients)
  const sources = tokenSources(settings.issuers, before?.sources ?? new Map(), meterOf(house))
  const upstreams = runUpstreams(
    settings.upstreams,
    via,
    upstreamMeterOf(house),
    before?.upstreams ?? new Map(),
  )
  const budgets = rateBudgets(
    routes.routes.flatMap(({ rates }) => rates),
    before?.budgets ?? new Map(),
    openBudget,
  )
  const gate: Gate = {
    policyHash: hash,
    served: { hosts: new Set(settings.server.publicOrigins.map(origin => new URL(origin).host)), via },
    routes,
    trust: bundle.trust,
    clientOf: clientsOf(settings.terminators, settings.server.tls.clients, bundle.trust),
    authenticate: createAuthenticator(new Map([...sources].map(([name, { tokens }]) => [name, tokens]))),
    countRequest: createRequestCounter(budgets),
    dpop,
    forward: forwardTo(upstreams, settings.server.limits),
    errors: settings.errors,
  }
  return { configuration, gate, bundle, tls, sources, upstreams, budgets }
}

/** Starts what is new and ends what is replaced; called once the new value is in use. */
export function takeOver(running: Running, before: Running | null): void {
  startNewSources(running.sources, before?.sources ?? new Map())
  takeOverUpstreams(
    running.upstreams,
    before?.upstreams ?? new Map(),
    permittedTunnels(running.configuration, running.sources),
  )
  if (before === null) return
  closeReplacedSources(running.sources, before.sources)
  closeReplacedBudgets(running.budgets, before.budgets)
}

function meterOf({ metrics, log, now }: House): SourceMeter {
  return {
    tokenCache: result => metrics.tokenCache(result),
    keysRefresh: (issuer, result, detail) => {
      metrics.keysRefresh(issuer, result, now())
      if (result === 'failure') log.warn({ issuer, detail }, 'keys could not be fetched')
      else log.debug({ issuer, detail }, 'keys fetched')
    },
    introspection: (issuer, result, detail, seconds) => {
      metrics.introspection(issuer, result, seconds)
      if (result === 'unauthorized')
        log.error({ issuer, detail }, 'the introspection endpoint refuses the credentials of Postern')
      else if (result === 'unavailable' || result === 'malformed')
        log.warn({ issuer, result, detail }, 'introspection failed')
    },
  }
}

function upstreamMeterOf({ metrics, log }: House): UpstreamMeter {
  return {
    retried: (upstream, result) => metrics.upstreamRetry(upstream, result),
    healthChanged: (upstream, address, change, detail) => {
      metrics.upstreamHealth(upstream, address, change)
      if (change === 'ejected') log.warn({ upstream, address, detail }, 'address ejected')
      else log.info({ upstream, address, detail }, 'address returned')
    },
  }
}
