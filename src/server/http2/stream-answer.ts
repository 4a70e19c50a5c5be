import { EventEmitter } from 'node:events'
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { OutgoingAnswer } from '../../upstream/client-message.js'
import type { StreamRequest } from './stream-request.js'

/** Fields that node:http2 writes once at most. Two of them in an answer have no meaning; these two are lists. */
const LISTS = new Set(['content-encoding', 'content-language'])
const SINGLE = new Set([
  ...LISTS,
  'access-control-allow-credentials',
  'access-control-max-age',
  'access-control-request-method',
  'age',
  'authorization',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'dnt',
  'etag',
  'expires',
  'from',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'tk',
  'upgrade-insecure-requests',
  'user-agent',
  'x-content-type-options',
])

/** The answer on a stream, as node:http would write it, without what HTTP/2 says otherwise. */
export class StreamAnswer extends EventEmitter implements OutgoingAnswer {
  readonly req: StreamRequest
  statusCode = 200
  shouldKeepAlive = true
  readonly #stream: ServerHttp2Stream
  readonly #fields: string[] = []
  #isWritten = false
  #isAbandoned = false
  /** The answer had begun, and was given up here. */
  isBrokenOff = false

  constructor(stream: ServerHttp2Stream, request: StreamRequest) {
    super()
    this.#stream = stream
    this.req = request
    stream.on('drain', () => this.#tell('drain'))
    stream.once('finish', () => this.#onWritten())
    stream.once('close', () => {
      if (isWhole(stream)) this.#onWritten()
      this.#tell('close')
    })
  }

  #onWritten(): void {
    if (this.#isWritten) return
    this.#isWritten = true
    this.#tell('finish')
  }

  #tell(event: 'drain' | 'finish' | 'close'): void {
    if (!this.#isAbandoned) this.emit(event)
  }

  get headersSent(): boolean {
    return this.#stream.headersSent
  }

  get destroyed(): boolean {
    return this.#isAbandoned || this.#stream.destroyed || this.#stream.closed
  }

  get writableNeedDrain(): boolean {
    return this.#stream.writableNeedDrain
  }

  setHeader(name: string, value: string | number): void {
    this.#fields.push(name, String(value))
  }

  appendHeader(name: string, value: string): void {
    this.#fields.push(name, value)
  }

  writeContinue(): void {
    if (!this.destroyed && !this.headersSent) this.#stream.additionalHeaders({ ':status': 100 })
  }

  writeHead(status: number, _reason: string, headers: readonly string[]): void {
    this.statusCode = status
    // The client has left; its stream says so in a moment.
    if (!this.destroyed) this.#stream.respond(dictionaryOf(status, headers))
  }

  flushHeaders(): void {
    if (!this.headersSent) this.writeHead(this.statusCode, '', this.#fields)
  }

  write(chunk: Buffer | string): boolean {
    this.flushHeaders()
    return !this.#takesContent || this.#stream.write(chunk)
  }

  end(chunk: Buffer | string = '', encoding: BufferEncoding = 'utf8'): void {
    this.flushHeaders()
    if (this.destroyed) return
    if (this.#takesContent && chunk.length > 0) this.#stream.end(chunk, encoding)
    else this.#stream.end()
  }

  /** Not after an answer that has none, such as 204: its head was the end of the stream. */
  get #takesContent(): boolean {
    return !this.destroyed && !this.#stream.writableEnded
  }

  destroy(): void {
    if (this.destroyed) return
    this.isBrokenOff = true
    breakOff(this.#stream)
  }

  /** Nothing more is written here, and whoever does takes the client for gone; another answer may be written to the stream. */
  abandon(): void {
    this.#isAbandoned = true
    this.emit('close')
  }
}

/**
 * All of the answer is sent. A stream that both sides have ended may be closed before node:http2 says `finish`; and that of a HEAD
 * is ended as soon as it comes.
 */
export function isWhole(stream: ServerHttp2Stream): boolean {
  return (
    stream.headersSent &&
    stream.writableEnded &&
    !stream.aborted &&
    stream.rstCode === constants.NGHTTP2_NO_ERROR
  )
}

/**
 * Ends a stream at once, with INTERNAL_ERROR. Not by `close`: that ends the answer first, which then looks whole, and waits
 * for the library behind, which may have given up the connection.
 */
export function breakOff(stream: ServerHttp2Stream): void {
  stream.destroy(new Error('broken off'))
}

/** Lower-case names (RFC 9113 section 8.2). How the connection goes on is not said in fields (section 8.2.2). */
function dictionaryOf(status: number, headers: readonly string[]): OutgoingHttpHeaders {
  // Without a prototype: an upstream may well name a field `__proto__`.
  const dictionary: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase()
    const value = headers[i + 1] as string
    if (name === 'connection') continue
    const before = dictionary[name]
    if (before === undefined) dictionary[name] = value
    else if (LISTS.has(name)) dictionary[name] = `${before}, ${value}`
    else if (SINGLE.has(name)) continue
    else if (Array.isArray(before)) before.push(value)
    else dictionary[name] = [before, value]
  }
  return Object.assign(dictionary, { ':status': status })
}
