/** A TLS 1.2 handshake as far as its first reply, written by hand so that no library decides what can be asked for. */
import { connect } from 'node:net'

export interface Hello {
  /** Codes of cipher suites. */
  readonly suites: readonly number[]
  readonly serverName: string
  /** Version of record and message, as a client says which can do no newer one. Default TLS 1.2. */
  readonly version?: number
}

/** What the server says first. `end`: nothing at all, and the connection is over. */
export type HelloReply =
  | { readonly is: 'hello'; readonly version: number; readonly suite: number }
  | { readonly is: 'alert'; readonly description: number }
  | { readonly is: 'end' }

export const TLS_VERSION = { tls10: 0x0301, tls11: 0x0302, tls12: 0x0303 } as const
export const ALERT = { handshakeFailure: 40, protocolVersion: 70 } as const
const DEADLINE_MS = 15_000

const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff])
const sized16 = (content: Buffer) => Buffer.concat([u16(content.length), content])
const list16 = (values: readonly number[]) => sized16(Buffer.concat(values.map(u16)))
const extension = (type: number, content: Buffer) => Buffer.concat([u16(type), sized16(content)])

/** X25519, P-256 and P-384. */
const GROUPS = [29, 23, 24]
/** rsa_pkcs1, rsa_pss_rsae and ecdsa, each with SHA-256. */
const SIGNATURES = [0x0401, 0x0804, 0x0403]

function clientHello({ suites, serverName, version = TLS_VERSION.tls12 }: Hello): Buffer {
  const extensions = Buffer.concat([
    extension(0, sized16(Buffer.concat([Buffer.from([0]), sized16(Buffer.from(serverName))]))),
    extension(10, list16(GROUPS)),
    extension(11, Buffer.from([1, 0])),
    extension(13, list16(SIGNATURES)),
    extension(23, Buffer.alloc(0)),
    extension(0xff01, Buffer.from([0])),
  ])
  const random = Buffer.alloc(32, 7)
  const noSession = Buffer.from([0])
  const noCompression = Buffer.from([1, 0])
  const body = Buffer.concat([
    u16(version),
    random,
    noSession,
    list16(suites),
    noCompression,
    sized16(extensions),
  ])
  const message = Buffer.concat([Buffer.from([1, body.length >> 16]), u16(body.length & 0xffff), body])
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += 16_384)
    records.push(
      Buffer.from([22]),
      u16(Math.min(version, TLS_VERSION.tls10)),
      sized16(message.subarray(at, at + 16_384)),
    )
  return Buffer.concat(records)
}

/** Says hello on a connection of its own. */
export async function replyTo(port: number, hello: Hello): Promise<HelloReply> {
  const bytes = await firstBytes(port, clientHello(hello))
  if (bytes[0] === 21) return { is: 'alert', description: bytes[6] ?? -1 }
  if (bytes[0] !== 22 || bytes[5] !== 2) return { is: 'end' }
  const sessionIdBytes = bytes[43] ?? 0
  return { is: 'hello', version: bytes.readUInt16BE(9), suite: bytes.readUInt16BE(44 + sessionIdBytes) }
}

/** What comes until there is a ServerHello up to its suite, or the other side ends. */
function firstBytes(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error('no reply within 15 s'))
    }, DEADLINE_MS)
    socket.on('connect', () => socket.write(bytes))
    socket.on('data', chunk => {
      received = Buffer.concat([received, chunk])
      if (received.length >= 5 + 4 + 2 + 33 + 34) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(received)
    })
  })
}
