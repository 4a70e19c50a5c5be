/** Whether one address of an upstream gets requests, by what became of those before. Times are milliseconds of one clock. */

/** Failures in a row, without an answer between them, that take an address out. */
const FAILURES = 5
/** How long it stays out at first, and at most; every failure of a trial doubles it. */
export const SHORTEST_MS = 500
export const LONGEST_MS = 30_000

/** How a request to the address ended; `indifferent`: in a way that says nothing of the address. */
export type AttemptOutcome = 'answered' | 'failed' | 'indifferent'

/** What an event changed: whether the address gets ordinary requests. */
export type Change = 'ejected' | 'returned' | null

/** A request under way to the address. */
export interface AttemptTicket {
  readonly era: number
}

/** How the question whether an address may be tried is asked. */
export interface TrialCircumstances {
  /** Nowhere else can this request go. */
  readonly isLastResort: boolean
  /** It does no harm when the request fails after it has arrived. */
  readonly isRepeatable: boolean
}

/** Answers in a row to the checks of Postern itself that count. */
export interface CheckThresholds {
  readonly healthyAfter: number
  readonly unhealthyAfter: number
}

/** An address that was taken out because requests failed. */
interface Ejection {
  /** Of the last failure. */
  since: number
  waitMs: number
  /** Requests that try it at present. */
  trials: number
  lastTrialAt: number
}

/**
 * An address is healthy at first. Failures in a row eject it; then a request now and then tries it, and an answer to one
 * brings it back. Checks take it out and bring it back on their own account.
 */
export class AddressHealth {
  #failures = 0
  #ejection: Ejection | null = null
  #nextWaitMs = SHORTEST_MS
  #returnedAt = Number.NEGATIVE_INFINITY
  /** Changes with every ejection and return: what began before says nothing of the state after. */
  #era = 0
  #isDown = false
  #checks = { good: 0, bad: 0 }

  /** It gets ordinary requests. */
  get isHealthy(): boolean {
    return this.#ejection === null && !this.#isDown
  }

  /** Whether a request may try an address that is not healthy. */
  trialIsDue(now: number, { isLastResort, isRepeatable }: TrialCircumstances): boolean {
    const ejection = this.#ejection
    if (ejection === null || this.#isDown) return false
    // Where no other address is left, waiting helps nobody: what matters is to see it come back.
    if (isLastResort) return now - Math.max(ejection.since, ejection.lastTrialAt) >= SHORTEST_MS
    // Whoever cannot be repeated tries later than those who can, so as a rule not at all.
    return ejection.trials === 0 && now - ejection.since >= ejection.waitMs * (isRepeatable ? 1 : 2)
  }

  /** A request begins; `settle` must follow. */
  begin(now: number): AttemptTicket {
    if (this.#ejection !== null) {
      this.#ejection.trials++
      this.#ejection.lastTrialAt = now
    }
    return { era: this.#era }
  }

  /** The request has its answer, or has none; once per `begin`. */
  settle({ era }: AttemptTicket, outcome: AttemptOutcome, now: number): Change {
    if (era !== this.#era) return null
    const ejection = this.#ejection
    if (ejection !== null) ejection.trials--
    if (outcome === 'indifferent') return null
    if (outcome === 'answered') {
      this.#failures = 0
      return ejection === null ? null : this.#returns(now)
    }
    if (ejection === null) return ++this.#failures < FAILURES ? null : this.#eject(now)
    ejection.since = now
    ejection.waitMs = Math.min(ejection.waitMs * 2, LONGEST_MS)
    return null
  }

  /** Postern has asked the address itself. */
  checked(isGood: boolean, { healthyAfter, unhealthyAfter }: CheckThresholds, now: number): Change {
    const { good, bad } = this.#checks
    this.#checks = isGood ? { good: good + 1, bad: 0 } : { good: 0, bad: bad + 1 }
    const wasHealthy = this.isHealthy
    if (this.#isDown && this.#checks.good >= healthyAfter) {
      this.#isDown = false
      if (this.#ejection !== null) this.#returns(now)
      return 'returned'
    }
    if (this.#isDown || this.#checks.bad < unhealthyAfter) return null
    this.#isDown = true
    return wasHealthy ? 'ejected' : null
  }

  #eject(now: number): Change {
    // One that falls soon after it came back begins where it was.
    if (now - this.#returnedAt >= LONGEST_MS) this.#nextWaitMs = SHORTEST_MS
    this.#ejection = { since: now, waitMs: this.#nextWaitMs, trials: 0, lastTrialAt: now }
    this.#era++
    return this.#isDown ? null : 'ejected'
  }

  #returns(now: number): Change {
    this.#nextWaitMs = Math.min((this.#ejection?.waitMs ?? 0) * 2, LONGEST_MS)
    this.#returnedAt = now
    this.#ejection = null
    this.#failures = 0
    this.#era++
    return this.#isDown ? null : 'returned'
  }
}
