import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Limits } from '../../config/settings.js'
import type { CertificateFacts } from '../../request/certificate-facts.js'
import { LINGER_MS, REQUESTS_PER_CONNECTION } from '../connection.js'
import { Allowance } from './allowance.js'
import { isWhole } from './stream-answer.js'

/**
 * Requests of one connection at a time; RFC 9113 section 6.5.2 recommends no fewer. Each takes a place of server.limits.requests
 * like any other, also for as long as work goes on for one that the client has reset.
 */
const MOST_STREAMS = 100
/** Twice all that a client may have under way and give up at once, such as when a page is left. */
const MOST_RESETS = 2 * MOST_STREAMS
/** Settings and pings, each of which has to be acknowledged. */
const MOST_QUESTIONS = 1000
/** The time for these, in milliseconds. */
const WINDOW_MS = 10_000
/** Frames that break the protocol, and empty ones, in the life of a connection. */
const MOST_INVALID_FRAMES = 200
/** Megabytes of a connection in node:http2: a chunk of an answer that waits for each stream, and heads of requests. */
const MOST_MEMORY_MB = 8
/** Each field counts 32 bytes at least (section 6.5.2). */
const LEAST_FIELD_BYTES = 32

/** What a connection asks of the listener. */
export interface Http2Host {
  readonly limits: Pick<Limits, 'headerBytes' | 'headersTimeoutMs' | 'idleTimeoutMs'>
  /**
   * Answers a stream; resolves when no work is done for it any more, with whether an answer that had begun was given up
   * here, such as one that the upstream did not complete. Never rejects.
   */
  readonly serve: (
    stream: ServerHttp2Stream,
    fields: string[],
    connection: Http2Connection,
  ) => Promise<boolean>
  /** The client does what only an attack does; the connection is over. */
  readonly dropped: () => void
  /** The connection broke the protocol, and is over. */
  readonly failed: (reason: string, clientAddress: string) => void
}

/** One TLS connection that speaks HTTP/2: who is at the other end, and what it may still do. */
export class Http2Connection {
  readonly socket: TLSSocket
  readonly certificate: CertificateFacts | null
  /** Of the bundle by which the handshake was judged. */
  readonly trustId: string
  /** Read at once: it is gone when the client is. */
  readonly clientAddress: string
  readonly #host: Http2Host
  readonly #session: ServerHttp2Session
  readonly #resets = new Allowance(MOST_RESETS, WINDOW_MS)
  readonly #questions = new Allowance(MOST_QUESTIONS, WINDOW_MS)
  #requests = 0
  /** Streams that are open, and those for which work still goes on. */
  #pending = 0
  #isEnding = false
  /** The client does what only an attack does. */
  isDropped = false
  #timer: NodeJS.Timeout | undefined

  /** @param ageMs how long it may last */
  constructor(
    socket: TLSSocket,
    certificate: CertificateFacts | null,
    trustId: string,
    ageMs: number,
    host: Http2Host,
  ) {
    this.socket = socket
    this.certificate = certificate
    this.trustId = trustId
    this.clientAddress = socket.remoteAddress ?? ''
    this.#host = host
    socket.on('error', ignore)
    const { headerBytes, headersTimeoutMs } = host.limits
    this.#session = performServerHandshake(socket, {
      settings: { maxConcurrentStreams: MOST_STREAMS, maxHeaderListSize: headerBytes, enablePush: false },
      maxHeaderListPairs: Math.ceil(headerBytes / LEAST_FIELD_BYTES),
      maxSessionInvalidFrames: MOST_INVALID_FRAMES,
      maxSessionMemory: MOST_MEMORY_MB,
    })
    this.#listen()
    const age = setTimeout(() => this.end(), ageMs)
    this.#endAfter(headersTimeoutMs)
    socket.once('close', () => {
      clearTimeout(age)
      clearTimeout(this.#timer)
    })
  }

  /** Nothing is asked at present. */
  get isIdle(): boolean {
    return this.#pending === 0
  }

  /** It has asked something before. */
  get isUsed(): boolean {
    return this.#requests > 0
  }

  #listen(): void {
    const session = this.#session
    // The types leave the last argument out; the documentation has it.
    session.on('stream', (stream: ServerHttp2Stream, ...[, , fields]: unknown[]) => {
      void this.#onStream(stream, fields as string[])
    })
    session.on('ping', () => this.#spend(this.#questions))
    session.on('remoteSettings', () => this.#spend(this.#questions))
    session.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ERR_HTTP2_TOO_MANY_INVALID_FRAMES') this.#drop()
      else this.#host.failed(error.code ?? error.name, this.clientAddress)
    })
  }

  async #onStream(stream: ServerHttp2Stream, fields: string[]): Promise<void> {
    stream.on('error', ignore)
    // A reset that says NO_ERROR would leave it half open. Not at once: node:http2 is in the middle of it.
    stream.once('aborted', () => setImmediate(() => stream.destroy()))
    if (stream.destroyed || stream.closed) {
      this.#spend(this.#resets) // in one packet with its request, which nobody needs to look at
      return
    }
    // The number says that nothing was done for it. Work for streams that were reset counts as well: a client cannot have
    // more of it by forgetting about it (CVE-2023-44487).
    if (this.#isEnding || this.#pending >= MOST_STREAMS) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM)
      this.#spend(this.#resets)
      return
    }
    clearTimeout(this.#timer)
    this.#pending += 1
    this.#requests += 1
    if (this.#requests >= REQUESTS_PER_CONNECTION) this.end()
    const closed = new Promise<void>(resolve => stream.once('close', () => resolve()))
    const isBrokenOff = await this.#host.serve(stream, fields, this)
    await closed
    this.#pending -= 1
    // The client took the connection with it. A timer would only keep what is left of both.
    if (this.socket.destroyed) return
    // Whoever it was that sent the reset: a client can provoke those of the library as well (CVE-2025-8671).
    if (!isBrokenOff && !isWhole(stream)) this.#spend(this.#resets)
    if (this.#pending === 0) this.#onIdle()
  }

  #onIdle(): void {
    if (this.#isEnding) this.#linger()
    else this.#endAfter(this.#host.limits.idleTimeoutMs)
  }

  /** Unless a request comes before that. What else comes, such as pings, is no reason to stay. */
  #endAfter(milliseconds: number): void {
    this.#timer = setTimeout(() => this.end(), milliseconds)
  }

  /** No further stream is accepted (GOAWAY); those that are open are answered, then the connection ends. */
  end(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#session.close()
    if (this.#pending === 0) this.#linger()
  }

  /** node:http2 forgets connections that its library has given up, and clients need not close theirs. */
  #linger(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.socket.destroy(), LINGER_MS)
  }

  #spend(allowance: Allowance): void {
    if (!allowance.spend(performance.now())) this.#drop()
  }

  /** Ends the connection at once, and tells why (section 10.5). */
  #drop(): void {
    if (this.isDropped) return
    this.isDropped = true
    this.#isEnding = true
    this.#host.dropped()
    if (!this.#session.destroyed) this.#session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM)
    // The frame leaves in this turn.
    setImmediate(() => this.socket.destroy())
  }

  /** Ends everything at once. */
  destroy(): void {
    this.socket.destroy()
  }
}

function ignore(): void {}
