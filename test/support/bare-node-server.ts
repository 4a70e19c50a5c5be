/** A node:http server with our settings of its parser and nothing else: what Node itself makes of bytes. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { MAX_HEADERS_COUNT, PARSER_SETTINGS } from '../../src/server/parser-settings.js'

/** The bound of the default `server.limits.headerBytes`. */
const HEADER_BYTES = 32 * 1024

export interface BareNodeServer {
  /**
   * Sends bytes and then FIN; says what the parser found in them, in order: `POST /a 4` is a request with a body of 4 bytes,
   * `POST /a broken` one whose body never ended, `UPGRADE …` and `CONNECT …` are handed over, `HPE_…` is its refusal.
   */
  readonly observe: (bytes: string) => Promise<string>
  readonly close: () => void
}

/** Listens on a free port of 127.0.0.1. One observation at a time. */
export async function startBareNodeServer(): Promise<BareNodeServer> {
  let seen: string[] = []
  const server = createServer({ ...PARSER_SETTINGS, maxHeaderSize: HEADER_BYTES, keepAliveTimeout: 1000 })
  server.maxHeadersCount = MAX_HEADERS_COUNT
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const place = seen.push('') - 1
    const name = `${request.method} ${request.url}`
    let length = 0
    seen[place] = `${name} broken`
    request.on('error', () => {})
    request.on('data', chunk => {
      length += chunk.length
    })
    request.on('end', () => {
      seen[place] = `${name} ${length}`
      response.end()
    })
  }
  server.on('request', serve)
  server.on('checkContinue', serve)
  server.on('checkExpectation', serve)
  server.on('upgrade', (request, socket) => {
    seen.push(`UPGRADE ${request.method} ${request.url}`)
    socket.end()
  })
  server.on('connect', (request, socket) => {
    seen.push(`CONNECT ${request.url}`)
    socket.end()
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    seen.push(error.code ?? error.message)
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    observe: async bytes => {
      seen = []
      const socket = connect({ port, host: '127.0.0.1' })
      socket.on('error', () => {}).resume()
      socket.end(Buffer.from(bytes, 'latin1'))
      await once(socket, 'close')
      return seen.join(', ') || 'nothing'
    },
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
