/**
 * CPU of one forwarded exchange, by engine: `node build/bench/forward.js [SECONDS [ENGINE…]]`. A plain front server, the engine and
 * nothing else run in this process; upstream and clients in another. The engines take turns, so that a busy machine is
 * unfair to none; the lower quartile of the turns is printed. `none`: the front server answers by itself.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Grant } from '../src/checks/authorise.js'
import type { Upstream } from '../src/policy/upstream.js'
import { createEngine } from '../src/upstream/engine.js'
import type { Exchange } from '../src/upstream/forwarding.js'

const CLIENTS = 32
const TURN_MS = 500
const ALL_ENGINES = ['none', 'builtin', 'http-proxy'] as const
const [, , SECONDS = '10', ...CHOSEN] = process.argv
const ENGINES = ALL_ENGINES.filter(engine => CHOSEN.length === 0 || CHOSEN.includes(engine))

/** What is asked and answered. */
const SHAPES = [
  { name: 'GET 1 kB', method: 'GET', up: 0, down: 1000 },
  { name: 'POST 1 kB', method: 'POST', up: 1000, down: 1000 },
  { name: 'GET 64 kB', method: 'GET', up: 0, down: 65_536 },
] as const

const BODIES = new Map(SHAPES.map(({ down }) => [down as number, Buffer.alloc(down, 'x')]))

type Shape = (typeof SHAPES)[number]

if (process.send !== undefined) playOthers()
else await measure(Number(SECONDS))

/** The upstream and the clients. */
function playOthers(): void {
  const answers = SHAPES.map(({ down }) =>
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 15:00:00 GMT\r\nContent-Type: application/json\r\nX-Request-Id: 1\r\nETag: "abc"\r\nVary: Accept\r\nContent-Length: ${down}\r\n\r\n`,
      ),
      Buffer.alloc(down, 'x'),
    ]),
  )
  const upstream = net.createServer({ noDelay: true }, socket => {
    let pending = ''
    socket.on('error', () => {})
    socket.on('data', bytes => {
      pending += bytes.toString('latin1')
      const head = pending.indexOf('\r\n\r\n')
      const shape = Number(pending.charAt(pending.indexOf('/') + 1))
      if (head === -1 || pending.length < head + 4 + (SHAPES[shape] as Shape).up) return
      pending = ''
      socket.write(answers[shape] as Buffer)
    })
  })
  upstream.listen(0, '127.0.0.1', () => process.send?.((upstream.address() as AddressInfo).port))
  let stop = (): void => {}
  process.on('message', (order: { port: number; shape: number } | 'stop') => {
    if (order === 'stop') stop()
    else stop = startClients(order.port, order.shape)
  })
}

function startClients(port: number, shape: number): () => void {
  const { method, up, down } = SHAPES[shape] as Shape
  const lines = [
    `${method} /${shape}/accounts/12345/transactions?limit=50 HTTP/1.1`,
    'Host: api.example',
    'Accept: application/json',
    `Authorization: Bearer ${'t'.repeat(600)}`,
    'User-Agent: bench/1.0',
    'x-fapi-interaction-id: 93bac548-d2de-4546-b106-880a5018460d',
    ...(up === 0 ? [] : [`Content-Length: ${up}`]),
  ]
  const request = Buffer.from(`${lines.join('\r\n')}\r\n\r\n${'x'.repeat(up)}`)
  let done = 0
  const sockets = Array.from({ length: CLIENTS }, () => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    let left = 0
    socket.on('error', () => {})
    socket.on('data', bytes => {
      left = left > 0 ? left - bytes.length : bytes.indexOf('\r\n\r\n') + 4 + down - bytes.length
      if (left > 0) return
      done++
      socket.write(request)
    })
    socket.write(request)
    return socket
  })
  return () => {
    for (const socket of sockets) socket.destroy()
    process.send?.(done)
  }
}

async function measure(seconds: number): Promise<void> {
  const others = fork(fileURLToPath(import.meta.url))
  const [upstreamPort] = (await once(others, 'message')) as [number]
  const fronts = await Promise.all(ENGINES.map(engine => startFront(engine, upstreamPort)))
  const costs = new Map<string, number[]>()
  const turn = async (index: number, shape: number): Promise<number> => {
    const { port } = (fronts[index] as http.Server).address() as AddressInfo
    others.send({ port, shape })
    const before = process.cpuUsage()
    await new Promise(resolve => setTimeout(resolve, TURN_MS))
    others.send('stop')
    const [done] = (await once(others, 'message')) as [number]
    const { user, system } = process.cpuUsage(before)
    return (user + system) / done
  }
  for (let round = -1; round < (seconds * 1000) / TURN_MS / ENGINES.length / SHAPES.length; round++)
    for (const [shape, { name }] of SHAPES.entries())
      for (const [index, engine] of ENGINES.entries()) {
        const cost = await turn(index, shape)
        const key = `${name}, ${engine}`
        if (round >= 0) costs.set(key, [...(costs.get(key) ?? []), cost])
      }
  for (const [key, values] of costs) {
    const sorted = values.sort((a, b) => a - b)
    const quartile = sorted[Math.floor(sorted.length / 4)] as number
    const median = sorted[Math.floor(sorted.length / 2)] as number
    process.stdout.write(`${key.padEnd(24)} ${quartile.toFixed(1)} us (median ${median.toFixed(1)})\n`)
  }
  others.kill()
  for (const front of fronts) {
    front.closeAllConnections()
    front.close()
  }
}

async function startFront(name: (typeof ENGINES)[number], upstreamPort: number): Promise<http.Server> {
  const upstream: Upstream = {
    name: 'provider',
    url: `http://127.0.0.1:${upstreamPort}`,
    ca: null,
    connectTimeoutMs: 5000,
    responseTimeoutMs: 5000,
    connections: 256,
    authorization: 'forward',
    clientCert: 'strip',
    engine: name === 'none' ? 'builtin' : name,
  }
  const engine = createEngine(upstream, 'bench')
  const terms = {
    bodyBytes: 1_000_000,
    clientStallMs: 60_000,
    answerBy: Number.POSITIVE_INFINITY,
    onAnswer: () => {},
  }
  const server = http.createServer((request, response) => {
    if (name === 'none') answerAlone(request, response)
    else void engine.attempt(grantFor(request), exchangeOf(request, response), terms)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

function exchangeOf(request: IncomingMessage, response: ServerResponse): Exchange {
  const interactionId = '93bac548-d2de-4546-b106-880a5018460d'
  return { request, response, upgrade: null, clientAddress: '192.0.2.7', interactionId }
}

function answerAlone(request: IncomingMessage, response: ServerResponse): void {
  const { down } = SHAPES[Number(request.url?.charAt(1))] as Shape
  const end = (): void => {
    response.writeHead(200, ['Content-Type', 'application/json', 'Content-Length', `${down}`])
    response.end(BODIES.get(down))
  }
  if (request.method === 'GET') end()
  else request.resume().on('end', end)
}

function grantFor({ method = '', url = '', rawHeaders }: IncomingMessage): Grant {
  const route = { id: 'GET /accounts/{id}/transactions', mtls: true, token: {}, upstream: 'provider' }
  return {
    request: { method, target: url, path: url, query: '', host: 'api.example', headers: rawHeaders },
    match: { route: { ...route, responseTimeoutMs: null, upgrade: null }, parameters: {} },
    certificate: null,
    token: {
      clientId: 'client-1',
      subject: 'sub-1',
      scopes: new Set(['a:read']),
      flow: 'client_credentials',
    },
  } as unknown as Grant
}
