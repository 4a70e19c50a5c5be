import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { type JsonObject, JsonProblem, readJsonObject } from './strict-json.js'

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
  return async (url, signal) => {
    const problem = urlProblem(url)
    if (problem !== null) return new OutboundFailure(problem)
    const target = new URL(url)
    const ending = new AbortController()
    const end = () => ending.abort()
    let late = false
    const deadline = setTimeout(() => {
      late = true
      end()
    }, timeoutMs)
    signal?.addEventListener('abort', end)
    if (signal?.aborted) end()
    const body = await fetchBody(target, { ca, maxBytes, signal: ending.signal })
    clearTimeout(deadline)
    signal?.removeEventListener('abort', end)
    const answer = typeof body === 'string' ? new JsonProblem(body) : readJsonObject(body)
    if (!(answer instanceof JsonProblem)) return answer
    const reason = late ? `no complete answer within ${timeoutMs} ms` : answer.detail
    return new OutboundFailure(`${target.origin}${target.pathname}: ${reason}`)
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

interface FetchOptions {
  readonly ca: string | null
  readonly maxBytes: number
  readonly signal: AbortSignal
}

/** The body of a 200, or what went wrong. */
function fetchBody(url: URL, { ca, maxBytes, signal }: FetchOptions): Promise<Buffer | string> {
  return new Promise(resolve => {
    const failed = (error: unknown) => resolve(errorCodeOf(error))
    const headers = { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'postern' }
    const received = (response: IncomingMessage) => {
      const refuse = (reason: string) => {
        resolve(reason)
        response.destroy()
      }
      const chunks: Buffer[] = []
      let size = 0
      response.on('error', failed)
      response.on('close', () => resolve('the answer broke off')) // after 'end' it changes nothing
      if (response.statusCode !== 200) return refuse(`status ${response.statusCode}`)
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > maxBytes) refuse(`more than ${maxBytes} bytes`)
        else chunks.push(chunk)
      })
      response.on('end', () => resolve(Buffer.concat(chunks)))
    }
    try {
      const request =
        url.protocol === 'https:'
          ? requestHttps(
              url,
              {
                agent: false,
                headers,
                signal,
                rejectUnauthorized: true, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
                minVersion: 'TLSv1.2',
                ...(ca !== null && { ca }),
              },
              received,
            )
          : requestHttp(url, { agent: false, headers, signal }, received)
      request.on('error', failed)
      request.end()
    } catch (error) {
      failed(error) // such as authorities that are no PEM
    }
  })
}

/** Codes such as ECONNREFUSED or CERT_HAS_EXPIRED; messages may hold anything. */
function errorCodeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'the request failed'
}
