/** The client's body on its way to the upstream: counted, limited, never collected. */
import { Transform, type TransformCallback } from 'node:stream'
import { Denial } from '../decision/denials.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'

/** Whether a request announces a body (RFC 9112 section 6.3). */
export function announcesBody(headers: RawHeaders): boolean {
  if (valuesOf(headers, 'transfer-encoding').length > 0) return true
  const length = valuesOf(headers, 'content-length')[0]
  return length !== undefined && Number(length) > 0
}

/** `body_too_large` when the announced length alone is over the limit, so that nothing needs to be read. */
export function announcedTooLarge(headers: RawHeaders, limitBytes: number): Denial | null {
  const length = valuesOf(headers, 'content-length')[0]
  return length !== undefined && Number(length) > limitBytes ? tooLarge(limitBytes) : null
}

/** The refusal of a body that is over the limit. */
export function tooLarge(limitBytes: number): Denial {
  return new Denial('body_too_large', `more than ${limitBytes} bytes`)
}

/** Passes a body on and stops for good at the first byte over the limit. */
export class LimitedBody extends Transform {
  readonly #limitBytes: number
  readonly #onBytes: () => void
  readonly #onTooLarge: () => void
  #seen = 0

  constructor(limitBytes: number, onBytes: () => void, onTooLarge: () => void) {
    super()
    this.#limitBytes = limitBytes
    this.#onBytes = onBytes
    this.#onTooLarge = onTooLarge
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#seen += chunk.length
    if (this.#seen > this.#limitBytes) {
      this.#onTooLarge() // `done` is never called: nothing more passes
      return
    }
    this.#onBytes()
    done(null, chunk)
  }
}
