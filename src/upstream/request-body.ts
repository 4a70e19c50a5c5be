/** The client's body on its way to the upstream: counted, limited, never collected. */
import { Denial } from '../decision/denials.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'
import type { IncomingRequest } from './client-message.js'
import type { Sending } from './transport.js'

/** Bytes of the body that a request announces (RFC 9112 section 6.3); 0: none, null: as many as come. */
export function announcedBytes(headers: RawHeaders): number | null {
  if (valuesOf(headers, 'transfer-encoding').length > 0) return null
  return Number(valuesOf(headers, 'content-length')[0] ?? 0)
}

/** Whether a request announces a body. */
export function announcesBody(headers: RawHeaders): boolean {
  return announcedBytes(headers) !== 0
}

/** `body_too_large` when the announced length alone is over the limit, so that nothing needs to be read. */
export function announcedTooLarge(headers: RawHeaders, limitBytes: number): Denial | null {
  const bytes = announcedBytes(headers)
  return bytes !== null && bytes > limitBytes ? tooLarge(limitBytes) : null
}

/** The refusal of a body that is over the limit. */
export function tooLarge(limitBytes: number): Denial {
  return new Denial('body_too_large', `more than ${limitBytes} bytes`)
}

/** Whether the client waits to hear that the body is wanted (RFC 9110 section 10.1.1). */
export function expectsContinue(headers: RawHeaders): boolean {
  return valuesOf(headers, 'expect').some(value => value.toLowerCase() === '100-continue')
}

/** Who is told how an upload goes. */
export interface UploadEvents {
  /** Some of the body passed. */
  bodyPassed(): void
  /** The limit is exceeded: nothing passes any more, and the upstream never sees an end. */
  bodyTooLarge(): void
}

/** Carries the body of a request to the upstream, as fast as the upstream reads, and stops for good over the limit. */
export class Upload {
  readonly #request: IncomingRequest
  readonly #to: Sending
  readonly #events: UploadEvents
  #left: number
  #isOver = false
  /** The upstream reads slower than the client sends. */
  isBlocked = false

  constructor(request: IncomingRequest, limitBytes: number, to: Sending, events: UploadEvents) {
    this.#request = request
    this.#left = limitBytes
    this.#to = to
    this.#events = events
  }

  start(): void {
    const request = this.#request
    // What came together with the head leaves together with the head.
    const first = request.read() as Buffer | null
    if (first !== null) this.#onData(first)
    if (this.#isOver) return
    if (request.complete && request.readableLength === 0) {
      this.#onEnd()
      return
    }
    request.on('end', this.#onEnd)
    request.on('data', this.#onData)
    // Listening alone does not wake a request that an attempt before this one has stopped.
    if (this.isBlocked) request.pause()
    else request.resume()
  }

  /** The upstream takes more. */
  drained(): void {
    this.isBlocked = false
    if (!this.#isOver) this.#request.resume()
  }

  /** Nothing is read for the upstream any more; what the client still sends waits. */
  stop(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#request.removeListener('end', this.#onEnd)
    this.#request.removeListener('data', this.#onData)
    this.#request.pause()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#left -= chunk.length
    if (this.#left < 0) {
      this.stop()
      this.#events.bodyTooLarge()
      return
    }
    this.#events.bodyPassed()
    if (this.#to.write(chunk)) return
    this.isBlocked = true
    this.#request.pause()
  }

  readonly #onEnd = (): void => {
    this.stop()
    this.#to.end()
  }
}
