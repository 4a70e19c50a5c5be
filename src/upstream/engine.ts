/** The forwarding engine: which transport carries the exchanges with which upstream. */
import { Denial } from '../decision/denials.js'
import type { Upstream } from '../policy/upstream.js'
import { createBuiltinTransport } from './builtin-transport.js'
import { ConnectionPool } from './connection-pool.js'
import type { ForwardingEngine } from './forwarding.js'
import { createHttpProxyTransport } from './http-proxy-transport.js'
import { type Destination, roundTrip } from './round-trip.js'
import { Tunnels } from './tunnel.js'
import { originOf } from './upstream-agent.js'

/** What an engine is told when it starts. */
export interface EngineOptions {
  readonly upstreams: readonly Upstream[]
  /** The pseudonym of this process in Via (RFC 9110 section 7.6.3). */
  readonly via: string
  /** The longest request body in bytes. */
  readonly bodyBytes: number
  /** How long a client may take nothing of an answer that waits for it. Milliseconds. */
  readonly clientStallMs: number
}

/** Starts an engine. Throws when the URL of an upstream is not plain http or https without a path. */
export function createEngine(options: EngineOptions): ForwardingEngine {
  const destinations = new Map(
    options.upstreams.map((upstream): [string, Destination] => [
      upstream.name,
      createDestination(upstream, options),
    ]),
  )
  return {
    forward: async (grant, exchange) => {
      const destination = destinations.get(grant.match.route.upstream ?? '')
      // The policy is validated against the upstreams; a name that is missing here is a fault.
      if (destination === undefined)
        return new Denial('internal_error', `no upstream ${grant.match.route.upstream}`)
      const outcome = await roundTrip(grant, exchange, destination)
      return outcome !== null && 'denial' in outcome ? outcome.denial : outcome
    },
    close: () => destinations.forEach(closeDestination),
  }
}

/** What forwarding to one address needs. Throws when its URL is not plain http or https without a path. */
export function createDestination(
  upstream: Upstream,
  options: Omit<EngineOptions, 'upstreams'>,
): Destination {
  const origin = originOf(upstream.url)
  const throughHttpProxy = createHttpProxyTransport(origin, upstream)
  const { via, bodyBytes, clientStallMs } = options
  return {
    upstream,
    pool: new ConnectionPool(upstream.connections),
    tunnels: new Tunnels(upstream.connections),
    ordinary: upstream.engine === 'http-proxy' ? throughHttpProxy : createBuiltinTransport(origin, upstream),
    upgrades: throughHttpProxy,
    ...{ via, bodyBytes, clientStallMs },
  }
}

/** Ends its idle connections, and its tunnels with a close frame; running exchanges finish. */
export function closeDestination({ ordinary, upgrades, tunnels }: Destination): void {
  ordinary.close()
  upgrades.close()
  tunnels.close()
}
