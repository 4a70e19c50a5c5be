import { randomUUID } from 'node:crypto'
import { type IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, type Socket, Server as TcpServer } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { judgeCertificate } from '../checks/certificate.js'
import type { ListenerSettings } from '../config/settings.js'
import { Denial, type DenialCode } from '../decision/denials.js'
import type { House } from '../gate/gate.js'
import { handleRequest } from '../gate/handle-request.js'
import { refuseRaw } from '../gate/refuse.js'
import { tellMalformed } from '../gate/tell.js'
import type { ConnectionLimit } from '../observe/metrics.js'
import { clientInteractionId } from '../request/interaction-id.js'
import { ClientRequest } from './client-request.js'
import { OVERSIZED, type TrustBundle } from './client-trust.js'
import type { Running } from './compose.js'
import { type Arrived, Connection, REQUESTS_PER_CONNECTION } from './connection.js'
import { ConnectionLimits } from './connection-limits.js'
import { H2, Http2Listener, keepFromParser } from './http2/http2-listener.js'
import { listen } from './listen.js'
import { MAX_HEADERS_COUNT, PARSER_SETTINGS } from './parser-settings.js'

/** How often Node looks for connections that are past their time, in milliseconds. */
const TIMEOUT_CHECK_MS = 1000

/** How long a connection without any request may go on when no more are accepted, in milliseconds. */
const FIRST_REQUEST_MS = 1000

/** Identity of no trust. */
const UNKNOWN_TRUST = ''

/** A TCP connection, from before its handshake to its end. */
interface Accepted {
  readonly socket: Socket
  /** In use when the connection came, so what the handshake is judged by, even if a reload comes before its end. */
  readonly bundle: TrustBundle
  /** The trust had changed so often by then. */
  readonly trustChanges: number
}

/** The public TLS listener. */
export interface Listener {
  readonly address: () => AddressInfo
  readonly listen: (host: string, port: number) => Promise<void>
  /** Takes the certificates and trust of the gate in use; ends idle connections that an older trust has judged. */
  readonly trustChanged: () => void
  /** Answers that have not begun say from now on that they are the last of their connection. */
  readonly announceEnd: () => void
  /** Stops accepting, ends idle connections; the rest end with their present answer. */
  readonly stopAccepting: () => void
  /** Connections that are open, from before their handshake. */
  readonly connections: () => number
  /** Ends every connection at once. */
  readonly destroy: () => void
}

/**
 * Accepts TLS connections and hands requests to the gate in use. Client certificates are asked for on every connection
 * and demanded by routes: a token shows only after the handshake whether one was needed (RFC 8705 section 3).
 * @param running the gate in use, read anew for each request
 */
