/** What the client gets to read of the upstream's answer. */
import { Denial, type Verdict } from '../decision/denials.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'
import { foldedName, isFraming, isHopByHop, nominatedByConnection, remembered } from './field-names.js'

/** The head of an answer, as it came from the upstream. */
export interface AnswerHead {
  readonly status: number
  readonly headers: RawHeaders
}

/** What the answer must carry whatever the upstream says. */
export interface AnswerRules {
  readonly interactionId: string
  /** The route asks for neither certificate nor token. */
  readonly isPublic: boolean
  readonly now: Date
  /** The connection of the client ends with this answer. */
  readonly closes: boolean
  /** A DPoP nonce for the client; null or absent: none. */
  readonly nextNonce?: string | null
}

/** Folded names of fields that would name the software behind, or that are set here. */
const WITHHELD: ReadonlySet<string> = new Set([
  'date',
  'dpop-nonce',
  'server',
  'vary',
  'x-fapi-interaction-id',
  'x-powered-by',
])
const WITHHELD_PREFIX = /^(?:postern-|client-cert)/

/**
 * The header of the answer to the client, in order, duplicates kept; `upstream_malformed` when the framing has no
 * single reading. Framing is Content-Length, or left to the writer (chunked). Pure.
 */
export function responseHeaders(answer: AnswerHead, rules: AnswerRules): Verdict<RawHeaders> {
  const length = contentLength(answer)
  if (length instanceof Denial) return length
  const headers = keptFields(answer)
  if (length !== null) headers.push('Content-Length', length)
  addVary(headers, answer.headers)
  addAnswerFacts(headers, answer, rules)
  if (rules.closes) headers.push('Connection', 'close')
  return headers
}

/** The header of a 101 answer; the protocol after it is not HTTP, so there is nothing to frame or to cache. */
export function switchingHeaders(answer: AnswerHead, rules: AnswerRules): RawHeaders {
  const headers = keptFields(answer)
  headers.push('Connection', 'Upgrade', 'Upgrade', 'websocket', ...dateAndInteraction(answer, rules))
  return headers
}

function keptFields(answer: AnswerHead): string[] {
  const kept: string[] = []
  const nominated = nominatedByConnection(answer.headers)
  for (let i = 0; i + 1 < answer.headers.length; i += 2) {
    const name = answer.headers[i] as string
    if (isWithheld(name) || (nominated.size > 0 && nominated.has(name.toLowerCase()))) continue
    kept.push(name, answer.headers[i + 1] as string)
  }
  return kept
}

const isWithheld = remembered(name => {
  const folded = foldedName(name)
  return isHopByHop(folded) || isFraming(folded) || WITHHELD.has(folded) || WITHHELD_PREFIX.test(folded)
})

/** RFC 9112 section 6.3: null when the body is chunked, ends with the connection, or cannot be. */
function contentLength({ status, headers }: AnswerHead): Verdict<string | null> {
  const lengths = valuesOf(headers, 'content-length')
  const codings = valuesOf(headers, 'transfer-encoding')
  if (codings.length > 0) {
    if (lengths.length > 0) return new Denial('upstream_malformed', 'Content-Length with Transfer-Encoding')
    // Another coding would reach the client as content that nothing names.
    if (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked')
      return new Denial('upstream_malformed', 'a transfer coding other than chunked')
  }
  const length = lengths[0]
  if (length === undefined) return null
  if (lengths.length > 1) return new Denial('upstream_malformed', 'repeated Content-Length')
  if (!/^\d{1,15}$/.test(length)) return new Denial('upstream_malformed', 'Content-Length is no number')
  return status === 204 ? null : length // RFC 9110 section 8.6
}

/** RFC 9440 section 2.4: the client's certificate is no field that a cache could compare. */
function addVary(to: string[], headers: RawHeaders): void {
  const values = valuesOf(headers, 'vary')
  if (values.some(namesCertificate)) to.push('Vary', '*')
  else for (const value of values) to.push('Vary', value)
}

const namesCertificate = remembered(vary =>
  vary.split(',').some(name => /^client-cert(?:-chain)?$/.test(foldedName(name.trim()))),
)

function addAnswerFacts(to: string[], answer: AnswerHead, rules: AnswerRules): void {
  to.push(...dateAndInteraction(answer, rules))
  if (typeof rules.nextNonce === 'string' && answer.status >= 200 && answer.status <= 299) {
    // A cache would hand an old nonce to everybody (RFC 9449 section 8.2), so what the upstream says of caching gives way.
    removeField(to, 'cache-control')
    to.push('DPoP-Nonce', rules.nextNonce, 'Cache-Control', 'no-store')
  } else if (!rules.isPublic && valuesOf(to, 'cache-control').length === 0)
    to.push('Cache-Control', 'no-store')
}

function removeField(from: string[], name: string): void {
  for (let i = from.length - 2; i >= 0; i -= 2)
    if ((from[i] as string).toLowerCase() === name) from.splice(i, 2)
}

function dateAndInteraction({ headers }: AnswerHead, { now, interactionId }: AnswerRules): RawHeaders {
  const dates = valuesOf(headers, 'date')
  const date = dates[0]
  const sound = dates.length === 1 && date !== undefined && isImfFixdate(date)
  return ['Date', sound ? date : now.toUTCString(), 'x-fapi-interaction-id', interactionId]
}

/**
 * RFC 9110 section 5.6.7, which is what toUTCString writes; a wrong weekday does not survive the round trip. An upstream
 * says the same for a second.
 */
const isImfFixdate = remembered(value => {
  const time = Date.parse(value)
  return !Number.isNaN(time) && new Date(time).toUTCString() === value
})
