/** One upstream with all its addresses: where a request goes, and what is done when that fails. */
import type { Grant } from '../checks/authorise.js'
import { Denial, type Verdict } from '../decision/denials.js'
import type { UpstreamPolicy } from '../policy/upstream.js'
import type { AddressHealth, AttemptOutcome, AttemptTicket, Change } from './address-health.js'
import { Balancer } from './balancer.js'
import {
  type AttemptTerms,
  type Exchange,
  type Failed,
  type Forwarded,
  type ForwardingEngine,
  OUTDATED,
} from './forwarding.js'
import { announcesBody } from './request-body.js'
import { RetryBudget } from './retry-budget.js'

/** RFC 9110 section 9.2.1: they change nothing, so that twice is as good as once. PUT and DELETE are not here: decision 18. */
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS'])

/** An address that has come back is found within this time, so clients may well ask again then. Seconds. */
const RETRY_AFTER_SECONDS = 1

/** An address at work. */
export interface UpstreamAddress {
  /** Origin, as in the policy. */
  readonly url: string
  readonly engine: ForwardingEngine
  readonly health: AddressHealth
  /** Exchanges under way, tunnels included. */
  inFlight: number
  /** The policy in use has it no more: what its late requests find is not told, or it would be taken for its successor's. */
  isReplaced: boolean
}

/** What became of an attempt after the first; `over_budget`: it was not made. */
export type RetryResult = 'answered' | 'failed' | 'abandoned' | 'over_budget'

/** Is told what operators want to know. */
export interface UpstreamMeter {
  readonly retried: (upstream: string, result: RetryResult) => void
  /** `detail`: what was seen last, such as ECONNREFUSED. */
  readonly healthChanged: (
    upstream: string,
    address: string,
    change: 'ejected' | 'returned',
    detail: string,
  ) => void
}

/** One request on its way through the addresses. */
interface Journey {
  readonly grant: Grant
  readonly exchange: Exchange
  readonly limits: ExchangeLimits
  readonly isRepeatable: boolean
  /** Reading of `performance.now()` by which an attempt after the first must have its answer. */
  readonly answerBy: number
  tried: ReadonlySet<UpstreamAddress>
  /** Any byte of it may have arrived somewhere. */
  sent: boolean
  /** Attempts after one that may have arrived. */
  resent: number
}

const NOWHERE: ReadonlySet<UpstreamAddress> = new Set()

export type ExchangeLimits = Pick<AttemptTerms, 'bodyBytes' | 'clientStallMs'>

export class BalancedUpstream {
  readonly #policy: UpstreamPolicy
  readonly #balancer: Balancer<UpstreamAddress>
  readonly #budget: RetryBudget | null
  readonly #meter: UpstreamMeter

  constructor(policy: UpstreamPolicy, addresses: readonly UpstreamAddress[], meter: UpstreamMeter) {
    this.#policy = policy
    this.#balancer = new Balancer(addresses)
    this.#budget = policy.retry === null ? null : new RetryBudget(policy.retry.budgetPercent)
    this.#meter = meter
  }

  /** Forwards to one address after another until there is an answer, as long as that does no harm. See `Forward`. */
  async forward(
    grant: Grant,
    exchange: Exchange,
    limits: ExchangeLimits,
  ): Promise<Verdict<Forwarded> | typeof OUTDATED | null> {
    const now = performance.now()
    this.#budget?.requested(now)
    const answerMs = grant.match.route.responseTimeoutMs ?? this.#policy.responseTimeoutMs
    const journey: Journey = {
      grant,
      exchange,
      limits,
      isRepeatable: isRepeatable(grant, exchange),
      answerBy: now + answerMs,
      tried: NOWHERE,
      sent: false,
      resent: 0,
    }
    let failed: Failed | null = null
    for (;;) {
      if (failed !== null && exchange.isOutdated?.() === true) return anew(failed, journey)
      const address: UpstreamAddress | null =
        failed === null ? this.#choose(journey, now, false) : this.#addressAfter(failed, journey)
      if (address === null) return failed?.denial ?? this.#nobody()
      const attempt: Attempt = new Attempt(address, journey, failed !== null, this)
      exchange.onAttempt?.(address.url)
      address.inFlight++
      let outcome: Forwarded | Failed | typeof OUTDATED | null
      try {
        outcome = await address.engine.attempt(grant, exchange, attempt)
      } finally {
        address.inFlight--
      }
      attempt.ended(outcome)
      if (outcome === OUTDATED) return failed === null ? OUTDATED : anew(failed, journey)
      if (outcome === null || !('denial' in outcome)) return outcome
      failed = outcome
      journey.sent ||= outcome.sent
      journey.tried = new Set([...journey.tried, address])
    }
  }

