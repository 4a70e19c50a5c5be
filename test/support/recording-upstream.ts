/**
 * An upstream on a bare socket: it records every byte per connection, splits them into requests strictly by RFC 9112,
 * and answers each as scripted. So a smuggled request shows up as one more entry in `requests`.
 *
 *     const upstream = await RecordingUpstream.start()
 *     upstream.script(answer(200, 'first'), reset(), hang())      // one for each request; the last one repeats
 *     ...
 *     upstream.requests[0]?.target
 *     await upstream.stop()
 */
import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { parseMessage, type RawMessage } from './raw-client.js'

/** A request as the upstream read it. */
export interface RecordedRequest extends RawMessage {
  readonly method: string
  readonly target: string
  /** Index into `connections`. */
  readonly connection: number
}

/** One connection and all that came in on it. */
export interface RecordedConnection {
  readonly socket: Socket
  bytes: Buffer
  /** Total; stays correct when `keepBytes` is off. */
  byteCount: number
  closed: boolean
}

/** What the upstream does with one request. Called with the whole request, or, if `atHead`, as soon as its header is there. */
export interface Step {
  readonly act: (socket: Socket, request: RecordedRequest) => void
  readonly atHead?: boolean
  /** What follows on the connection is not HTTP. */
  readonly switches?: boolean
}

/** Keys of an upstream that speaks TLS. */
export interface UpstreamTls {
  readonly key: string
  readonly cert: string
}

export class RecordingUpstream {
  readonly port: number
  readonly url: string
  readonly connections: RecordedConnection[] = []
  readonly requests: RecordedRequest[] = []
  /** Switch off for bodies that should not pile up; then `bytes` is cut to what is not parsed yet. */
  keepBytes = true
  readonly #server: Server
  #steps: Step[] = [answer(200, 'ok')]
  #watchers: (() => void)[] = []

  private constructor(server: Server, tls: UpstreamTls | null) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    this.url = tls === null ? `http://127.0.0.1:${this.port}` : `https://localhost:${this.port}`
  }

  /** Listens on a free port of 127.0.0.1. Answers 200 until scripted otherwise. */
  static async start(tls: UpstreamTls | null = null): Promise<RecordingUpstream> {
    const accept = (socket: Socket): void => upstream.#accept(socket)
    const server = tls === null ? createTcpServer({ noDelay: true }, accept) : createTlsServer(tls, accept)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const upstream = new RecordingUpstream(server, tls)
    return upstream
  }

  /** Forgets what was recorded, and answers the next requests so; the last step repeats. */
  script(...steps: readonly [Step, ...Step[]]): void {
    this.#steps = [...steps]
    this.requests.length = 0
  }

  /** Resolves when so many requests have arrived in full since `script`. */
  async arrived(count: number, deadlineMs = 5000): Promise<void> {
    await this.until(
      () => this.requests.length >= count,
      deadlineMs,
      () => `${this.requests.length} of ${count} requests`,
    )
  }

  /** Resolves when every connection is closed. */
  async abandoned(deadlineMs = 5000): Promise<void> {
    await this.until(
      () => this.connections.every(each => each.closed),
      deadlineMs,
      () => 'connections still open',
    )
  }

  /** Resolves when `holds` does, looked at whenever something happens on a connection. */
  async until(holds: () => boolean, deadlineMs: number, problem: () => string): Promise<void> {
    const deadline = Date.now() + deadlineMs
    while (!holds()) {
      if (Date.now() > deadline) throw new Error(`upstream: ${problem()} after ${deadlineMs} ms`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, 50)
        this.#watchers.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  /** Destroys every connection and stops listening. */
  async stop(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }

  #accept(socket: Socket): void {
    const record: RecordedConnection = { socket, bytes: Buffer.alloc(0), byteCount: 0, closed: false }
    const connection = this.connections.push(record) - 1
    let parsed = 0
    let headSeenAt = -1
    let upgraded = false
    socket.on('error', () => {})
    socket.on('close', () => {
      record.closed = true
      this.#notify()
    })
    socket.on('data', chunk => {
      record.byteCount += chunk.length
      record.bytes = Buffer.concat([record.bytes, chunk])
      while (!upgraded && parsed < record.bytes.length) {
        const bytes = record.bytes.subarray(parsed)
        const step = this.#steps[0] as Step
        if (step.atHead === true && headSeenAt !== parsed && bytes.includes('\r\n\r\n')) {
          headSeenAt = parsed
          step.act(socket, recorded(headOnly(bytes), connection))
        }
        const message = parseMessage(bytes)
        if (message === null) break
        parsed += message.length
        const request = recorded(message, connection)
        this.requests.push(request)
        upgraded = step.switches === true
        if (this.#steps.length > 1) this.#steps.shift()
        if (headSeenAt === -1) step.act(socket, request)
        headSeenAt = -1
      }
      if (!this.keepBytes) {
        record.bytes = headSeenAt === -1 ? record.bytes.subarray(parsed) : Buffer.alloc(0)
        parsed = 0
      }
      this.#notify()
    })
  }

  #notify(): void {
    const watchers = this.#watchers
    this.#watchers = []
    for (const watcher of watchers) watcher()
  }
}

