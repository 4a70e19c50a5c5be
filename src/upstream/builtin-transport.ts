/** Postern's own HTTP/1.1 client to upstreams, for ordinary exchanges. */
import net, { isIP, type Socket } from 'node:net'
import tls from 'node:tls'
import type { Upstream } from '../policy/upstream.js'
import { BuiltinSending } from './builtin-sending.js'
import type { Transport } from './transport.js'
import { IDLE_MS, type Origin } from './upstream-agent.js'
import { type ConnectionSource, UpstreamConnection } from './upstream-connection.js'

/** Carries requests over connections that are kept open between them. How many there are, the caller bounds. */
export function createBuiltinTransport(origin: Origin, upstream: Upstream): Transport {
  const connections = new Connections(connector(origin, upstream))
  return {
    send: (outgoing, events, fresh) => new BuiltinSending(outgoing, events, connections, fresh),
    close: () => connections.close(),
  }
}

/** So much of a body waits for a slow upstream: what one read of a client's connection brings, or each would stop the client. */
const WAITING_BYTES = 64 * 1024

type Connect = (source: ConnectionSource) => UpstreamConnection

/** How to open a connection; what does not change is made once. */
function connector({ protocol, host, port }: Origin, { ca }: Upstream): Connect {
  // What the upstream ends is looked at before it is ended here, too.
  const address = { host, port, noDelay: true, allowHalfOpen: true, highWaterMark: WAITING_BYTES }
  if (protocol === 'http:') return source => new UpstreamConnection(net.connect(address), 'connect', source)
  const options: tls.ConnectionOptions = {
    ...address,
    secureContext: tls.createSecureContext(ca === null ? {} : { ca }),
    ALPNProtocols: ['http/1.1'],
    // The name of the policy, never the Host that the client chose; an address has no place in SNI (RFC 6066 section 3).
    servername: isIP(host) === 0 ? host : '',
    rejectUnauthorized: true, // whatever the environment says
  }
  return source => {
    const socket: Socket = tls.connect(options)
    return new UpstreamConnection(socket, 'secureConnect', source)
  }
}

/** The idle connections to one origin. The one that was used last is taken first, so that those in excess grow old. */
class Connections implements ConnectionSource {
  readonly #connect: Connect
  readonly #idle: UpstreamConnection[] = []
  #sweep: NodeJS.Timeout | null = null
  #isClosed = false

  constructor(connect: Connect) {
    this.#connect = connect
  }

  take(fresh: boolean): UpstreamConnection {
    const now = performance.now()
    for (let idle = fresh ? undefined : this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.idleUntil > now) return idle
      idle.destroy()
    }
    return this.#connect(this)
  }

  giveBack(connection: UpstreamConnection): void {
    if (this.#isClosed) {
      connection.destroy()
      return
    }
    this.#idle.push(connection)
    this.#sweep ??= setTimeout(this.#onSweep, IDLE_MS / 4)
  }

  lose(connection: UpstreamConnection): void {
    const index = this.#idle.lastIndexOf(connection)
    if (index !== -1) this.#idle.splice(index, 1)
  }

  readonly #onSweep = (): void => {
    const now = performance.now()
    for (const connection of this.#idle.filter(({ idleUntil }) => idleUntil <= now)) connection.destroy()
    this.#sweep = this.#idle.length === 0 ? null : setTimeout(this.#onSweep, IDLE_MS / 4)
  }

  close(): void {
    this.#isClosed = true
    for (const connection of [...this.#idle]) connection.destroy()
  }
}
