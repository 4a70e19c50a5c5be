/**
 * A client that writes the bytes it is given, TCP or TLS, and collects the bytes that come back. Nothing is repaired
 * on the way, so that a test can send what no HTTP library would.
 *
 *     const client = await RawClient.connect({ port, tls: { ca, key, cert } })
 *     client.write('GET / HTTP/1.1\r\nHost: api\r\n\r\n')
 *     const answer = await client.answer()
 *     answer.status; answer.values('date'); answer.body.toString()
 *     client.destroy()
 */
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'

/** Where and how to connect. */
export interface RawClientOptions {
  readonly port: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** null or absent: plain TCP. With `key` and `cert`, a client certificate is offered. */
  readonly tls?: {
    readonly ca: string
    readonly key?: string
    readonly cert?: string
    /** Default `localhost`. */
    readonly servername?: string
  } | null
  /** Every wait of this client fails after so many milliseconds. Default 5000. */
  readonly deadlineMs?: number
}

/** One HTTP message as it stood on the wire. */
export interface RawMessage {
  /** The first line. */
  readonly start: string
  /** Of an answer; NaN for a request. */
  readonly status: number
  /** Name and value of every field, in order, as spelled. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Every value of a field, by its lower-case name. */
  readonly values: (name: string) => string[]
  /** With the transfer coding removed. */
  readonly body: Buffer
  /** Bytes of the whole message. */
  readonly length: number
}

/** A connection. Waits are sequential: one `answer`, `bytes` or `closed` at a time. */
export class RawClient {
  readonly socket: Socket | TLSSocket
  /** Everything received and not yet returned by a wait. */
  received: Buffer = Buffer.alloc(0)
  /** How the connection ended: by FIN, by RST or another error, or not yet. */
  ending: 'open' | 'ended' | 'reset' = 'open'
  readonly #deadlineMs: number
  #wake: (() => void) | null = null

