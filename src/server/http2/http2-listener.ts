import { randomUUID } from 'node:crypto'
import { constants, type ServerHttp2Stream } from 'node:http2'
import type { Server } from 'node:https'
import type { TLSSocket } from 'node:tls'
import type { Limits } from '../../config/settings.js'
import { Denial } from '../../decision/denials.js'
import type { House } from '../../gate/gate.js'
import { handleRequest } from '../../gate/handle-request.js'
import { refuse } from '../../gate/refuse.js'
import { tellMalformed } from '../../gate/tell.js'
import type { CertificateFacts } from '../../request/certificate-facts.js'
import { type Http2Head, readHttp2Head } from '../../request/http2-head.js'
import { clientInteractionId } from '../../request/interaction-id.js'
import { onceAllIsRead } from '../../upstream/turn.js'
import type { Running } from '../compose.js'
import { LINGER_MS } from '../connection.js'
import { Http2Connection } from './http2-connection.js'
import { breakOff, StreamAnswer } from './stream-answer.js'
import { StreamRequest } from './stream-request.js'

/** The protocol's name in ALPN. */
export const H2 = 'h2'

/** node:https reads every TLS socket as HTTP/1; those that speak HTTP/2 must not come to its parser. */
export function keepFromParser(server: Server): void {
  const [parse, ...others] = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[]
  if (parse === undefined || others.length > 0)
    throw new Error('node:https does not listen to its sockets as it used to')
  server.removeListener('secureConnection', parse)
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol !== H2) parse.call(server, socket)
  })
}

/** The connections that speak HTTP/2: their streams are requests like any other. */
export class Http2Listener {
  readonly #running: () => Running
  readonly #house: House
  readonly #limits: Limits
  readonly #dropped: () => void
  readonly #connections = new Set<Http2Connection>()

  /** @param running the gate in use, read anew for each request */
  constructor(running: () => Running, house: House, limits: Limits, dropped: () => void) {
    this.#running = running
    this.#house = house
    this.#limits = limits
    this.#dropped = dropped
  }

  /** Takes a connection whose handshake is over. */
  accept(socket: TLSSocket, certificate: CertificateFacts | null, trustId: string, ageMs: number): void {
    const connection = new Http2Connection(socket, certificate, trustId, ageMs, {
      limits: this.#limits,
      serve: (stream, fields, on) => this.#serve(stream, fields, on),
      dropped: this.#dropped,
      failed: (reason, clientAddress) =>
        this.#house.log.debug({ reason, clientAddress }, 'HTTP/2 connection failed'),
    })
    this.#connections.add(connection)
    socket.once('close', () => this.#connections.delete(connection))
    this.#endIfStale(connection)
  }

  /** No stream is judged under an older trust from now on. */
  trustChanged(): void {
    for (const connection of this.#connections) this.#endIfStale(connection)
  }

  #endIfStale(connection: Http2Connection): void {
    if (connection.trustId !== this.#running().bundle.trust.id) connection.end()
  }

  /** The streams that are open are the last of their connections. */
  announceEnd(): void {
    for (const connection of this.#connections) if (!connection.isIdle) connection.end()
  }

  /** Nothing more is accepted; connections that have just come are about to ask. */
  stopAccepting(): void {
    for (const connection of this.#connections) if (connection.isUsed) connection.end()
  }

  /** Ends those that have not asked either. */
  endIdle(): void {
    for (const connection of this.#connections) if (connection.isIdle) connection.end()
  }

  /** Ends every connection at once. */
  destroy(): void {
    for (const connection of this.#connections) connection.destroy()
  }

  async #serve(stream: ServerHttp2Stream, fields: string[], connection: Http2Connection): Promise<boolean> {
    const { socket, certificate, clientAddress } = connection
    const head = readHttp2Head({
      fields,
      isWhole: stream.endAfterHeaders,
      mostBytes: this.#limits.headerBytes,
    })
    const interactionId = clientInteractionId(fields) ?? randomUUID()
    const request = new StreamRequest(stream, head instanceof Denial ? NO_HEAD : head, socket)
    const response = new StreamAnswer(stream, request)
    // Said at once, so that the client sends nothing more on this connection.
    if (this.#house.isDraining()) connection.end()
    if (head instanceof Denial) this.#refuseHead(head, response, clientAddress, interactionId)
    else {
      await new Promise<void>(begin => onceAllIsRead(begin))
      // Reset in the turn in which it came, or its connection dropped: nobody waits for an answer, so nothing is done
      // (CVE-2023-44487). Not every reset makes node:http2 destroy the stream, and until then its work would seem to go on.
      if (response.destroyed || connection.isDropped) {
        stream.destroy()
        return false
      }
      let late: Denial | null = null
      const onLate = (): void => {
        if (request.complete) return // the upstream is slow to read it, or to answer
        late = new Denial('request_timeout', 'the body was not complete in time')
        this.#refuseLate(late, stream, response, interactionId)
      }
      const timer = request.complete ? undefined : setTimeout(onLate, this.#limits.requestTimeoutMs)
      request.once('close', () => clearTimeout(timer))
      await handleRequest(this.#house, {
        ...{ request, response, upgrade: null, clientAddress, interactionId, certificate },
        gateInUse: () => this.#running().gate,
        malformed: () => late,
      })
      clearTimeout(timer)
      if (!response.shouldKeepAlive) connection.end()
    }
    seeOff(stream, request, this.#limits.idleTimeoutMs)
    return response.isBrokenOff
  }

  #refuseHead(denial: Denial, response: StreamAnswer, clientAddress: string, interactionId: string): void {
    const { gate } = this.#running()
    tellMalformed(gate, this.#house, denial, clientAddress, interactionId)
    refuse(response, denial, gate.errors, interactionId, null, null)
  }

  /** Whoever handles the request takes the client for gone. */
  #refuseLate(
    denial: Denial,
    stream: ServerHttp2Stream,
    response: StreamAnswer,
    interactionId: string,
  ): void {
    if (response.headersSent) {
      response.destroy()
      return
    }
    const { req: request } = response
    request.discard()
    response.abandon()
    request.destroy()
    refuse(new StreamAnswer(stream, request), denial, this.#running().gate.errors, interactionId, null, null)
  }
}

/** For a request that is refused before it has one. */
const NO_HEAD: Http2Head = { method: '', target: '', headers: [] }

/** What is left of a stream once all is written. A client that does not read, or sends on, keeps it for a time only. */
function seeOff(stream: ServerHttp2Stream, request: StreamRequest, stallMs: number): void {
  if (stream.destroyed) return
  // At once: what waits to be read, a window of each stream, is counted by no limit from here on.
  request.discard()
  let timer = setTimeout(() => breakOff(stream), stallMs)
  const onWritten = (): void => {
    clearTimeout(timer)
    // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not needed.
    timer = setTimeout(() => {
      stream.close(constants.NGHTTP2_NO_ERROR)
      setImmediate(() => stream.destroy())
    }, LINGER_MS)
  }
  stream.once('close', () => clearTimeout(timer))
  if (stream.writableFinished) onWritten()
  else stream.once('finish', onWritten)
}
