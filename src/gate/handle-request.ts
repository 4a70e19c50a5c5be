import { authorise, type Grant } from '../checks/authorise.js'
import { type Caller, thumbprintToCountBy } from '../checks/caller.js'
import { judgeCertificate } from '../checks/certificate.js'
import { certificateSuffices } from '../checks/client-certificate.js'
import { Denial, type Verdict } from '../decision/denials.js'
import { faultFields } from '../observe/logger.js'
import type { ErrorFormat } from '../policy/policy.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import { clientNetwork } from '../request/client-network.js'
import { attemptedSchemes, readCredentials } from '../request/credentials.js'
import { readRequest } from '../request/request-facts.js'
import { strictHeaderProblem } from '../request/strict-headers.js'
import { type Exchange, type Forwarded, OUTDATED } from '../upstream/forwarding.js'
import { answerMetadata } from './answer-metadata.js'
import type { Offer } from './challenge.js'
import { refuseTokenInForm } from './form-body.js'
import type { Arrival, Client, Gate, House } from './gate.js'
import { refuse } from './refuse.js'
import { newTrace, type Trace, tell } from './tell.js'

/**
 * The life of a request. START READING HERE.
 * Each step returns what it proved or a Denial; the next takes the proof as its argument. OUTDATED: while the request waited,
 * for an issuer or for its own form, the policy has changed or time has passed, so that it is to be judged again.
 */
async function judge(
  gate: Gate,
  house: House,
  arrival: Arrival,
  trace: Trace,
  done: Done,
): Promise<Verdict<Grant> | typeof OUTDATED> {
  const now = house.now()
  const request = readRequest(headOf(arrival), gate.served)
  if (request instanceof Denial) return request
  trace.request = request

  const client = gate.clientOf(arrival, now)
  if (client instanceof Denial) return client
  trace.certificate = client.certificate
  const certificate = checkCertificate(client.certificate, gate, now)
  const caller = callerOf(arrival, client, certificate, gate)
  trace.caller = caller

  const match = gate.routes.match(request.method, request)
  if (match instanceof Denial) return match
  trace.match = match
  const { route } = match
  if (arrival.upgrade !== null && route.upgrade === null)
    return new Denial('request_malformed', 'an upgrade on a route without `upgrade: websocket`')
  const headerProblem = route.headers === 'strict' ? strictHeaderProblem(request.headers) : null
  if (headerProblem !== null) return new Denial('request_malformed', headerProblem)

  // What is there at once is not waited for, here and below: every wait is a turn of the queue of promises.
  const counting = done.counted ? null : gate.countRequest(route.rates, caller, null)
  const crowd = counting && (await counting)
  if (crowd !== null) return crowd
  done.counted = true

  const credentials = route.token === null ? null : readCredentials(request.headers, request.query)
  if (credentials instanceof Denial) return credentials

  const insufficient = certificateSuffices(route, certificate)
  if (insufficient !== null) return insufficient

  const admit = () => house.failures.admit(caller, arrival.request.socket, arrival)
  const asked =
    credentials === null || route.token === null
      ? null
      : gate.authenticate(credentials, route.token.issuers, now, admit)
  const token = asked instanceof Promise ? await asked : asked
  // A refusal counts no more than a grant: sources that a reload has replaced refuse what they cannot ask any more.
  if (arrival.gateInUse() !== gate) return OUTDATED
  if (token instanceof Denial) return token
  trace.token = token

  const proving =
    credentials === null || route.token === null
      ? null
      : gate.dpop.verify(request.headers, credentials, route.token.dpop, admit)
  const proof = proving && (await proving)
  if (arrival.gateInUse() !== gate) return OUTDATED
  if (proof instanceof Denial) return proof

  // The time is read anew: what was awaited may have taken long, and a proof is remembered from when it is judged.
  const judgedAt = house.now()
  const present = judgedAt === now ? certificate : checkCertificate(client.certificate, gate, judgedAt)
  const grant = authorise({ request, match, certificate: present, token, proof, now: judgedAt })
  if (grant instanceof Denial || route.token === null) return grant
  const spent =
    grant.proof === null || done.spent ? null : await gate.dpop.spend(grant.proof, route.token.dpop)
  if (spent !== null) return spent
  done.spent = true
  const countingToken = done.countedToken ? null : gate.countRequest(route.rates, caller, token)
  const quota = countingToken && (await countingToken)
  if (quota !== null) return quota
  done.countedToken = true
  // Last: how long a form takes is the client's to say, and neither what was granted nor other attempts shall wait for it.
  const reading = done.read ? null : refuseTokenInForm(request.headers, arrival)
  if (reading === null) return arrival.gateInUse() === gate ? grant : OUTDATED
  house.failures.judged(arrival.request.socket, arrival)
  const wasWhole = arrival.request.complete
  const form = await reading
  done.read = true
  if (form !== null) return form
  // Incomplete it stays when the client has left, which forwarding will see.
  if (!arrival.request.complete) return grant
  return wasWhole && arrival.gateInUse() === gate ? grant : OUTDATED
}

/** What is done once for a request, however often it is judged. */
interface Done {
  /** On the rates that need no token. */
  counted: boolean
  /** Its proof is used up. */
  spent: boolean
  countedToken: boolean
  /** Its form, if it has one. */
  read: boolean
}

