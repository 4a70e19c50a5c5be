/**
 * Reads one answer from a connection to an upstream (RFC 9112), in whatever pieces it comes. What has two readings is
 * refused, never repaired: another reader behind or before this one might repair it otherwise, and then the bytes after
 * the answer would be taken for the answer to another client's request.
 */
import { ChunkedReader } from './chunked-reader.js'
import { readField } from './field-line.js'
import { type Answer, MOST_INTERIM_ANSWERS } from './transport.js'
import { MalformedAnswer } from './upstream-failure.js'

/** Bytes of one header. */
const HEAD_BYTES = 65_536
/** To make a text of so few bytes costs less than to look which of them are the header. */
const SHORT = 4096
/** Fields of one header. */
const MOST_FIELDS = 512

const CR = 0x0d
const END_OF_HEAD = Buffer.from('\r\n\r\n')
const NOTHING = Buffer.alloc(0)

/** The space before an absent reason is often absent too. */
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/
const LENGTH = /^\d{1,15}$/

/** How the end of the content is found (section 6.3). */
type Framing = 'none' | 'length' | 'chunked' | 'close'

export class AnswerReader {
  /** An answer to HEAD has no content, whatever its header says. */
  readonly #isToHead: boolean
  /** The beginning of a line of the header whose end has not come. */
  #line = ''
  #headBytes = 0
  #interimAnswers = 0
  #status: { readonly minor: number; readonly code: number; readonly reason: string } | null = null
  #fields: string[] = []
  #framing: Framing = 'none'
  #left = 0
  #chunks: ChunkedReader | null = null

  /** As soon as its header is there. */
  answer: Answer | null = null
  /** The content that the last `read` found; a part of its input. */
  content: Buffer = NOTHING
  isComplete = false
  /** Bytes came after the end of the answer; no request of ours has asked for them. */
  hasExcess = false
  /** Milliseconds for which the upstream keeps an idle connection; 0: not at all. */
  keepAliveMs = Number.POSITIVE_INFINITY

  constructor(method: string) {
    this.#isToHead = method === 'HEAD'
  }

  /** Reads on. `bytes` is overwritten. Throws a MalformedAnswer; nothing may be read afterwards. */
  read(bytes: Buffer): void {
    this.content = NOTHING
    let at = 0
    while (this.answer === null && at < bytes.length) at += this.#readHead(bytes.subarray(at))
    if (this.answer === null) return
    if (!this.isComplete) at = this.#readContent(bytes, at)
    this.hasExcess = at < bytes.length
  }