function recorded(message: RawMessage, connection: number): RecordedRequest {
  const [method = '', target = ''] = message.start.split(' ')
  return { ...message, method, target, connection }
}

function headOnly(bytes: Buffer): RawMessage {
  const head = bytes
    .toString('latin1', 0, bytes.indexOf('\r\n\r\n'))
    .replace(/\r\n(?:content-length|transfer-encoding):[^\r]*/gi, '')
  return parseMessage(Buffer.from(`${head}\r\n\r\n`, 'latin1')) as RawMessage
}

/** A well-formed answer with Content-Length. `headers` are whole lines. */
export function answer(status: number, body: string | Buffer = '', headers: readonly string[] = []): Step {
  const content = Buffer.from(body)
  const framing = status === 204 || status === 304 ? [] : [`Content-Length: ${content.length}`]
  const head = [`HTTP/1.1 ${status} Scripted`, ...headers, ...framing].join('\r\n')
  return raw(Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), content]))
}

/** Exactly these bytes. */
export function raw(bytes: string | Buffer): Step {
  return {
    act: socket => void socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
  }
}

/** These bytes and then FIN: the end of an answer without a length, a truncated one otherwise. */
export function rawThenEnd(bytes: string | Buffer): Step {
  return { act: socket => void socket.end(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes) }
}

/** These bytes with RST close behind: whoever reads finds both at once. */
export function rawWithReset(bytes: string): Step {
  return { act: socket => void socket.write(bytes, 'latin1', () => socket.resetAndDestroy()) }
}

/** These bytes and then RST. */
export function rawThenReset(bytes: string): Step {
  return {
    act: socket => void socket.write(bytes, 'latin1', () => setTimeout(() => socket.resetAndDestroy(), 20)),
  }
}

/** RST without an answer. */
export function reset(): Step {
  return { act: socket => void socket.resetAndDestroy() }
}

/** No answer ever. */
export function hang(): Step {
  return { act: () => {} }
}

/** The bytes in pieces, one every so many milliseconds; then nothing. */
export function drip(pieces: readonly string[], everyMs: number): Step {
  return {
    act: socket => {
      pieces.forEach((piece, index) => {
        setTimeout(() => socket.writable && socket.write(piece, 'latin1'), index * everyMs)
      })
    },
  }
}

/** Does something once the header is there, before the body is. */
export function atHead(step: Step): Step {
  return { ...step, atHead: true }
}

/** Reads no further, so that the sender feels backpressure. */
export function stopReading(): Step {
  return { act: socket => void socket.pause() }
}

/** After a 101, sends back whatever comes. `extra` header lines go into the 101. */
export function switchAndEcho(extra: readonly string[] = []): Step {
  return {
    switches: true,
    act: socket => {
      const head = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket', ...extra]
      socket.write(`${head.join('\r\n')}\r\n\r\n`)
      socket.on('data', chunk => socket.write(chunk))
    },
  }
}
