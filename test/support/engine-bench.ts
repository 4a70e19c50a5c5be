/** An engine on its own: a plain front server that grants everything, the engine, and a recording upstream. */
import { once } from 'node:events'
import http, { type IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Grant } from '../../src/checks/authorise.js'
import { DENIALS, Denial } from '../../src/decision/denials.js'
import type { Route } from '../../src/policy/policy.js'
import type { Upstream } from '../../src/policy/upstream.js'
import type { IncomingRequest } from '../../src/upstream/client-message.js'
import { createEngine } from '../../src/upstream/engine.js'
import {
  type Exchange,
  type Forwarded,
  type ForwardingEngine,
  OUTDATED,
} from '../../src/upstream/forwarding.js'
import { RawClient } from './raw-client.js'
import { RecordingUpstream } from './recording-upstream.js'

export const INTERACTION = '93bac548-d2de-4546-b106-880a5018460d'
const TOKEN = {
  clientId: 'client-1',
  subject: 'sub-1',
  scopes: new Set(['a:read']),
  flow: 'client_credentials',
}

/** An engine between a plain front server, which grants everything, and a recording upstream. */
export class Bench {
  readonly port: number
  readonly engine: ForwardingEngine
  readonly upstream: RecordingUpstream
  /** What `forward` resolved with, in order. */
  readonly outcomes: (Forwarded | Denial | typeof OUTDATED | null)[] = []
  readonly #server: http.Server

  private constructor(server: http.Server, engine: ForwardingEngine, upstream: RecordingUpstream) {
    this.#server = server
    this.engine = engine
    this.upstream = upstream
    this.port = (server.address() as AddressInfo).port
  }

  static async start(
    engineName: Upstream['engine'],
    t: Test,
    settings: Partial<Upstream> = {},
    bodyBytes = 1_000_000,
    route: Partial<Route> = {},
    clientStallMs = 60_000,
  ) {
    const upstream = await RecordingUpstream.start()
    const engine = createEngine(
      {
        name: 'provider',
        url: upstream.url,
        ca: null,
        connectTimeoutMs: 1000,
        responseTimeoutMs: 1000,
        connections: 8,
        authorization: 'forward',
        clientCert: 'strip',
        engine: engineName,
        ...settings,
      },
      'postern-test',
    )
    const terms = { bodyBytes, clientStallMs, answerBy: Number.POSITIVE_INFINITY, onAnswer: () => {} }
    const handle = (exchange: Exchange): void => {
      engine.attempt(grantFor(exchange.request, route), exchange, terms).then(ended => {
        const outcome = ended !== null && ended !== OUTDATED && 'denial' in ended ? ended.denial : ended
        bench.outcomes.push(outcome)
        if (outcome instanceof Denial) refuse(exchange, outcome)
      })
    }
    const server = http.createServer(listenerOf(handle))
    server.on('checkContinue', listenerOf(handle))
    server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      const response = new ServerResponse(request)
      response.assignSocket(socket)
      handle({ ...exchangeOf(request, response), upgrade: { socket, head } })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const bench = new Bench(server, engine, upstream)
    t.teardown(async () => {
      engine.close()
      server.closeAllConnections()
      server.close()
      await upstream.stop()
    })
    return bench
  }

  client(): Promise<RawClient> {
    return RawClient.connect({ port: this.port })
  }

  /** Sends one request on a connection of its own, and returns the answer. */
  async send(bytes: string, method = 'GET') {
    const client = await this.client()
    client.write(bytes)
    const message = await client.answer(method)
    client.destroy()
    return message
  }

  /** Resolves when so many exchanges are over. */
  async over(count: number): Promise<Forwarded | Denial | typeof OUTDATED | null | undefined> {
    for (const deadline = Date.now() + 5000; this.outcomes.length < count; await delay(5))
      if (Date.now() > deadline) throw new Error(`${this.outcomes.length} of ${count} exchanges over`)
    return this.outcomes[count - 1]
  }

  connections(): Promise<number> {
    return new Promise((resolve, reject) =>
      this.#server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
    )
  }
}

function listenerOf(handle: (exchange: Exchange) => void) {
  return (request: IncomingMessage, response: ServerResponse): void => handle(exchangeOf(request, response))
}

export function exchangeOf(request: IncomingMessage, response: ServerResponse): Exchange {
  return { request, response, upgrade: null, clientAddress: '192.0.2.7', interactionId: INTERACTION }
}

export function grantFor(request: IncomingRequest, route: Partial<Route>): Grant {
  const { method = '', url = '', rawHeaders } = request
  return {
    request: { method, target: url, path: url, query: '', host: 'api.example', headers: rawHeaders },
    match: {
      route: {
        id: 'GET /x',
        mtls: true,
        token: {},
        upstream: 'provider',
        responseTimeoutMs: null,
        upgrade: null,
        ...route,
      },
      parameters: {},
    },
    certificate: null,
    token: TOKEN,
  } as unknown as Grant
}

function refuse({ response, upgrade }: Exchange, denial: Denial): void {
  const headers = ['content-length', '0', 'connection', 'close', 'x-code', denial.code]
  response.writeHead(DENIALS[denial.code].status, '', headers)
  response.end()
  upgrade?.socket.end()
}

export function get(path: string, ...lines: string[]): string {
  return head('GET', path, ...lines)
}

export function head(method: string, path: string, ...lines: string[]): string {
  return [`${method} ${path} HTTP/1.1`, 'Host: api.example', ...lines, '', ''].join('\r\n')
}

export function chunked(...chunks: string[]): string {
  return `${chunks.map(chunk => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')}0\r\n\r\n`
}
