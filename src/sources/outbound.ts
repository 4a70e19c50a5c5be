import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { type JsonObject, JsonProblem, readJsonObject } from '../policy/strict-json.js'

/** Why nothing usable came back. `detail` is for the operator: no query, no credentials, no part of the answer. */
export class OutboundFailure {
  readonly detail: string

  constructor(detail: string) {
    this.detail = detail
  }
}

/** Fetches one JSON object. Never rejects. `signal` ends the attempt early. */
export type GetJson = (url: string, signal?: AbortSignal) => Promise<JsonObject | OutboundFailure>

export interface OutboundOptions {
  /** PEM of the authorities for the TLS connection; null: the system's roots. */
  readonly ca: string | null
  /** From the name lookup to the last byte. Default 5000. */
  readonly timeoutMs?: number
  /** Of the answer's body. Default 512 KiB. */
  readonly maxBytes?: number
}

/**
 * The one client for outgoing GET requests: https with a verified certificate, or http to this machine alone; no
 * redirects, so that the configured address is the one that answers; bounded time and size; strict JSON.
 */
export function createOutbound({ ca, timeoutMs = 5000, maxBytes = 512 * 1024 }: OutboundOptions): GetJson {
  const headers = { accept: 'application/json' }
  return async (url, signal) => {
    const asked = await ask(
      url,
      { method: 'GET', headers, tls: tlsOf(ca), agent: false, timeoutMs, maxBytes },
      signal,
    )
    if (asked instanceof OutboundFailure) return asked
    if (asked.status !== 200) return new OutboundFailure(`${nameOf(url)}: status ${asked.status}`)
    const answer = readJsonObject(asked.body)
    return answer instanceof JsonProblem ? new OutboundFailure(`${nameOf(url)}: ${answer.detail}`) : answer
  }
}

/** An answer as it came; the body of another status than 200 is not read. */
export interface Reply {
  readonly status: number
  /** Media type in lower case, without parameters. */
  readonly mediaType: string
  readonly body: Buffer
}

/** Sends forms to one server, on connections that are kept. */
export interface FormPoster {
  /** Never rejects. */
  readonly post: (
    url: string,
    form: URLSearchParams,
    headers: Readonly<Record<string, string>>,
  ) => Promise<Reply | OutboundFailure>
  /** Ends the connections that are idle, and later ones when they become it. */
  readonly close: () => void
}

export interface FormPosterOptions extends OutboundOptions {
  /** PEM of a certificate and its key, for servers that ask for one; null: none. */
  readonly identity: { readonly cert: string; readonly key: string } | null
}

/** A client for outgoing POST requests, with the same care as `createOutbound`. */
export function createFormPoster(options: FormPosterOptions): FormPoster {
  const { ca, identity, timeoutMs = 5000, maxBytes = 512 * 1024 } = options
  const tls = { ...tlsOf(ca), ...(identity !== null && { cert: identity.cert, key: identity.key }) }
  const kept = { keepAlive: true, maxFreeSockets: 16, timeout: 30_000 }
  const agents = { https: new HttpsAgent(kept), http: new HttpAgent(kept) }
  let outstanding = 0
  let closed = false
  const endIdle = () => {
    if (closed && outstanding === 0) for (const agent of Object.values(agents)) agent.destroy()
  }
  return {
    async post(url, form, headers) {
      const agent = url.startsWith('https:') ? agents.https : agents.http
      const content = {
        ...headers,
        'content-type': 'application/x-www-form-urlencoded',
      }
      outstanding++
      try {
        const request = {
          method: 'POST',
          headers: content,
          body: form.toString(),
          tls,
          agent,
          timeoutMs,
          maxBytes,
        } as const
        return await ask(url, request)
      } finally {
        outstanding--
        endIdle()
      }
    },
    close() {
      closed = true
      endIdle()
    },
  }
}

