/** The API behind the sidecar: says who asked for what, as it saw it, and breaks as asked. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { echoOf } from './exchange.js'

/** What the upstream does with the requests that it gets. `cut`: half an answer and then RST. */
export type UpstreamMode = 'well' | 'cut'

export interface EchoUpstream {
  readonly url: string
  /** Open connections. */
  readonly connections: number
  mode: UpstreamMode
  /** Is told of each request that is here, before it is answered. */
  onArrival: (path: string, nonce: string) => void
  /** Makes something else of the answers, for tests of the harness itself. */
  disturb: (body: string) => string
  /** Resets every connection and closes the port. */
  readonly stop: () => Promise<void>
  /** Opens the same port again. */
  readonly start: () => Promise<void>
}

/** Asks the upstream to wait so many milliseconds before it answers. */
export const DELAY_FIELD = 'X-Delay'

export async function startEchoUpstream(): Promise<EchoUpstream> {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    serve(socket, upstream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const upstream: EchoUpstream = {
    url: `http://127.0.0.1:${port}`,
    get connections() {
      return sockets.size
    },
    mode: 'well',
    onArrival: () => {},
    disturb: body => body,
    async stop() {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
      await closed
    },
    async start() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
  }
  return upstream
}

/** Reads one request after the other; their bodies have a Content-Length, as those of the clients do. */
function serve(socket: Socket, upstream: EchoUpstream): void {
  let received = ''
  const read = (chunk: string) => {
    received += chunk
    for (;;) {
      const end = received.indexOf('\r\n\r\n')
      if (end === -1) return
      const head = received.slice(0, end)
      const field = (name: string) => new RegExp(`\\r\\n${name}: *([^\\r]*)`, 'i').exec(head)?.[1] ?? ''
      const length = Number(field('content-length'))
      if (received.length < end + 4 + length) return
      const body = received.slice(end + 4, end + 4 + length)
      received = received.slice(end + 4 + length)
      const path = head.split(' ', 2)[1] as string
      const nonce = field('x-fapi-interaction-id')
      upstream.onArrival(path, nonce)
      if (field('upgrade') !== '') {
        socket.off('data', read)
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
        socket.on('data', (more: string) => socket.write(more, 'latin1'))
        return
      }
      const parts = {
        path,
        nonce,
        body,
        subject: field('postern-subject'),
        credentials: field('authorization'),
      }
      const answer = () => say(socket, upstream.disturb(echoOf(parts)), upstream.mode)
      const delay = Number(field(DELAY_FIELD))
      if (delay > 0) setTimeout(answer, delay)
      else answer()
    }
  }
  socket.setEncoding('latin1').on('data', read)
}

function say(socket: Socket, body: string, mode: UpstreamMode): void {
  if (!socket.writable) return
  const text = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  if (mode === 'well') socket.write(text, 'latin1')
  else socket.write(text.slice(0, -body.length / 2), 'latin1', () => socket.resetAndDestroy())
}
