/** The forwarding engine on the package `http-proxy`. */
import { Denial } from '../decision/denials.js'
import type { Upstream } from '../policy/upstream.js'
import { ConnectionPool } from './connection-pool.js'
import type { ForwardingEngine } from './forwarding.js'
import { createHttpProxySend } from './http-proxy-send.js'
import { type Destination, roundTrip } from './round-trip.js'
import { Tunnels } from './tunnel.js'

/** What an engine is told when it starts. */
export interface HttpProxyEngineOptions {
  readonly upstreams: readonly Upstream[]
  /** The pseudonym of this process in Via (RFC 9110 section 7.6.3). */
  readonly via: string
  /** The longest request body in bytes. */
  readonly bodyBytes: number
  /** How long a client may take nothing of an answer that waits for it. Milliseconds. */
  readonly clientStallMs: number
}

/** Starts an engine. Throws when the URL of an upstream is not plain http or https without a path. */
export function createHttpProxyEngine(options: HttpProxyEngineOptions): ForwardingEngine {
  const send = createHttpProxySend()
  const { via, bodyBytes, clientStallMs } = options
  const destinations = new Map(
    options.upstreams.map((upstream): [string, Destination] => [
      upstream.name,
      {
        upstream,
        pool: new ConnectionPool(upstream),
        tunnels: new Tunnels(upstream.connections),
        ...{ via, bodyBytes, clientStallMs, send },
      },
    ]),
  )
  return {
    forward: async (grant, exchange) => {
      const destination = destinations.get(grant.match.route.upstream ?? '')
      // The policy is validated against the upstreams; a name that is missing here is a fault.
      if (destination === undefined)
        return new Denial('internal_error', `no upstream ${grant.match.route.upstream}`)
      return roundTrip(grant, exchange, destination)
    },
    close: () => {
      for (const { pool, tunnels } of destinations.values()) {
        pool.close()
        tunnels.close()
      }
    },
  }
}
