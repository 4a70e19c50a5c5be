import type { ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { DENIALS, type Denial } from '../decision/denials.js'
import type { ErrorFormat } from '../policy/policy.js'
import { withMetadataUrl } from './answer-metadata.js'

/** A refusal as it goes over the wire. */
interface Answer {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

/** Bodies up to this size are read to the end after a refusal, so that the connection can be used again. */
const DRAINABLE_BYTES = 64 * 1024

/** Writes a refusal through node:http. The only other writer is `refuseRaw`; both say what `answerTo` says. */
export function refuse(
  response: ServerResponse,
  denial: Denial,
  format: ErrorFormat,
  interactionId: string,
  metadataUrl: string | null,
): void {
  const { status, headers, body } = answerTo(denial, format, interactionId)
  response.statusCode = status
  for (const [name, value] of headers)
    response.setHeader(name, status === 401 ? withMetadataUrl(name, value, metadataUrl) : value)
  if (!canReuseConnection(response, denial)) response.setHeader('Connection', 'close')
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

/** Writes a refusal to a connection whose bytes never became a request, and ends it. */
export function refuseRaw(socket: Duplex, denial: Denial, interactionId: string, now: Date): void {
  const { status, headers, body } = answerTo(denial, 'fdx', interactionId)
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
    `Date: ${now.toUTCString()}`,
    'Connection: close',
    '',
    body,
  ]
  socket.end(lines.join('\r\n'))
}

/** The status, headers and body of a refusal: the client reads words of the catalogue, never `detail`. */
export function answerTo(denial: Denial, format: ErrorFormat, interactionId: string): Answer {
  const spec = DENIALS[denial.code]
  const body =
    format === 'fdx'
      ? JSON.stringify({ code: spec.fdx, message: spec.message })
      : JSON.stringify({ type: 'about:blank', title: spec.message, status: spec.status })
  const challenge = challengeOf(denial)
  return {
    status: spec.status,
    headers: [
      ['Content-Type', format === 'fdx' ? 'application/json' : 'application/problem+json'],
      ['Content-Length', String(Buffer.byteLength(body))],
      ['Cache-Control', 'no-store'],
      ['X-Content-Type-Options', 'nosniff'],
      ['x-fapi-interaction-id', interactionId],
      ...(challenge === null ? [] : [['WWW-Authenticate', challenge] as const]),
      ...(denial.parameters.allow === undefined ? [] : [['Allow', denial.parameters.allow] as const]),
    ],
    body,
  }
}

/** RFC 6750 section 3: every value is ours, so nothing of the request can break out of the quotes. */
function challengeOf(denial: Denial): string | null {
  const { challenge, message } = DENIALS[denial.code]
  if (challenge === 'none') return null
  if (challenge === 'bare') return 'Bearer'
  const scope = denial.parameters.scope
  return `Bearer error="${challenge}", error_description="${message}"${scope === undefined ? '' : `, scope="${scope}"`}`
}

/**
 * Whether the connection can carry another request. Not when the bytes were in doubt: what follows might be part of
 * an attack. Not when much of a body is still to come, or never will (Expect): reading it would be work for nothing.
 */
function canReuseConnection(response: ServerResponse, denial: Denial): boolean {
  const request = response.req
  if (DENIALS[denial.code].step === 'readRequest' || denial.code === 'body_too_large') return false
  if (request.headers.upgrade !== undefined || request.headers.expect !== undefined) return false
  if (request.complete) return true
  return (
    Number(request.headers['content-length'] ?? Number.POSITIVE_INFINITY) <= DRAINABLE_BYTES ||
    !hasBody(response)
  )
}

function hasBody({ req }: ServerResponse): boolean {
  return req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined
}
