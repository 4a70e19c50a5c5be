import { hash } from 'node:crypto'
import type { Denial } from '../decision/denials.js'
import type { Fields } from './logger.js'
import { type Metrics, type Outcome, UNMATCHED } from './metrics.js'

/** The story of one request, told once it has ended. Null where the request did not get so far. */
export interface RequestRecord {
  /** When it ended, in seconds since the epoch. */
  readonly at: number
  readonly route: string | null
  readonly method: string
  /** Canonical path without query; null when the path had no single reading. */
  readonly path: string | null
  readonly status: number
  readonly outcome: Outcome
  readonly denial: Denial | null
  /** `truncated` or `aborted` answers; null for complete ones. */
  readonly broken: string | null
  readonly clientId: string | null
  readonly subject: string | null
  readonly flow: string | null
  /** Who acts for the subject (RFC 8693 section 4.1). */
  readonly actor: string | null
  /** x5t#S256 of the client certificate. */
  readonly thumbprint: string | null
  readonly clientAddress: string
  readonly interactionId: string
  readonly policyHash: string
  /** null for bytes that never became a request. */
  readonly seconds: number | null
  readonly decisionSeconds: number | null
  readonly upstream: string | null
  /** Origin that the request went to last. */
  readonly address: string | null
  /** Attempts to send it, successful or not. */
  readonly attempts: number
  readonly upstreamSeconds: number | null
}

/** Counts a request. */
export function countRequest(record: RequestRecord, metrics: Metrics): void {
  const { method, status, outcome, seconds, decisionSeconds, upstream, upstreamSeconds } = record
  const [route, code] = [record.route ?? UNMATCHED, record.denial?.code ?? null]
  metrics.requestEnded({
    route,
    method,
    status,
    outcome,
    code,
    seconds,
    decisionSeconds,
    upstream,
    upstreamSeconds,
  })
}

/** What the log says of a request. */
export function fieldsOf(record: RequestRecord): Fields {
  return {
    route: record.route,
    method: record.method,
    path: record.path,
    status: record.status,
    outcome: record.outcome,
    code: record.denial?.code,
    detail: record.denial?.detail,
    broken: record.broken ?? undefined,
    clientId: record.clientId,
    subject: record.subject === null ? null : shortHash(record.subject),
    flow: record.flow,
    actor: record.actor === null ? undefined : shortHash(record.actor),
    certificate: record.thumbprint?.slice(0, 12) ?? null,
    clientAddress: record.clientAddress,
    interactionId: record.interactionId,
    policy: record.policyHash.slice(0, 12),
    ms: milliseconds(record.seconds),
    decisionMs: milliseconds(record.decisionSeconds),
    upstream: record.upstream,
    address: record.address ?? undefined,
    attempts: record.attempts === 0 ? undefined : record.attempts,
    upstreamMs: milliseconds(record.upstreamSeconds),
  }
}

/** Tells two subjects apart in the log without naming a person. */
function shortHash(text: string): string {
  return hash('sha256', text, 'hex').slice(0, 16)
}

function milliseconds(seconds: number | null): number | null {
  return seconds === null ? null : Math.round(seconds * 1e6) / 1e3
}