  /** The upstream has ended the connection. Whether that completes the answer. */
  end(): boolean {
    if (this.answer !== null && this.#framing === 'close') this.isComplete = true
    return this.isComplete
  }

  /** Returns how many bytes belong to the header; all, unless it ends here. */
  #readHead(bytes: Buffer): number {
    // Where the end is split between two reads, or not looked for, this takes in content; an empty line still ends the header.
    const end = bytes.length <= SHORT ? -1 : bytes.indexOf(END_OF_HEAD)
    const text =
      this.#line + bytes.toString('latin1', 0, end === -1 ? bytes.length : end + END_OF_HEAD.length)
    const before = this.#line.length
    let from = 0
    for (;;) {
      const lf = text.indexOf('\n', from)
      this.#limitHead(lf === -1 ? text.length - from : lf + 1 - from)
      if (lf === -1) {
        this.#line = text.slice(from)
        return bytes.length
      }
      if (lf === from || text.charCodeAt(lf - 1) !== CR) throw new MalformedAnswer('a bare LF in the header')
      this.#headBytes += lf + 1 - from
      if (lf - 1 === from) {
        this.#line = ''
        this.#onEndOfHead()
        return lf + 1 - before
      }
      if (this.#status === null) this.#onStatusLine(text.slice(from, lf - 1))
      else readField(text, from, lf - 1, this.#fields)
      from = lf + 1
    }
  }

  #limitHead(more: number): void {
    if (this.#headBytes + more > HEAD_BYTES || this.#fields.length > 2 * MOST_FIELDS)
      throw new MalformedAnswer('the header is too large')
  }

  #onStatusLine(line: string): void {
    const match = STATUS_LINE.exec(line)
    if (match === null) throw new MalformedAnswer('no status line of HTTP/1.0 or HTTP/1.1')
    this.#status = { minor: Number(match[1]), code: Number(match[2]), reason: match[3] ?? '' }
  }

  #onEndOfHead(): void {
    const { minor, code, reason } = this.#status ?? malformed('an empty line before the answer')
    const fields = this.#fields
    const { framing, length, closes } = this.#readFraming(minor, fields)
    if (code < 200) {
      // HTTP/1.0 has no interim answers, and behind a `close` there is nothing to come.
      if (framing !== 'close' || minor === 0 || closes)
        throw new MalformedAnswer('an interim answer with an end')
      this.#onInterimAnswer(code)
      return
    }
    const hasContent = !this.#isToHead && code !== 204 && code !== 304
    this.#framing = hasContent ? framing : 'none'
    this.#left = length
    if (this.#framing === 'chunked') this.#chunks = new ChunkedReader()
    if (closes || minor === 0 || this.#framing === 'close') this.keepAliveMs = 0
    this.answer = { status: code, reason, headers: fields, closes: closes || minor === 0 }
  }

  #onInterimAnswer(code: number): void {
    if (code === 101) throw new MalformedAnswer('101 without an upgrade')
    if (code > 103) throw new MalformedAnswer('an unknown interim answer')
    if (++this.#interimAnswers > MOST_INTERIM_ANSWERS) throw new MalformedAnswer('a flood of interim answers')
    this.#status = null
    this.#fields = []
    this.#headBytes = 0
  }

  /** Section 6.3, for a message that has content; `close` when nothing says where it ends. */
  #readFraming(minor: number, fields: readonly string[]) {
    let length: string | null = null
    let coding: string | null = null
    let closes = false
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string
      const value = fields[i + 1] as string
      // The lengths of the names, so that few of them are compared.
      if (name.length === 14 && name.toLowerCase() === 'content-length') {
        if (length !== null) throw new MalformedAnswer('repeated Content-Length')
        length = value
      } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
        if (coding !== null) throw new MalformedAnswer('repeated Transfer-Encoding')
        coding = value
      } else if (name.length === 10) {
        const lower = name.toLowerCase()
        if (lower === 'connection') closes ||= /\bclose\b/i.test(value)
        else if (lower === 'keep-alive') this.#onKeepAlive(value)
      }
    }
    if (length !== null && !LENGTH.test(length)) throw new MalformedAnswer('Content-Length is no number')
    if (coding !== null) {
      if (length !== null) throw new MalformedAnswer('Content-Length with Transfer-Encoding')
      if (coding.toLowerCase() !== 'chunked')
        throw new MalformedAnswer('a transfer coding other than chunked')
      if (minor === 0) throw new MalformedAnswer('a transfer coding in HTTP/1.0')
    }
    const framing: Framing = coding !== null ? 'chunked' : length !== null ? 'length' : 'close'
    return { framing, length: Number(length ?? 0), closes }
  }

  /** A second early: its clock began before ours. */
  #onKeepAlive(value: string): void {
    const [, seconds] = /(?:^|[\s,;])timeout=(\d{1,6})\b/i.exec(value) ?? []
    if (seconds !== undefined) this.keepAliveMs = Math.max(Number(seconds) - 1, 0) * 1000
  }

  /** Returns where in `bytes` the answer ends, or their length. */
  #readContent(bytes: Buffer, from: number): number {
    switch (this.#framing) {
      case 'none':
        this.isComplete = true
        return from
      case 'length': {
        const end = Math.min(from + this.#left, bytes.length)
        this.content = bytes.subarray(from, end)
        this.#left -= end - from
        this.isComplete = this.#left === 0
        return end
      }
      case 'chunked': {
        const chunks = this.#chunks as ChunkedReader
        this.content = chunks.read(bytes, from)
        this.isComplete = chunks.isDone
        return chunks.endsAt
      }
      case 'close':
        this.content = bytes.subarray(from)
        return bytes.length
    }
  }
}

function malformed(detail: string): never {
  throw new MalformedAnswer(detail)
}
