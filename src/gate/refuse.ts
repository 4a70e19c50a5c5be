import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { answerOf, DENIALS, type Denial } from '../decision/denials.js'
import type { ErrorFormat } from '../policy/policy.js'
import { hasOwnStream, type OutgoingAnswer } from '../upstream/client-message.js'
import { endWhenRead } from '../upstream/linger.js'
import { withMetadataUrl } from './answer-metadata.js'
import { challengesFor, type Offer } from './challenge.js'

/** A refusal as it goes over the wire. */
interface Answer {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

/** Bodies up to this size are read to the end after a refusal, so that the connection can be used again. */
const DRAINABLE_BYTES = 64 * 1024

/** Writes a refusal as the answer to a request. The only other writer is `refuseRaw`; both say what `answerTo` says. */
export function refuse(
  response: OutgoingAnswer,
  denial: Denial,
  format: ErrorFormat,
  interactionId: string,
  offer: Offer | null,
  metadataUrl: string | null,
): void {
  const { status, headers, body } = answerTo(denial, format, interactionId, offer)
  response.statusCode = status
  const content = response.req.method === 'HEAD' ? '' : body
  for (const [name, value] of headers)
    response.appendHeader(name, status === 401 ? withMetadataUrl(name, value, metadataUrl) : value)
  if (canReuseConnection(response, denial)) {
    response.end(content)
    return
  }
  response.shouldKeepAlive = false
  response.setHeader('Connection', 'close')
  if (!isBodyOnItsWay(response)) {
    response.end(content)
    return
  }
  // The whole refusal goes at once, for a client that is in the middle of its sending; only the end waits.
  response.flushHeaders()
  response.write(content)
  endWhenRead(response, response.req)
}

/** Writes a refusal to a connection whose bytes never became a request; the caller sees to it that it ends. */
export function refuseRaw(
  socket: Duplex,
  denial: Denial,
  format: ErrorFormat,
  interactionId: string,
  now: Date,
): void {
  const { status, headers, body } = answerTo(denial, format, interactionId, null)
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
export function answerTo(
  denial: Denial,
  format: ErrorFormat,
  interactionId: string,
  offer: Offer | null,
): Answer {
  const spec = answerOf(denial)
  const body =
    format === 'fdx'
      ? JSON.stringify({ code: spec.fdx, message: spec.message })
      : JSON.stringify({ type: 'about:blank', title: spec.message, status: spec.status })
  return {
    status: spec.status,
    headers: [
      ['Content-Type', format === 'fdx' ? 'application/json' : 'application/problem+json'],
      ['Content-Length', String(Buffer.byteLength(body))],
      ['Cache-Control', 'no-store'],
      ['X-Content-Type-Options', 'nosniff'],
      ['x-fapi-interaction-id', interactionId],
      ...challengesFor(denial, offer),
      ...parameterFields(denial),
    ],
    body,
  }
}

function parameterFields({ parameters: { allow, retryAfterSeconds } }: Denial): Answer['headers'] {
  return [
    ...(allow === undefined ? [] : [['Allow', allow] as const]),
    ...(retryAfterSeconds === undefined ? [] : [['Retry-After', String(retryAfterSeconds)] as const]),
  ]
}

/**
 * Whether the connection can carry another request. Not when the bytes were in doubt: what follows might be part of
 * an attack. Not when much of a body is still to come, or never will (Expect): reading it would be work for nothing.
 */
function canReuseConnection(response: OutgoingAnswer, denial: Denial): boolean {
  const request = response.req
  // On a stream neither bytes in doubt nor an unread body concern what follows on the connection.
  if (hasOwnStream(request)) return denial.parameters.endsConnection !== true
  if (DENIALS[denial.code].step === 'readRequest' || denial.code === 'body_too_large') return false
  if (denial.parameters.endsConnection === true) return false
  if (request.headers.upgrade !== undefined || request.headers.expect !== undefined) return false
  if (request.complete) return true
  return (
    Number(request.headers['content-length'] ?? Number.POSITIVE_INFINITY) <= DRAINABLE_BYTES ||
    !hasBody(response)
  )
}

/** Whether the client is sending already: with Expect it waits, and reads the refusal first. */
function isBodyOnItsWay(response: OutgoingAnswer): boolean {
  return !response.req.complete && hasBody(response) && response.req.headers.expect === undefined
}

function hasBody({ req }: OutgoingAnswer): boolean {
  return req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined
}
