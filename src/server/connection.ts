import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Denial } from '../decision/denials.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import { onceAllIsRead } from '../upstream/turn.js'

/** A client that neither reads nor closes keeps a connection that we have ended for so many milliseconds. */
export const LINGER_MS = 2000
/** A connection is closed after so many requests, so that load spreads again after a restart of a neighbour. */
export const REQUESTS_PER_CONNECTION = 100_000
/** Requests of one connection at a time, the one being handled included. Only clients that pipeline have several. */
const MOST_PIPELINED = 32

/** A request that has arrived on a connection. */
export interface Arrived {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly interactionId: string
  /** Why the rest of it could not be read. */
  malformed: Denial | null
  /** Its turn has come, and nobody else needs to tell of it. */
  isBegun: boolean
  /** Never rejects. */
  readonly handle: () => Promise<void>
}

/** One TLS connection: who is at the other end, and whose turn it is. */
export class Connection {
  readonly socket: TLSSocket
  readonly certificate: CertificateFacts | null
  /** Of the bundle by which the handshake was judged. */
  readonly trustId: string
  /** It was upgraded, or is about to be: no further request will be judged on it. */
  upgraded = false
  /** It has lasted as long as one may: it ends with its present answer. */
  isOld = false
  /** The request that arrived last. */
  latest: Arrived | null = null
  #ended = false
  /** Requests that have arrived; the first of them is being handled, and leaves when its answer is off the connection. */
  readonly #arrived: Arrived[] = []
  #isHandled = false
  #isOff = false

  /** @param ageMs how long it may last */
  constructor(socket: TLSSocket, certificate: CertificateFacts | null, trustId: string, ageMs: number) {
    this.socket = socket
    this.certificate = certificate
    this.trustId = trustId
    // node:http tells a response that its connection closed only when it has been its turn to be written.
    const age = setTimeout(() => this.#growOld(), ageMs)
    socket.once('close', () => {
      clearTimeout(age)
      this.#onOff()
    })
  }

  /** Requests that are being handled or wait for their turn. */
  get pending(): number {
    return this.#arrived.length
  }

  /** Nothing that arrives can be answered any more, so nothing may be done (RFC 9112 section 9.6). */
  get isOver(): boolean {
    return this.#ended || this.socket.destroyed || this.socket.writableEnded
  }

  /**
   * Handles one request after the other: one that is pipelined behind a refusal that closes must not be carried out,
   * and a crowd of them must not take the places of everybody else.
   */
  handleInTurn(arrived: Arrived): void {
    this.latest = arrived
    this.#arrived.push(arrived)
    if (this.pending > MOST_PIPELINED) this.socket.destroy()
    if (this.pending === 1) onceAllIsRead(this.#begin)
  }

  readonly #begin = (): void => {
    if (this.isOver) {
      for (const { request } of this.#arrived.splice(0)) request.resume()
      return
    }
    const [next] = this.#arrived
    if (next === undefined) return
    next.isBegun = true
    next.response.on('close', this.#onOff)
    void next.handle().then(this.#onHandled)
  }

  readonly #onHandled = (): void => {
    this.#isHandled = true
    if (this.#isOff) this.#leave()
  }

  /** Also when all of the connection is. */
  readonly #onOff = (): void => {
    this.#isOff = true
    if (this.#isHandled) this.#leave()
  }

  #leave(): void {
    this.#isHandled = false
    this.#isOff = false
    this.#arrived.shift()
    if (this.pending > 0) onceAllIsRead(this.#begin)
  }

  /** An answer that has not begun can still say that it is the last one. A tunnel is no answer, and goes on. */
  #growOld(): void {
    this.isOld = true
    if (this.upgraded) return
    if (this.pending === 0) this.end()
    else if (this.#arrived[0]?.response.headersSent === false)
      this.#arrived[0].response.shouldKeepAlive = false
  }

  /**
   * Ends the connection and sees to it that it ends: node:http forgets a connection that it was told to end, and what
   * still comes is thrown away.
   */
  end(): void {
    this.#ended = true
    if (this.socket.destroyed) return
    this.socket.end()
    this.socket.resume()
    const timer = setTimeout(() => this.socket.destroy(), LINGER_MS)
    this.socket.once('close', () => clearTimeout(timer))
  }
}