/** Why an address cannot be asked: not https (http for loopback alone), or with credentials in it. null when it can. */
export function urlProblem(url: string): string | null {
  if (!URL.canParse(url)) return 'not a URL'
  const { protocol, hostname, username, password } = new URL(url)
  if (username !== '' || password !== '') return 'a URL with credentials in it'
  if (protocol === 'https:') return null
  return protocol === 'http:' && LOOPBACK.test(hostname) ? null : 'not an https URL'
}

/** As WHATWG URL writes host names: lower case, IPv4 in four decimals, IPv6 compressed. */
const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

interface OutboundRequest {
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  readonly tls: object
  /** false: a connection for this request alone. */
  readonly agent: HttpAgent | HttpsAgent | false
  readonly timeoutMs: number
  readonly maxBytes: number
}

function tlsOf(ca: string | null): object {
  return {
    rejectUnauthorized: true, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
    minVersion: 'TLSv1.2',
    ...(ca !== null && { ca }),
  }
}

/** Asks once, or twice when a kept connection turns out to be closed. Never rejects. */
async function ask(
  url: string,
  request: OutboundRequest,
  signal?: AbortSignal,
): Promise<Reply | OutboundFailure> {
  const problem = urlProblem(url)
  if (problem !== null) return new OutboundFailure(problem)
  const ending = new AbortController()
  const end = () => ending.abort()
  let late = false
  const deadline = setTimeout(() => {
    late = true
    end()
  }, request.timeoutMs)
  signal?.addEventListener('abort', end)
  if (signal?.aborted) end()
  const target = new URL(url)
  let reply = await exchange(target, request, ending.signal)
  if (reply === STALE_CONNECTION) reply = await exchange(target, { ...request, agent: false }, ending.signal)
  clearTimeout(deadline)
  signal?.removeEventListener('abort', end)
  if (typeof reply !== 'string') return reply
  const reason = late ? `no complete answer within ${request.timeoutMs} ms` : reply
  return new OutboundFailure(`${nameOf(url)}: ${reason}`)
}

/** Without the query, which may hold a secret. */
function nameOf(url: string): string {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}

/** The server closed a kept connection while the request was on its way: nobody has answered, nothing has failed. */
const STALE_CONNECTION = 'the kept connection was closed'

/** The answer, or what went wrong. */
function exchange(url: URL, request: OutboundRequest, signal: AbortSignal): Promise<Reply | string> {
  const { method, body, tls, agent, maxBytes } = request
  return new Promise(resolve => {
    const received = (response: IncomingMessage) => {
      const refuse = (reason: string) => {
        resolve(reason)
        response.destroy()
      }
      const status = response.statusCode ?? 0
      const mediaType = (response.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
      const chunks: Buffer[] = []
      let size = 0
      response.on('error', error => resolve(errorCodeOf(error)))
      response.on('close', () => resolve('the answer broke off')) // after 'end' it changes nothing
      if (status !== 200) {
        resolve({ status, mediaType, body: Buffer.alloc(0) })
        response.destroy()
        return
      }
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > maxBytes) refuse(`more than ${maxBytes} bytes`)
        else chunks.push(chunk)
      })
      response.on('end', () => resolve({ status, mediaType, body: Buffer.concat(chunks) }))
    }
    const headers = {
      'accept-encoding': 'identity',
      'user-agent': 'postern',
      ...request.headers,
      ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
    }
    try {
      const options = { method, headers, agent, signal }
      const sent =
        url.protocol === 'https:'
          ? requestHttps(url, { ...options, ...tls }, received)
          : requestHttp(url, options, received)
      sent.on('error', error => {
        const code = errorCodeOf(error)
        const stale = sent.reusedSocket && (code === 'ECONNRESET' || code === 'EPIPE')
        resolve(stale ? STALE_CONNECTION : code)
      })
      sent.end(body)
    } catch (error) {
      resolve(errorCodeOf(error)) // such as authorities that are no PEM
    }
  })
}

/** Codes such as ECONNREFUSED or CERT_HAS_EXPIRED; messages may hold anything. */
function errorCodeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'the request failed'
}