export function createListener(
  running: () => Running,
  house: House,
  { limits, http2: speaksHttp2 }: ListenerSettings,
): Listener {
  const connections = new Map<Duplex, Connection>()
  const accepted = new Map<string, Accepted>()
  const lastDropTold = new Map<ConnectionLimit, number>()
  const connectionLimits = new ConnectionLimits(limits, dropped)
  let accepting = true
  let trustChanges = 0
  let trustId = running().bundle.trust.id
  const http2 = speaksHttp2 ? new Http2Listener(running, house, limits, () => dropped('http2')) : null
  const server = createServer({
    IncomingMessage: ClientRequest,
    ...running().tls.options,
    requestCert: true,
    rejectUnauthorized: false, // a refusal over HTTP can be diagnosed, a TLS alert cannot (REQUIREMENTS MT-10)
    ALPNProtocols: http2 === null ? ['http/1.1'] : [H2, 'http/1.1'],
    SNICallback: (name, done) => done(null, running().tls.forServerName(name)),
    handshakeTimeout: limits.handshakeTimeoutMs,
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleTimeoutMs,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    ...PARSER_SETTINGS,
    noDelay: true,
  })
  server.maxRequestsPerSocket = REQUESTS_PER_CONNECTION
  server.maxHeadersCount = MAX_HEADERS_COUNT
  server.timeout = 0
  if (http2 !== null) keepFromParser(server)

  server.on('connection', (socket: Socket) => {
    // Not `maxConnections`: a worker process that is full would pass the connection on to the next, and that one back.
    if (accepted.size >= limits.connections) {
      dropped('connections')
      socket.destroy()
      return
    }
    if (!connectionLimits.accept(socket)) return
    const ends = endsOf(socket)
    accepted.set(ends, { socket, bundle: running().bundle, trustChanges })
    socket.once('close', () => {
      if (accepted.get(ends)?.socket === socket) accepted.delete(ends) // the same client may be back already
    })
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.disableRenegotiation()
    const tcp = accepted.get(endsOf(socket))
    if (tcp === undefined) {
      socket.destroy() // the client is gone, and its address with it
      return
    }
    connectionLimits.secured(tcp.socket)
    const { bundle } = tcp
    const peer = bundle.readPeer(socket)
    if (peer === OVERSIZED) {
      house.log.debug({ clientAddress: socket.remoteAddress ?? '' }, 'the client certificate is too large')
      socket.destroy()
      return
    }
    const age = jittered(limits.connectionAgeMs)
    // The server name is asked for when the client says it, which may be under another trust than when it came: then nobody knows who has
    // judged its certificate, and the trust may be as it was again by now.
    const judgedBy = tcp.trustChanges === trustChanges ? bundle.trust.id : UNKNOWN_TRUST
    const certificate = peer === null ? null : { ...peer, trustId: judgedBy }
    if (http2 !== null && socket.alpnProtocol === H2) http2.accept(socket, certificate, judgedBy, age)
    else connections.set(socket, new Connection(socket, certificate, judgedBy, age))
    house.metrics.connectionOpened()
    socket.once('close', () => {
      connections.delete(socket)
      house.metrics.connectionClosed()
    })
  })
  server.on('request', (request, response) => serve(request, response, null))
  server.on('checkContinue', (request, response) => serve(request, response, null))
  server.on('checkExpectation', (request, response) => serve(request, response, null))
  server.on('upgrade', (request, socket, head) => serveDetached(request, socket, head, true))
  server.on('connect', (request, socket, head) => serveDetached(request, socket, head, false))
  server.on('clientError', (error, socket) => refuseMalformed(error, socket))
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    house.log.debug(
      { reason: error.code ?? error.message, clientAddress: socket.remoteAddress ?? '' },
      'TLS handshake failed',
    )
    socket.destroy()
  })

  function dropped(limit: ConnectionLimit): void {
    house.metrics.connectionDropped(limit)
    const now = house.now()
    // Once a second: those who flood the port would fill the log as well.
    if (now - (lastDropTold.get(limit) ?? 0) < 1) return
    lastDropTold.set(limit, now)
    if (limit === 'http2') house.log.warn({}, 'a connection was dropped: resets or other frames without end')
    else house.log.warn({ limit: limits[limit] }, `server.limits.${limit} reached; connections are dropped`)
  }

  function serve(
    request: IncomingMessage,
    response: ServerResponse,
    upgrade: { socket: Duplex; head: Buffer } | null,
  ): void {
    const connection = connections.get(request.socket)
    // Every TLS socket is known until it is closed.
    if (connection === undefined) {
      request.socket.destroy()
      return
    }
    connection.upgraded ||= upgrade !== null
    // Read at once: the address is gone when the client is.
    const clientAddress = request.socket.remoteAddress ?? ''
    const interactionId = clientInteractionId(request.rawHeaders) ?? randomUUID()
    response.on('error', ignore) // the client left; handleRequest notices by itself
    const handle = async () => {
      const { certificate } = connection
      const malformed = () => arrived.malformed
      const gateInUse = () => running().gate
      const arrival = {
        request,
        response,
        upgrade,
        clientAddress,
        interactionId,
        certificate,
        gateInUse,
        malformed,
      }
      if (upgrade !== null || request.method === 'CONNECT') attach(response, connection)
      if (isStale(connection) || house.isDraining()) response.shouldKeepAlive = false
      await handleRequest(house, arrival)
      if (connection.pending === 1 && isLast(connection, response)) endAfterAnswer(connection, response)
    }
    const arrived: Arrived = { request, response, interactionId, malformed: null, isBegun: false, handle }
    connection.handleInTurn(arrived)
  }

  /** Requests for which node:http gives up the connection: a refusal goes through a response of our own. */
  function serveDetached(request: IncomingMessage, socket: Duplex, head: Buffer, upgrades: boolean): void {
    socket.on('error', () => socket.destroy())
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    serve(request, response, upgrades ? { socket, head } : null)
  }

  function isStale(connection: Connection): boolean {
    return connection.isOld || connection.trustId !== running().bundle.trust.id
  }

  /**
   * A client that was not told so may be sending its next request already: during the notice of a drain it gets an answer
   * that tells it, and is not cut off in between (RFC 9112 section 9.6).
   */
  function isLast(connection: Connection, response: ServerResponse): boolean {
    return isStale(connection) || !accepting || (house.isDraining() && !response.shouldKeepAlive)
  }

  /** Of several that are pipelined, the last one says it. */
  function announce({ pending, latest }: Connection): void {
    if (pending > 0 && latest !== null && !latest.response.headersSent)
      latest.response.shouldKeepAlive = false
  }

  /** A tunnel is judged by nobody once it is open; a change of trust is the moment to look again. */
  function isTrusted({ certificate }: Connection): boolean {
    return certificate === null || judgeCertificate(certificate, running().gate.trust, house.now()) === null
  }

  function refuseMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
    const connection = connections.get(socket)
    if (!socket.writable || error.code === 'ECONNRESET' || error.code === 'EPIPE') {
      socket.destroy()
      return
    }
    const denial = new Denial(codeOf(error), error.code ?? error.message)
    const { gate } = running()
    const broken = connection === undefined ? null : brokenRequest(connection)
    const interactionId = broken?.interactionId ?? randomUUID()
    if (broken?.isBegun === true) broken.malformed = denial
    else tellMalformed(gate, house, denial, (socket as TLSSocket).remoteAddress ?? '', interactionId)
    if (connection === undefined || !canStillBeAnswered(connection, broken)) {
      socket.destroy()
      return
    }
    refuseRaw(socket, denial, gate.errors, interactionId, new Date(house.now() * 1000))
    connection.end()
  }

  return {
    address: () => server.address() as AddressInfo,
    listen: (host, port) => listen(server, host, port),
    trustChanged: () => {
      const { id } = running().bundle.trust
      if (id !== trustId) trustChanges++
      trustId = id
      server.setSecureContext(running().tls.options)
      for (const connection of connections.values()) {
        if (isStale(connection)) {
          if (connection.pending === 0) connection.end()
          else announce(connection)
        }
        if (connection.upgraded && !isTrusted(connection)) connection.socket.destroy()
      }
      http2?.trustChanged()
    },
    announceEnd: () => {
      for (const connection of connections.values()) announce(connection)
      http2?.announceEnd()
    },
    stopAccepting: () => {
      accepting = false
      // Not the `close` of node:http, which destroys idle connections: with a request on its way that is a reset, and leaves its
      // client in doubt whether anything was done (RFC 9112 section 9.6).
      TcpServer.prototype.close.call(server)
      for (const connection of connections.values())
        if (connection.pending === 0 && connection.latest !== null) connection.end()
      http2?.stopAccepting()
      // One that has just come is about to ask.
      setTimeout(() => {
        for (const connection of connections.values()) if (connection.pending === 0) connection.end()
        http2?.endIdle()
      }, FIRST_REQUEST_MS).unref()
    },
    connections: () => accepted.size,
    destroy: () => {
      // What node:http knows of is not all: upgraded connections, and those whose handshake is not over, are not.
      for (const socket of connections.keys()) socket.destroy()
      http2?.destroy()
      for (const { socket } of accepted.values()) socket.destroy()
    },
  }
}

