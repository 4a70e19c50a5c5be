/** The forwarding engine of one address: which transport carries its exchanges. */
import type { Upstream } from '../policy/upstream.js'
import { createBuiltinTransport } from './builtin-transport.js'
import { ConnectionPool } from './connection-pool.js'
import type { ForwardingEngine } from './forwarding.js'
import { createHttpProxyTransport } from './http-proxy-transport.js'
import { roundTrip } from './round-trip.js'
import { Tunnels } from './tunnel.js'
import { originOf } from './upstream-agent.js'

/**
 * Starts an engine for one address. Throws when its URL is not plain http or https without a path.
 * @param via the pseudonym of this process in Via (RFC 9110 section 7.6.3)
 */
export function createEngine(upstream: Upstream, via: string): ForwardingEngine {
  const origin = originOf(upstream.url)
  const upgrades = createHttpProxyTransport(origin, upstream)
  const ordinary = upstream.engine === 'http-proxy' ? upgrades : createBuiltinTransport(origin, upstream)
  const pool = new ConnectionPool(upstream.connections)
  const tunnels = new Tunnels(upstream.connections)
  const { authorization, clientCert } = upstream
  const rules = { via, authorization, clientCert }
  const address = { upstream, pool, tunnels, ordinary, upgrades, rules }
  return {
    attempt: (grant, exchange, terms) => roundTrip(grant, exchange, address, terms),
    permitTunnels: isPermitted => tunnels.permit(isPermitted),
    close: () => {
      ordinary.close()
      upgrades.close()
      tunnels.close()
    },
  }
}