/** Decides, forwards or refuses, and records; on every road, faults of our own included. Never rejects. */
export async function handleRequest(house: House, arrival: Arrival): Promise<void> {
  const started = house.stopwatch()
  house.metrics.requestStarted()
  const { interactionId } = arrival
  const done: Done = { counted: false, spent: false, countedToken: false, read: false }
  const hasPlace = house.places.take()
  let gate: Gate
  let trace: Trace
  let decided = started
  let judging = started
  let result: Verdict<Forwarded> | typeof OUTDATED | null
  do {
    gate = arrival.gateInUse()
    trace = newTrace(arrival.certificate)
    try {
      const grant = refuseAtOnce(house, arrival, hasPlace) ?? (await judge(gate, house, arrival, trace, done))
      decided += house.stopwatch() - judging
      if (grant instanceof Denial && trace.caller !== null)
        await house.failures.note(grant, trace.caller, arrival.request.socket)
      house.failures.judged(arrival.request.socket, arrival)
      result =
        grant instanceof Denial || grant === OUTDATED
          ? grant
          : await answer(
              gate,
              grant,
              exchangeOf(gate, arrival, nextNonceFor(grant, gate, house.now()), trace),
            )
      if (result instanceof Denial) refuseUnlessLate(gate, house, arrival, trace, result)
    } catch (fault) {
      house.log.error({ interactionId, ...faultFields(fault) }, 'fault')
      house.failures.judged(arrival.request.socket, arrival)
      result = new Denial('internal_error', fault instanceof Error ? fault.name : 'not an Error')
      refuseUnlessLate(gate, house, arrival, trace, result)
    }
    if (result === OUTDATED) judging = house.stopwatch()
  } while (result === OUTDATED)
  if (hasPlace) house.places.release()
  tell(gate, house, arrival, trace, result, { started, decided })
}

/** The client's side, as forwarding asks for it. */
function exchangeOf(
  gate: Gate,
  { request, response, upgrade, clientAddress, interactionId, gateInUse }: Arrival,
  nextNonce: string | null,
  trace: Trace,
): Exchange {
  const isOutdated = (): boolean => gateInUse() !== gate
  const onAttempt = (address: string): void => {
    trace.attempts++
    trace.address = address
  }
  return { request, response, upgrade, clientAddress, interactionId, nextNonce, onAttempt, isOutdated }
}

/** What the policy describes itself is answered here, all else upstream; either takes a grant. */
function answer(gate: Gate, grant: Grant, exchange: Exchange): ReturnType<Gate['forward']> {
  const { metadata } = grant.match.route
  return metadata === null ? gate.forward(grant, exchange) : answerMetadata(grant, metadata, exchange)
}

/** Seconds. Long enough for a crowd to be gone, short enough for nobody to notice. */
const RETRY_AFTER_OVERLOAD = 1

/** Ordinary requests still finish during a drain; an upgraded connection would only be cut off at its end. */
function refuseAtOnce(house: House, { upgrade }: Arrival, hasPlace: boolean): Denial | null {
  if (!hasPlace)
    return new Denial('overloaded', 'as many requests as server.limits.requests are being handled', {
      retryAfterSeconds: RETRY_AFTER_OVERLOAD,
    })
  return house.isDraining() && upgrade !== null ? new Denial('draining', 'an upgrade during shutdown') : null
}

function callerOf(
  { clientAddress }: Arrival,
  { isBehindTerminator }: Client,
  certificate: Verdict<CertificateFacts> | null,
  { trust }: Gate,
): Caller {
  const thumbprint = thumbprintToCountBy(certificate, trust)
  return { network: clientNetwork(clientAddress), thumbprint, isBehindTerminator }
}

/** A certificate that does not count is a reason, not an absence: a token bound to it must be refused with that reason. */
function checkCertificate(certificate: CertificateFacts | null, gate: Gate, now: number) {
  return certificate === null ? null : (judgeCertificate(certificate, gate.trust, now) ?? certificate)
}

/** RFC 9449 section 8.2: a client whose nonce is about to expire hears of the next one before it is refused. */
function nextNonceFor({ match, proof }: Grant, gate: Gate, now: number): string | null {
  const { token } = match.route
  return token === null || proof === null ? null : gate.dpop.nextNonce(proof, token.dpop, now)
}

function headOf({ request }: Arrival) {
  return {
    method: request.method ?? '',
    url: request.url ?? '',
    httpVersion: request.httpVersion,
    rawHeaders: request.rawHeaders,
  }
}

function refuseUnlessLate(gate: Gate, house: House, arrival: Arrival, trace: Trace, denial: Denial): void {
  const { response, interactionId } = arrival
  // An answer that has begun cannot become a refusal; a broken connection is the only honest sign left.
  if (response.headersSent) response.destroy()
  else
    refuse(
      response,
      denial,
      formatOf(gate, trace, denial),
      interactionId,
      offerOf(gate, house, trace),
      metadataUrl(trace),
    )
}

/** What passes for an unknown route has no route whose format it could have. */
function formatOf(gate: Gate, trace: Trace, { parameters }: Denial): ErrorFormat {
  return parameters.answeredAs === undefined ? (trace.match?.route.errors ?? gate.errors) : gate.errors
}

/** What the challenge may say; null where no token is asked for, or nobody knows yet whether one is. */
function offerOf(gate: Gate, house: House, { request, match }: Trace): Offer | null {
  const rule = match?.route.token?.dpop
  if (request === null || rule === undefined) return null
  return {
    attempted: attemptedSchemes(request.headers, request.query),
    rule,
    nonce: () => gate.dpop.nonce(rule, house.now()),
  }
}

/** Where the client can read how the route is protected (RFC 9728 section 5.1); null where the policy does not say it. */
function metadataUrl({ request, match }: Trace): string | null {
  const path = match?.route.metadataPath ?? null
  return request === null || path === null ? null : `https://${request.host}${path}`
}
