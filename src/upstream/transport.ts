/** How an exchange speaks to its upstream, whatever carries it: one request out, the events of its answer back. */
import type { Duplex } from 'node:stream'
import type { RawHeaders } from '../request/headers.js'
import type { Exchange } from './forwarding.js'
import type { AnswerHead } from './response-headers.js'

/** Interim answers (1xx) before the answer itself; more of them are a flood. */
export const MOST_INTERIM_ANSWERS = 32

/** What is to be sent to an upstream, complete and final. */
export interface Outgoing {
  readonly method: string
  /** Path and query, byte for byte. */
  readonly target: string
  /** Framing included; Connection only with an upgrade. */
  readonly headers: RawHeaders
  /** 0: no body. null: of unknown length, chunked. */
  readonly bodyBytes: number | null
  /** The client's connection when the answer may be a 101; then there is no body. */
  readonly upgrade: Exchange['upgrade']
}

/** The head of the final answer. Its framing has one reading. */
export interface Answer extends AnswerHead {
  readonly reason: string
  /** The upstream takes nothing more on this connection. */
  readonly closes: boolean
}

/** A 101, and the connection that speaks another protocol from here on. */
export interface Switched {
  readonly answer: AnswerHead
  readonly socket: Duplex
  /** Writes the 101 with this header to the client, and joins both connections. */
  readonly join: (headers: RawHeaders) => void
}

/**
 * What becomes of a request. `stillGranted`, `connected`, `answered` and `data` come in this order; the last `data`, `switched` or
 * `failed` is the end, after which nothing comes, as nothing does after `abort`.
 */
export interface SendingEvents {
  /** Asked when the connection is there, before a byte leaves: it may have taken long. false: the exchange is over. */
  stillGranted(): boolean
  /** Verified TLS included. From here on bytes of the request leave; the body is written only now. */
  connected(): void
  /** `isWhole`: there is no content, and no `data` follows. */
  answered(answer: Answer, isWhole: boolean): void
  /** Content without its transfer coding; may be empty when it is the last. */
  data(chunk: Buffer, isLast: boolean): void
  /** The upstream takes more of the body, after `write` had returned false. */
  drained(): void
  switched(to: Switched): void
  /** `isStale`: an idle connection was taken that the upstream closed just then, without a byte of an answer. */
  failed(error: unknown, isStale: boolean): void
}

/** A request under way. After its end all of this does nothing. */
export interface Sending {
  /** To be called once; events may come before it returns. */
  start(): void
  /** A part of the body. false: no more until `drained`. */
  write(chunk: Buffer): boolean
  /** The body is complete. */
  end(): void
  /** No `data` until `resume`, apart from what was read already. */
  pause(): void
  resume(): void
  /** The connection is closed at once. */
  abort(): void
}

/** One way to reach one origin. An engine is made of these; the rules of an exchange are the same for all. */
export interface Transport {
  /** Throws when the request cannot be written. `fresh`: on a connection that carried nothing before. */
  send(outgoing: Outgoing, events: SendingEvents, fresh: boolean): Sending
  /** Idle connections end now, the others after their exchange. */
  close(): void
}
