/** A client of node:http2, and one that writes frames of its own. */
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { HOST, type Identity, type Trusting } from './postern.js'

/** Opens a session of node:http2. Its errors are the test's to look at. */
export async function connectHttp2(
  world: Trusting,
  { port }: { readonly port: number },
  client: Identity | null = null,
  settings: { readonly initialWindowSize?: number } = {},
): Promise<ClientHttp2Session> {
  const session = connect(`https://${HOST}`, {
    createConnection: () => connectTls(tlsOptions(world, port, client)),
    settings: { enablePush: false, ...settings },
  })
  session.on('error', () => {})
  await once(session, 'connect')
  return session
}

function tlsOptions(world: Trusting, port: number, client: Identity | null) {
  const identity = client === null ? {} : { cert: client.certificatePem, key: client.keyPem }
  const common = { host: '127.0.0.1', port, servername: HOST, ALPNProtocols: ['h2'] }
  return { ...common, ca: world.serverCa.certificatePem, ...identity }
}

/** What a stream answered. */
export interface Http2Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** Of RST_STREAM; 0: none, or NO_ERROR. */
  readonly rstCode: number
}

/** One request; resolves when its stream is closed, whatever became of it. */
export function ask2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  body: string | Buffer | null = null,
): Promise<Http2Answer> {
  const stream = session.request(
    { ':path': '/open/a', ':authority': HOST, ...headers },
    { endStream: body === null },
  )
  if (body !== null) stream.end(body)
  return answerOf(stream)
}

/** Resolves when the stream is closed. */
export async function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  const chunks: Buffer[] = []
  let headers: IncomingHttpHeaders = {}
  stream.on('error', () => {})
  stream.on('response', received => {
    headers = received
  })
  stream.on('data', chunk => chunks.push(chunk))
  const timer = setTimeout(() => stream.destroy(new Error('not closed within 10 s')), 10_000)
  if (!stream.destroyed) await new Promise<void>(resolve => stream.once('close', () => resolve()))
  clearTimeout(timer)
  const status = Number((headers as Record<string, unknown>)[':status'] ?? 0)
  return { status, headers, text: Buffer.concat(chunks).toString(), rstCode: stream.rstCode ?? 0 }
}

/** Types of frames (RFC 9113 section 6). */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const
export const END_STREAM = 1
export const ACK = 1
export const END_HEADERS = 4

/** Error codes (section 7). */
export const CODE = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  refused: 7,
  cancel: 8,
  calm: 11,
} as const

/** A frame as it came. */
export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** Name and value as they go over the wire, one character a byte. */
export type Field = readonly [name: string, value: string]

/** The bytes of one frame. */
export function frame(type: number, flags: number, stream: number, payload: Buffer | string = ''): Buffer {
  const content = Buffer.from(payload as string, 'latin1')
  const head = Buffer.alloc(9)
  head.writeUIntBE(content.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, content])
}

/** A number as a payload, or a part of one. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** HPACK (RFC 7541) without its tables and without Huffman: each field a literal that nobody remembers. */
export function headerBlock(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), hpackString(name), hpackString(value)]),
  )
}

function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1')
  return Buffer.concat([hpackLength(bytes.length), bytes])
}

/** Section 5.1 with a prefix of seven bits. */
function hpackLength(length: number): Buffer {
  if (length < 127) return Buffer.from([length])
  const bytes = [127]
  let rest = length - 127
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128)
  return Buffer.from([...bytes, rest])
}

/** The pseudo-header fields of a request. */
export function pseudo(method: string, path: string, authority: string = HOST): Field[] {
  return [
    [':method', method],
    [':scheme', 'https'],
    [':authority', authority],
    [':path', path],
  ]
}

/** SETTINGS_HEADER_TABLE_SIZE 0: heads of answers do not refer to those before. */
const NO_TABLE = Buffer.from([0, 1, 0, 0, 0, 0])
/** What a frame may have unless the other side says otherwise. */
const MOST_PAYLOAD = 16_384

/** A connection on which a test writes its own frames; settings and pings are acknowledged by hand. */
export class RawHttp2 {
  readonly socket: TLSSocket
  /** All that came. */
  readonly frames: Frame[] = []
  isClosed = false
  #received: Buffer = Buffer.alloc(0)
  #watchers: (() => void)[] = []

