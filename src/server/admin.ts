import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Address } from '../config/settings.js'
import type { Exposition } from '../observe/metrics.js'
import { listen } from './listen.js'

/** One condition, for people: `[+]keys main ok`, `[-]` when it makes the instance unready, `[!]` when it does not. */
export interface Condition {
  readonly name: string
  readonly ok: boolean
  /** What is wrong, or ''. */
  readonly detail: string
  /** It is told, and does not make the instance unready. */
  readonly forInformation?: boolean
}

export interface AdminOptions {
  readonly metrics: () => Promise<Exposition>
  /** Readiness: all must hold that are not for information. Liveness asks nothing of others. */
  readonly conditions: () => readonly Condition[] | Promise<readonly Condition[]>
  /** Reloads; resolves with the problems, one line each, empty when the new policy is in use. */
  readonly reload: () => Promise<readonly string[]>
}

export interface AdminServer {
  readonly listen: (host: string, port: number) => Promise<void>
  readonly address: () => Address
  readonly close: () => void
}

/** The operators' plain HTTP server: health, metrics, reload. It never shares a port with the API. */
export function createAdminServer(options: AdminOptions): AdminServer {
  const server: Server = createServer((request, response) => {
    answer(request, response, options).catch(() => response.destroy())
  })
  server.requestTimeout = 10_000
  server.headersTimeout = 10_000
  server.maxConnections = 256
  server.on('clientError', (_, socket) => socket.destroy())
  return {
    listen: (host, port) => listen(server, host, port),
    address: () => {
      const { address, port } = server.address() as AddressInfo
      return { host: address, port }
    },
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: AdminOptions,
): Promise<void> {
  request.resume()
  const [path, query = ''] = (request.url ?? '/').split('?', 2) as [string, string?]
  if (path === '/-/reload') return reload(request, response, options)
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return send(response, 405, 'only GET\n', { Allow: 'GET, HEAD' })
  switch (path) {
    case '/metrics': {
      const { text, contentType } = await options.metrics()
      return send(response, 200, text, { 'Content-Type': contentType })
    }
    case '/livez':
      return send(response, 200, 'ok\n')
    case '/readyz':
    case '/healthz':
      return sendConditions(response, await options.conditions(), new URLSearchParams(query).has('verbose'))
    default:
      return send(response, 404, 'try /metrics, /livez, /readyz, /healthz or POST /-/reload\n')
  }
}

async function reload(
  request: IncomingMessage,
  response: ServerResponse,
  options: AdminOptions,
): Promise<void> {
  if (request.method !== 'POST') return send(response, 405, 'only POST\n', { Allow: 'POST' })
  // A web page in the operator's browser can reach loopback, but cannot hide where it comes from.
  if (request.headers.origin !== undefined) return send(response, 403, 'not from a web page\n')
  const problems = await options.reload()
  return problems.length === 0
    ? send(response, 200, 'reloaded\n')
    : send(response, 422, `not reloaded, the policy before serves on\n${problems.join('\n')}\n`)
}

/** The format of the Kubernetes API server's health endpoints. */
function sendConditions(response: ServerResponse, conditions: readonly Condition[], verbose: boolean): void {
  const ready = conditions.every(({ ok, forInformation = false }) => ok || forInformation)
  const lines = conditions.map(({ name, ok, detail, forInformation = false }) => {
    if (forInformation) return `[${ok ? '+' : '!'}]${name} ${detail}`
    return `[${ok ? '+' : '-'}]${name} ${ok ? 'ok' : `failed: ${detail}`}`
  })
  const text = verbose || !ready ? `${lines.join('\n')}\n${ready ? 'ready' : 'not ready'}\n` : 'ok\n'
  send(response, ready ? 200 : 503, text)
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...headers,
  })
  response.end(text)
}
