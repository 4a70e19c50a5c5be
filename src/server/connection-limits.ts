import type { Socket } from 'node:net'
import type { Limits } from '../config/settings.js'
import type { ConnectionLimit } from '../observe/metrics.js'
import { clientNetwork } from '../request/client-network.js'

/** Bounds what connections cost before anything is known of them. */
export class ConnectionLimits {
  readonly #limits: Pick<Limits, 'handshakes' | 'connectionsPerAddress'>
  readonly #dropped: (limit: ConnectionLimit) => void
  /** Connections whose handshake is not over, the oldest first. */
  readonly #handshakes = new Set<Socket>()
  readonly #byNetwork = new Map<string, number>()

  constructor(
    limits: Pick<Limits, 'handshakes' | 'connectionsPerAddress'>,
    dropped: (limit: ConnectionLimit) => void,
  ) {
    this.#limits = limits
    this.#dropped = dropped
  }

  /** Takes a connection in that has just been accepted, or ends it: false. */
  accept(socket: Socket): boolean {
    if (!this.#hasRoomForNetwork(socket)) {
      this.#dropped('connectionsPerAddress')
      socket.destroy()
      return false
    }
    this.#handshakes.add(socket)
    socket.once('close', () => this.#handshakes.delete(socket))
    // Not the new one: whoever opens connections and says nothing would keep everybody out for as long as handshakes may take.
    if (this.#handshakes.size > this.#limits.handshakes) this.#endOldestHandshake()
    return true
  }

  /** The handshake of a connection is over. */
  secured(socket: Socket): void {
    this.#handshakes.delete(socket)
  }

  #endOldestHandshake(): void {
    for (const socket of this.#handshakes) {
      this.#handshakes.delete(socket)
      this.#dropped('handshakes')
      socket.destroy()
      return
    }
  }

  #hasRoomForNetwork(socket: Socket): boolean {
    const { connectionsPerAddress } = this.#limits
    if (connectionsPerAddress === null) return true
    const network = clientNetwork(socket.remoteAddress ?? '')
    const present = this.#byNetwork.get(network) ?? 0
    if (present >= connectionsPerAddress) return false
    this.#byNetwork.set(network, present + 1)
    socket.once('close', () => {
      const left = (this.#byNetwork.get(network) ?? 1) - 1
      if (left > 0) this.#byNetwork.set(network, left)
      else this.#byNetwork.delete(network)
    })
    return true
  }
}
