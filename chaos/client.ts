/** A client on one TLS connection at a time: writes bytes, reads one answer. As cheap as it can be: it shares the machine. */
import { connect, type SecureContext, type TLSSocket } from 'node:tls'
import type { Reply, Silence } from './exchange.js'

const DEADLINE_MS = 15_000

export interface ClientOptions {
  readonly port: number
  readonly servername: string
  /** Authorities of the server, and the certificate of this client with its key. */
  readonly context: SecureContext
}

export class Client {
  readonly #socket: TLSSocket
  #received: Buffer = Buffer.alloc(0)
  #over: Silence | null = null
  #wake: (() => void) | null = null

  private constructor(socket: TLSSocket) {
    this.#socket = socket
    socket.on('data', chunk => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
      this.#wake?.()
    })
    socket.on('end', () => this.#end('ended'))
    socket.on('error', () => this.#end('reset'))
    socket.on('close', () => this.#end('ended'))
  }

  /** null when there is no connection to be had. TLS 1.3 only. */
  static connect({ port, servername, context }: ClientOptions): Promise<Client | null> {
    return new Promise(resolve => {
      const socket = connect({
        port,
        host: '127.0.0.1',
        servername,
        secureContext: context,
        minVersion: 'TLSv1.3',
        ALPNProtocols: ['http/1.1'],
      })
      const timer = setTimeout(() => socket.destroy(), DEADLINE_MS)
      socket.once('error', () => {})
      socket.once('close', () => resolve(null))
      socket.once('secureConnect', () => {
        clearTimeout(timer)
        socket.setNoDelay(true)
        resolve(new Client(socket))
      })
    })
  }

  get isOpen(): boolean {
    return this.#over === null
  }

  /** Serial number of the certificate of the server. */
  get serverSerial(): string | undefined {
    return this.#socket.getPeerX509Certificate()?.serialNumber
  }

  /** Sends a request and waits for the whole answer. */
  async ask(request: string): Promise<Reply> {
    this.#received = Buffer.alloc(0)
    this.#socket.write(request, 'latin1')
    const answer = await this.#until(() => readAnswer(this.#received))
    if (answer !== null) return answer
    return { is: 'nothing', how: this.#over ?? 'late', bytes: this.#received.length }
  }

  /** After a 101: sends bytes and waits for as many. Whether they are the same. */
  async isEchoed(text: string): Promise<boolean> {
    this.#received = Buffer.alloc(0)
    this.#socket.write(text, 'latin1')
    const back = await this.#until(() => (this.#received.length >= text.length ? this.#received : null))
    return back?.toString('latin1') === text
  }

  destroy(): void {
    this.#over ??= 'ended'
    this.#socket.destroy()
  }

  /** null when the connection is over or the time is. */
  async #until<T>(look: () => T | null): Promise<T | null> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.#wake?.()
    }, DEADLINE_MS)
    try {
      for (;;) {
        const found = look()
        if (found !== null || this.#over !== null || isLate) return found
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
      }
    } finally {
      clearTimeout(timer)
      this.#wake = null
    }
  }

  #end(how: Silence): void {
    this.#over ??= how
    this.#wake?.()
  }
}

/** The first whole answer, framed by Content-Length alone: that is what the upstream sends here. A 101 has no body. */
function readAnswer(bytes: Buffer): Reply | null {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return null
  const head = bytes.toString('latin1', 0, end)
  const status = Number(head.slice(9, 12))
  const length = status === 101 ? 0 : Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1])
  if (Number.isNaN(length)) throw new Error(`an answer without Content-Length: ${head}`)
  if (bytes.length < end + 4 + length) return null
  return {
    is: 'answer',
    status,
    body: bytes.toString('latin1', end + 4, end + 4 + length),
    nonce: /\r\nx-fapi-interaction-id: *([^\r]*)/i.exec(head)?.[1] ?? '',
    closes: /\r\nconnection: *close/i.test(head),
  }
}