/** The request whose body the malformed bytes are; null when they follow a whole one. */
function brokenRequest({ pending, latest }: Connection): Arrived | null {
  return pending > 0 && latest !== null && !latest.request.complete ? latest : null
}

/**
 * Not once an answer has begun, or while another is due: a status line now would be read as part of that. One that is
 * written to its end is in front of it, also before the socket says so.
 */
function canStillBeAnswered({ pending, latest }: Connection, broken: Arrived | null): boolean {
  if (pending > 1) return false
  return broken !== null
    ? !broken.response.headersSent
    : pending === 0 || latest?.response.writableEnded === true
}

/** Gives the connection that node:http has let go to a response, which ends it. */
function attach(response: ServerResponse, connection: Connection): void {
  const { socket } = connection
  response.assignSocket(socket)
  response.on('finish', () => {
    response.detachSocket(socket)
    connection.end()
  })
}

/** Up to a tenth shorter: clients that came together, after a restart, do not all come again together. */
function jittered(milliseconds: number): number {
  return Math.round(milliseconds * (1 - Math.random() / 10))
}

/** Both ends of a connection: the same for a TCP socket and the TLS socket upon it. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return [remoteAddress, remotePort, localAddress, localPort].join(' ')
}

function ignore(): void {}

function codeOf(error: NodeJS.ErrnoException): DenialCode {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return 'header_too_large'
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'request_timeout'
    default:
      return 'request_malformed'
  }
}

function endAfterAnswer(connection: Connection, response: ServerResponse): void {
  if (response.writableFinished) connection.end()
  else response.once('finish', () => connection.end())
}