  private constructor(socket: TLSSocket) {
    this.socket = socket
    socket.on('data', chunk => this.#read(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.isClosed = true
      this.#notify()
    })
  }

  /** Says hello; `settings` is the payload of the frame. */
  static async connect(
    world: Trusting,
    { port }: { readonly port: number },
    client: Identity | null = null,
    settings: Buffer = Buffer.alloc(0),
  ): Promise<RawHttp2> {
    const socket = connectTls(tlsOptions(world, port, client))
    await once(socket, 'secureConnect')
    const raw = new RawHttp2(socket)
    raw.write(
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      frame(FRAME.settings, 0, 0, Buffer.concat([NO_TABLE, settings])),
    )
    await raw.until(() => raw.has(FRAME.settings, 0), 'their settings')
    raw.write(frame(FRAME.settings, ACK, 0))
    return raw
  }

  write(...frames: readonly Buffer[]): void {
    if (this.socket.writable) this.socket.write(Buffer.concat(frames))
  }

  /** A whole head, and the end of the stream unless more is said to follow. */
  head(stream: number, fields: readonly Field[], flags: number = END_STREAM | END_HEADERS): void {
    const block = headerBlock(fields)
    const parts = Array.from({ length: Math.max(1, Math.ceil(block.length / MOST_PAYLOAD)) }, (_, index) =>
      block.subarray(index * MOST_PAYLOAD, (index + 1) * MOST_PAYLOAD),
    )
    for (const [index, part] of parts.entries()) {
      const isLast = index === parts.length - 1 ? flags & END_HEADERS : 0
      const type = index === 0 ? FRAME.headers : FRAME.continuation
      this.write(frame(type, isLast | (index === 0 ? flags & END_STREAM : 0), stream, part))
    }
  }

  has(type: number, stream: number): boolean {
    return this.find(type, stream) !== undefined
  }

  find(type: number, stream: number): Frame | undefined {
    return this.frames.find(each => each.type === type && each.stream === stream)
  }

  /** What became of a stream: `answered` as soon as it has a head that is followed by its end, or the code of its reset. */
  async outcome(stream: number): Promise<string> {
    const look = () => {
      const reset = this.find(FRAME.reset, stream)
      if (reset !== undefined) return `reset ${reset.payload.readUInt32BE(0)}`
      const own = this.frames.filter(each => each.stream === stream)
      if (own.some(({ type, flags }) => type <= FRAME.headers && (flags & END_STREAM) !== 0))
        return `answered ${statusOf(own.find(({ type }) => type === FRAME.headers))}`
      const away = this.find(FRAME.goaway, 0)
      if (away !== undefined) return `goaway ${away.payload.readUInt32BE(4)}`
      return this.isClosed ? 'closed' : null
    }
    await this.until(() => look() !== null, `stream ${stream}`)
    return look() as string
  }

  /** Code of the GOAWAY; resolves when the connection is over. */
  async goaway(): Promise<number | null> {
    await this.until(() => this.isClosed, 'the end of the connection')
    return this.find(FRAME.goaway, 0)?.payload.readUInt32BE(4) ?? null
  }

  async until(holds: () => boolean, what: string, deadlineMs = 5000): Promise<void> {
    const deadline = Date.now() + deadlineMs
    while (!holds()) {
      if (Date.now() > deadline) throw new Error(`${what} did not come within ${deadlineMs} ms`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, 50)
        this.#watchers.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  destroy(): void {
    this.socket.destroy()
  }

  #read(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk])
    while (this.#received.length >= 9) {
      const end = 9 + this.#received.readUIntBE(0, 3)
      if (this.#received.length < end) break
      this.frames.push({
        type: this.#received.readUInt8(3),
        flags: this.#received.readUInt8(4),
        stream: this.#received.readUInt32BE(5),
        payload: Buffer.from(this.#received.subarray(9, end)),
      })
      this.#received = this.#received.subarray(end)
    }
    this.#notify()
  }

  #notify(): void {
    const watchers = this.#watchers
    this.#watchers = []
    for (const watcher of watchers) watcher()
  }
}

/** Of the statuses in the static table (RFC 7541 appendix A), or a literal as nghttp2 writes it. */
function statusOf(head: Frame | undefined): string {
  let block: Buffer = head?.payload ?? Buffer.alloc(0)
  // The size of the table comes first, once.
  while (((block[0] ?? 0) & 0xe0) === 0x20) block = block.subarray(1)
  const [first = 0, length = 0] = block
  const indexed = ['200', '204', '206', '304', '400', '404', '500'][first - 0x88]
  if (indexed !== undefined) return indexed
  // Name by index, value as three digits with or without Huffman.
  const text = block.subarray(2, 2 + (length & 127))
  return (length & 128) === 0 ? text.toString() : huffmanDigits(text)
}

/** Appendix B: the codes of the digits. */
function huffmanDigits(bytes: Buffer): string {
  const bits = [...bytes].map(byte => byte.toString(2).padStart(8, '0')).join('')
  let text = ''
  for (let at = 0; text.length < 3; ) {
    const short = Number.parseInt(bits.slice(at, at + 5), 2)
    if (short <= 2) {
      text += short
      at += 5
    } else {
      text += Number.parseInt(bits.slice(at, at + 6), 2) - 0x19 + 3
      at += 6
    }
  }
  return text
}
