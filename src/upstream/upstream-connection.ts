/** One connection to an upstream, which carries one exchange after the other, never two at once. */
import type { Socket } from 'node:net'
import { onceAllIsRead } from './turn.js'
import { failOnFailedWrites, IDLE_MS, readOnAfterFailedWrites } from './upstream-agent.js'

const NOTHING = Buffer.alloc(0)

/** Where connections come from, and go back to. */
export interface ConnectionSource {
  /** An idle one, or one that is being opened. */
  take(fresh: boolean): UpstreamConnection
  /** It may carry another exchange. */
  giveBack(connection: UpstreamConnection): void
  /** It is closed, or about to. */
  lose(connection: UpstreamConnection): void
}

/** What a connection carries at a time. */
export interface Carried {
  /** Bytes may be written. */
  onReady(): void
  onDrain(): void
  onData(bytes: Buffer): void
  /** The connection is over. null: the upstream ended it in an orderly way. */
  onEnd(error: Error | null): void
}

export class UpstreamConnection {
  readonly #socket: Socket
  readonly #source: ConnectionSource
  #exchange: Carried | null = null
  /** How far the present exchange is: `asked` once it may write, so that what comes may be its answer; `answering` once something has. */
  #phase: 'taken' | 'asked' | 'answering' = 'taken'
  /** The latest piece of an answer, which waits until this turn has read what follows it. */
  #piece: Buffer | null = null
  /** Something has come behind that piece. */
  #isFollowed = false
  /** It is over, and nobody else gets it. */
  #isEnding = false
  #isReady = false
  #isPatched = false
  /** Whether it has carried an exchange before. */
  isUsed = false
  /** When it becomes too old to be used, as performance.now(). */
  idleUntil = 0

  /** @param readyOn the event of the socket after which it may be written to: for TLS, that the peer is verified */
  constructor(socket: Socket, readyOn: 'connect' | 'secureConnect', source: ConnectionSource) {
    this.#socket = socket
    this.#source = source
    socket.once(readyOn, () => {
      this.#isReady = true
      this.#exchange?.onReady()
    })
    socket.on('data', bytes => this.#onData(bytes))
    socket.on('drain', () => this.#exchange?.onDrain())
    socket.on('end', () => this.#onFin())
    socket.on('error', error => this.#onEnd(error))
    socket.on('close', () => this.#onEnd(new ConnectionLost()))
  }

  /** Begins an exchange. */
  carry(exchange: Carried): void {
    this.#exchange = exchange
    this.#phase = 'taken'
    if (this.#isReady) exchange.onReady()
  }

  /** The socket of the exchange under way. A failed write does not hide what the upstream has said before. */
  writable(hasBody: boolean): Socket {
    if (this.#phase === 'taken') this.#phase = 'asked'
    if (hasBody && !this.#isPatched) {
      this.#isPatched = true
      readOnAfterFailedWrites(this.#socket)
    }
    return this.#socket
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** The exchange is complete on both sides; `keepAliveMs` is what the upstream said of idle connections. */
  release(keepAliveMs: number): void {
    this.#exchange = null
    this.isUsed = true
    const idleMs = Math.min(keepAliveMs, IDLE_MS)
    if (this.#isFollowed || this.#isEnding || idleMs === 0 || this.#socket.writableLength > 0) {
      this.destroy()
      return
    }
    this.idleUntil = performance.now() + idleMs
    if (this.#socket.isPaused()) this.#socket.resume()
    this.#source.giveBack(this)
  }

  destroy(): void {
    this.#exchange = null
    this.#piece = null
    this.#socket.destroy()
    this.#source.lose(this)
  }

  #onData(bytes: Buffer): void {
    this.#readFollowed()
    // Bytes on an idle connection answer no request; what follows of them would be taken for the answer to the next,
    // which may be another client's (response queue poisoning, CWE-444).
    if (this.#exchange === null) this.destroy()
    else if (this.#phase === 'taken') this.#onEnd(new ConnectionLost())
    else {
      this.#phase = 'answering'
      this.#piece = bytes
      onceAllIsRead(this.#readPiece)
    }
  }

  readonly #readPiece = (): void => {
    const bytes = this.#piece
    this.#piece = null
    if (bytes !== null) this.#exchange?.onData(bytes)
  }

  /**
   * When the piece turns out to be the end of the answer, whoever waits for a connection must not get this one: it is over, or has said
   * too much. And it would be written to before the rest is read: Node empties the queue of ticks between two records of one packet.
   */
  #readFollowed(): void {
    this.#isFollowed = true
    this.#readPiece()
    this.#isFollowed = false
  }

  /**
   * Node before 24 says that a connection has ended when it was reset behind bytes that had not been read, and half an answer that
   * ends with its connection would pass for a whole one (RFC 9112 section 8). A write of nothing knows better.
   */
  #onFin(): void {
    this.#isEnding = true
    const socket = this.#socket
    const isAnswering = this.#exchange !== null && this.#phase === 'answering'
    if (!isAnswering || socket.writableLength > 0) {
      this.#onEnd(null)
      return
    }
    if (this.#isPatched) failOnFailedWrites(socket)
    socket.write(NOTHING, error => this.#onEnd(error ?? null))
  }

  #onEnd(error: Error | null): void {
    this.#readFollowed()
    const exchange = this.#exchange
    this.destroy()
    exchange?.onEnd(error)
  }
}

/** The connection is over before what it carried is. */
export class ConnectionLost extends Error {
  readonly code = 'ECONNRESET'
}