  #choose({ tried, isRepeatable }: Journey, now: number, mayReturn: boolean): UpstreamAddress | null {
    return this.#balancer.choose(now, { tried, isRepeatable, mayReturn })
  }

  /** Where the request may go after a failure; null: nowhere, it has failed. */
  #addressAfter({ denial, sent, blame }: Failed, journey: Journey): UpstreamAddress | null {
    const now = performance.now()
    if (!blame || now >= journey.answerBy) return null
    // What was read of a body is gone, whatever the engine says of the rest.
    if (journey.exchange.request.readableDidRead) return null
    if (!sent) return this.#choose(journey, now, false)
    // An answer that broke the rules is an answer: the next one would be no better.
    if (denial.code === 'upstream_malformed' || !journey.isRepeatable) return null
    const { retry } = this.#policy
    if (this.#budget === null || retry === null || journey.resent >= retry.attempts) return null
    const address = this.#choose(journey, now, true)
    if (address === null) return null
    if (!this.#budget.take(now)) {
      this.retried('over_budget')
      return null
    }
    journey.resent++
    return address
  }

  /** What became of an attempt, for the health of its address and for those who watch. */
  settle(address: UpstreamAddress, ticket: AttemptTicket, outcome: AttemptOutcome, detail: string): void {
    const isLast = this.#balancer.isLast(address)
    const change: Change = address.health.settle(ticket, outcome, { now: performance.now(), isLast })
    if (change !== null && !address.isReplaced)
      this.#meter.healthChanged(this.#policy.name, address.url, change, detail)
  }

  retried(result: RetryResult): void {
    this.#meter.retried(this.#policy.name, result)
  }

  #nobody(): Denial {
    const { name, urls } = this.#policy
    const detail =
      urls.length === 1 ? 'the address fails its checks' : `all ${urls.length} addresses fail their checks`
    return new Denial('upstream_unavailable', `${name}: ${detail}`, {
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    })
  }
}

/** One attempt at an address: what it has to keep to, and what becomes of it. */
class Attempt implements AttemptTerms {
  readonly bodyBytes: number
  readonly clientStallMs: number
  readonly answerBy: number
  readonly #address: UpstreamAddress
  readonly #isAgain: boolean
  /** One request counts once at each address, or the retries of a single client would take it out. */
  readonly #counts: boolean
  readonly #upstream: BalancedUpstream
  readonly #ticket: AttemptTicket
  #isSettled = false

  constructor(
    address: UpstreamAddress,
    { limits, answerBy, tried }: Journey,
    isAgain: boolean,
    upstream: BalancedUpstream,
  ) {
    this.bodyBytes = limits.bodyBytes
    this.clientStallMs = limits.clientStallMs
    this.answerBy = isAgain ? answerBy : Number.POSITIVE_INFINITY
    this.#address = address
    this.#isAgain = isAgain
    this.#counts = !tried.has(address)
    this.#upstream = upstream
    this.#ticket = address.health.begin(performance.now())
  }

  onAnswer(): void {
    this.#settle('answered', 'answered', 'answered')
  }

  ended(outcome: Forwarded | Failed | typeof OUTDATED | null): void {
    if (outcome === null || outcome === OUTDATED) this.#settle('indifferent', 'abandoned', '')
    else if (!('denial' in outcome)) this.onAnswer()
    else {
      const isFault = this.#counts && isItsFault(outcome, this)
      this.#settle(isFault ? 'failed' : 'indifferent', 'failed', outcome.denial.detail)
    }
  }

  #settle(outcome: AttemptOutcome, result: RetryResult, detail: string): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#upstream.settle(this.#address, this.#ticket, outcome, detail)
    if (this.#isAgain) this.#upstream.retried(result)
  }
}

/**
 * An answer that broke the rules is an answer, as a 502 of the upstream is. A later attempt has only the time that the first
 * has left over; too little of it is not the fault of the address.
 */
function isItsFault({ denial, blame }: Failed, { answerBy }: AttemptTerms): boolean {
  if (denial.code === 'upstream_malformed') return false
  return blame && !(denial.code === 'upstream_timeout' && performance.now() >= answerBy)
}

/** A new policy knows nothing of the attempts that were made; so what may have arrived is not sent again by it. */
function anew({ denial, blame }: Failed, { sent, exchange }: Journey): Denial | typeof OUTDATED {
  return blame && !sent && !exchange.request.readableDidRead ? OUTDATED : denial
}

function isRepeatable({ request }: Grant, { upgrade }: Exchange): boolean {
  return upgrade === null && SAFE_METHODS.has(request.method) && !announcesBody(request.headers)
}