  private constructor(socket: Socket, deadlineMs: number) {
    this.socket = socket
    this.#deadlineMs = deadlineMs
    socket.on('data', chunk => {
      this.received = Buffer.concat([this.received, chunk])
      this.#wake?.()
    })
    socket.on('end', () => this.#end('ended'))
    socket.on('error', () => this.#end('reset'))
    socket.on('close', () => this.#end('ended'))
  }

  /** Resolves when connected, TLS included; rejects when that fails. */
  static async connect(options: RawClientOptions): Promise<RawClient> {
    const { port, host = '127.0.0.1', tls = null, deadlineMs = 5000 } = options
    const socket =
      tls === null
        ? connectTcp({ port, host, noDelay: true })
        : connectTls({ servername: 'localhost', ...tls, port, host, ALPNProtocols: ['http/1.1'] })
    await new Promise<void>((resolve, reject) => {
      socket.once(tls === null ? 'connect' : 'secureConnect', resolve)
      socket.once('error', reject)
    })
    socket.removeAllListeners('error')
    return new RawClient(socket, deadlineMs)
  }

  write(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  /**
   * The next answer; a 1xx counts as one. `method` of the request, because an answer to HEAD has no body. Rejects when
   * the connection ends before the answer does.
   */
  async answer(method = 'GET'): Promise<RawMessage> {
    const message = await this.#until(() =>
      parseMessage(this.received, { method, ended: this.ending === 'ended' }),
    )
    this.received = this.received.subarray(message.length)
    return message
  }

  /** Resolves when so many bytes are there, and returns them without consuming. */
  async bytes(count: number): Promise<Buffer> {
    return this.#until(() => (this.received.length >= count ? this.received : null))
  }

  /** Resolves when the connection is over, with all that is left and how it ended. */
  async closed(): Promise<{ readonly rest: Buffer; readonly ending: 'ended' | 'reset' }> {
    const ending = await this.#until(() => (this.ending === 'open' ? null : this.ending), false)
    return { rest: this.received, ending }
  }

  /** Sends FIN; what comes back is still read. */
  end(): void {
    this.socket.end()
  }

  /** Sends RST, as a client does that crashes. On TLS the socket is only destroyed. */
  reset(): void {
    if ('encrypted' in this.socket) this.socket.destroy()
    else this.socket.resetAndDestroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  #end(how: 'ended' | 'reset'): void {
    if (this.ending === 'open') this.ending = how
    this.#wake?.()
  }

  async #until<T>(look: () => T | null, needsOpen = true): Promise<T> {
    const deadline = Date.now() + this.#deadlineMs
    for (;;) {
      const found = look()
      if (found !== null) return found
      const left = deadline - Date.now()
      if (left <= 0)
        throw new Error(`nothing within ${this.#deadlineMs} ms; received ${preview(this.received)}`)
      if (needsOpen && this.ending !== 'open')
        throw new Error(`connection ${this.ending}; received ${preview(this.received)}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#wake = null
    }
  }
}

/** What decides where a message ends, apart from its header. */
export interface Framing {
  /** Of the request that an answer belongs to. */
  readonly method?: string
  /** No more bytes will come. */
  readonly ended?: boolean
}

/**
 * The first message in `bytes`, request or answer, or null while it is incomplete. Strictly RFC 9112: throws where a
 * parser could read it in two ways.
 */
export function parseMessage(bytes: Buffer, framing: Framing = {}): RawMessage | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd === -1) return null
  const [start = '', ...lines] = bytes.toString('latin1', 0, headEnd).split('\r\n')
  const headers = lines.map(parseField)
  const values = (name: string): string[] =>
    headers.filter(([field]) => field.toLowerCase() === name).map(([, value]) => value)
  const status = start.startsWith('HTTP/') ? Number(start.split(' ')[1]) : Number.NaN
  const body = parseBody(bytes.subarray(headEnd + 4), status, values, framing)
  if (body === null) return null
  return { start, status, headers, values, body: body.content, length: headEnd + 4 + body.length }
}

function parseField(line: string): readonly [string, string] {
  const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/.exec(line)
  if (match === null) throw new Error(`malformed field: ${line}`)
  return [match[1] as string, match[2] as string]
}

interface ParsedBody {
  readonly content: Buffer
  readonly length: number
}

function parseBody(
  bytes: Buffer,
  status: number,
  values: (name: string) => string[],
  framing: Framing,
): ParsedBody | null {
  const empty = { content: Buffer.alloc(0), length: 0 }
  const isAnswer = !Number.isNaN(status)
  if (isAnswer && (framing.method === 'HEAD' || status < 200 || status === 204 || status === 304))
    return empty
  const lengths = values('content-length')
  const codings = values('transfer-encoding')
  if (lengths.length + codings.length > 1) throw new Error(`ambiguous framing: ${[...lengths, ...codings]}`)
  if (codings.length === 1) return parseChunks(bytes)
  if (lengths.length === 1) {
    const length = Number(lengths[0])
    return bytes.length < length ? null : { content: bytes.subarray(0, length), length }
  }
  if (!isAnswer) return empty
  return framing.ended === true ? { content: bytes, length: bytes.length } : null
}

function parseChunks(bytes: Buffer): ParsedBody | null {
  const chunks: Buffer[] = []
  let at = 0
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return null
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    if (Number.isNaN(size)) throw new Error('malformed chunk size')
    at = lineEnd + 2
    if (size === 0) {
      const trailerEnd = bytes.indexOf('\r\n\r\n', lineEnd)
      return trailerEnd === -1 ? null : { content: Buffer.concat(chunks), length: trailerEnd + 4 }
    }
    if (bytes.length < at + size + 2) return null
    chunks.push(bytes.subarray(at, at + size))
    at += size + 2
  }
}

function preview(bytes: Buffer): string {
  return bytes.length === 0 ? 'nothing' : JSON.stringify(bytes.toString('latin1', 0, 300))
}
