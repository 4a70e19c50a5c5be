/** A chunked body (RFC 9112 section 7.1), read strictly, in whatever pieces it comes. */
import { isFramingName, readField } from './field-line.js'
import { MalformedAnswer } from './upstream-failure.js'

/** Bytes of one chunk-size line with its extensions. */
const SIZE_LINE_BYTES = 1024
/** Bytes of all trailers. */
const TRAILER_BYTES = 16_384
/** Bytes of all extensions; they may come with every byte of content. */
const EXTENSION_BYTES = 16_384

/**
 * Up to 8 digits: nobody sends 4 GiB in one chunk. Extensions mean nothing to us (section 7.1.1), but one that is
 * malformed could be read as the end of the line elsewhere.
 */
const SIZE_LINE =
  /^([0-9A-Fa-f]{1,8})((?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"[ !\x23-\x5b\x5d-\x7e]*"))?)*)$/

const LF = 0x0a

/** Removes the transfer coding, in place. Trailers are checked and dropped: nothing may act on them (RFC 9110 section 6.5.1). */
export class ChunkedReader {
  #expects: 'size' | 'content' | 'end of content' | 'trailer' = 'size'
  #left = 0
  /** The beginning of a line whose end has not come. */
  #line = ''
  #trailerBytes = 0
  #extensionBytes = 0
  isDone = false
  /** Where the body ends in the last input; what is behind it is no part of it. */
  endsAt = 0

  /** The content in `bytes` from `from` on, as a part of `bytes`, which is overwritten. */
  read(bytes: Buffer, from: number): Buffer {
    let at = from
    let start = from
    let end = from
    while (at < bytes.length && !this.isDone) {
      if (this.#expects !== 'content') {
        at = this.#readLine(bytes, at)
        continue
      }
      const until = Math.min(at + this.#left, bytes.length)
      if (start === end) {
        start = at
        end = until
      } else {
        bytes.copyWithin(end, at, until)
        end += until - at
      }
      this.#left -= until - at
      at = until
      if (this.#left === 0) this.#expects = 'end of content'
    }
    this.endsAt = at
    return bytes.subarray(start, end)
  }

  #readLine(bytes: Buffer, from: number): number {
    const lf = bytes.indexOf(LF, from)
    const line = this.#line + bytes.toString('latin1', from, lf === -1 ? bytes.length : lf)
    if (line.length > this.#mostBytes) throw new MalformedAnswer('a line of the chunked coding is too long')
    if (lf === -1) {
      this.#line = line
      return bytes.length
    }
    this.#line = ''
    if (!line.endsWith('\r')) throw new MalformedAnswer('a bare LF in the chunked coding')
    this.#onLine(line.slice(0, -1))
    return lf + 1
  }

  /** For what the next line is, its CR included. */
  get #mostBytes(): number {
    if (this.#expects === 'size') return SIZE_LINE_BYTES
    return this.#expects === 'trailer' ? TRAILER_BYTES - this.#trailerBytes : 1
  }

  #onLine(line: string): void {
    if (this.#expects === 'size') this.#onSize(line)
    else if (this.#expects === 'end of content') {
      if (line !== '') throw new MalformedAnswer('a chunk is longer than its size')
      this.#expects = 'size'
    } else if (line === '') this.isDone = true
    else {
      this.#trailerBytes += line.length
      const trailer: string[] = []
      readField(line, 0, line.length, trailer)
      // Too late, and read by some all the same.
      if (isFramingName(trailer[0] as string)) throw new MalformedAnswer('framing in a trailer')
    }
  }

  #onSize(line: string): void {
    const [, digits, extensions = ''] = SIZE_LINE.exec(line) ?? []
    if (digits === undefined) throw new MalformedAnswer('a chunk size that is none')
    this.#extensionBytes += extensions.length
    if (this.#extensionBytes > EXTENSION_BYTES) throw new MalformedAnswer('a flood of chunk extensions')
    this.#left = Number.parseInt(digits, 16)
    this.#expects = this.#left === 0 ? 'trailer' : 'content'
  }
}
