import type { Caller } from '../checks/caller.js'
import type { TokenFacts } from '../checks/token-facts.js'
import { answerOf, Denial, type Verdict } from '../decision/denials.js'
import type { Outcome } from '../observe/metrics.js'
import type { RouteMatch } from '../policy/route-index.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { RequestFacts } from '../request/request-facts.js'
import type { Forwarded } from '../upstream/forwarding.js'
import type { Arrival, Gate, House } from './gate.js'

/** What became known of a request on its way, for the log: it tells of refused requests too. */
export interface Trace {
  request: RequestFacts | null
  match: RouteMatch | null
  token: TokenFacts | null
  /** Of the connection, until it is known to be that of a terminator. */
  certificate: CertificateFacts | null
  /** null until somebody is known to count it by. */
  caller: Caller | null
  /** How often the request was sent to the upstream, or an attempt made to. */
  attempts: number
  /** Origin of the last attempt. */
  address: string | null
}

/** The story where it begins: of the client, no more is known than its connection. */
export function newTrace(certificate: CertificateFacts | null): Trace {
  return {
    request: null,
    match: null,
    token: null,
    certificate,
    caller: null,
    attempts: 0,
    address: null,
  }
}

/** Readings of the stopwatch in seconds. */
interface Times {
  readonly started: number
  readonly decided: number
}

/** nginx's number for a client that left before the answer; never sent. */
const CLIENT_CLOSED_REQUEST = 499

/** Tells the story of a request once it has ended, on whatever road: one log line and one set of counters. */
export function tell(
  gate: Gate,
  house: House,
  arrival: Arrival,
  trace: Trace,
  result: Verdict<Forwarded> | null,
  { started, decided }: Times,
): void {
  const forwarded = result instanceof Denial ? null : result
  const denial = result instanceof Denial ? result : arrival.malformed()
  const upstream = forwarded === null ? null : (trace.match?.route.upstream ?? null)
  house.recorder.record({
    at: house.now(),
    route: trace.match?.route.id ?? null,
    method: trace.request?.method ?? arrival.request.method ?? '',
    path: trace.request?.path ?? null,
    status: denial === null ? (forwarded?.status ?? CLIENT_CLOSED_REQUEST) : answerOf(denial).status,
    outcome: outcomeOf(denial, forwarded),
    denial,
    broken: denial === null ? brokenEnd(forwarded) : null,
    clientId: trace.token?.clientId ?? null,
    subject: trace.token?.subject ?? null,
    flow: trace.token?.flow ?? null,
    actor: trace.token?.actor ?? null,
    thumbprint: trace.certificate?.thumbprint ?? null,
    clientAddress: arrival.clientAddress,
    interactionId: arrival.interactionId,
    policyHash: gate.policyHash,
    seconds: house.stopwatch() - started,
    decisionSeconds: decided - started,
    upstream,
    address: trace.address,
    attempts: trace.attempts,
    upstreamSeconds: forwarded === null || upstream === null ? null : forwarded.upstreamMs / 1000,
  })
}

/** Tells of bytes that never became a request. */
export function tellMalformed(
  gate: Gate,
  house: House,
  denial: Denial,
  clientAddress: string,
  interactionId: string,
): void {
  house.metrics.requestStarted()
  house.recorder.record({
    at: house.now(),
    ...{ route: null, method: '', path: null, status: answerOf(denial).status, outcome: 'denied', denial },
    ...{ broken: null, clientId: null, subject: null, flow: null, actor: null, thumbprint: null },
    ...{ clientAddress, interactionId, policyHash: gate.policyHash, seconds: null, decisionSeconds: null },
    ...{ upstream: null, address: null, attempts: 0, upstreamSeconds: null },
  })
}

/** An outage is `failed`, so that nobody reads it as an attack; a refusal is `denied`. */
function outcomeOf(denial: Denial | null, forwarded: Forwarded | null): Outcome {
  if (denial !== null) return answerOf(denial).status >= 500 ? 'failed' : 'denied'
  return forwarded?.end === 'truncated' ? 'failed' : 'allowed'
}

function brokenEnd(forwarded: Forwarded | null): string | null {
  if (forwarded === null) return 'aborted'
  return forwarded.end === 'complete' ? null : forwarded.end
}
