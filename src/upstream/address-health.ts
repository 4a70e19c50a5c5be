/** Whether one address of an upstream gets requests, by what became of those before. Times are milliseconds of one clock. */

/** Failures in a row, without an answer between them, that take an address out if another is left. */
const FAILURES = 5
/** How long it stays out at first, and at most; every failure of a trial doubles it. */
const SHORTEST_MS = 500
const LONGEST_MS = 30_000

/** How a request to the address ended; `indifferent`: in a way that says nothing of the address. */
export type AttemptOutcome = 'answered' | 'failed' | 'indifferent'

/** What an event changed: whether the address gets ordinary requests. */
export type Change = 'ejected' | 'returned' | null

/** A request under way to the address. */
export interface AttemptTicket {
  readonly era: number
  readonly isTrial: boolean
}

/** What is known when a request ends. */
export interface Settling {
  readonly now: number
  /** No other address is healthy. */
  readonly isLast: boolean
}

/** Answers in a row to the checks of Postern itself that count. */
export interface CheckThresholds {
  readonly healthyAfter: number
  readonly unhealthyAfter: number
}

/** An address that was taken out because requests failed. */
interface Ejection {
  /** Its beginning, or that of the last trial, or the failure of that. */
  since: number
  waitMs: number
}

/**
 * An address is healthy at first. Failures in a row eject it unless it is the last; then a request now and then tries it, and
 * an answer brings it back. Checks take it out and bring it back on their own account.
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

  /** It fails the checks that the operator asked for, and gets no request at all. */
  get isDown(): boolean {
    return this.#isDown
  }

  /** Whether a request should try an address that is ejected. `isRepeatable`: it does no harm when it fails on arrival. */
  trialIsDue(now: number, isRepeatable: boolean): boolean {
    // Whoever cannot be repeated tries later than those who can, so as a rule not at all.
    return !this.#isDown && this.#hasWaited(now, isRepeatable ? 1 : 2)
  }

  /** A request begins; `settle` must follow. */
  begin(now: number): AttemptTicket {
    const isTrial = this.#hasWaited(now, 1)
    // The next one waits as long again and not for the end of this: its client may draw that out.
    if (isTrial && this.#ejection !== null) this.#ejection.since = now
    return { era: this.#era, isTrial }
  }

  /** The request has its answer, or has none; once per `begin`. */
  settle({ era, isTrial }: AttemptTicket, outcome: AttemptOutcome, { now, isLast }: Settling): Change {
    if (era !== this.#era || outcome === 'indifferent') return null
    const ejection = this.#ejection
    if (outcome === 'answered') {
      this.#failures = 0
      return ejection === null ? null : this.#returns(now)
    }
    if (ejection === null) {
      // One client with a path that fails must not take the last address from all others.
      return ++this.#failures < FAILURES || isLast ? null : this.#eject(now)
    }
    if (!isTrial) return null
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

  #hasWaited(now: number, times: number): boolean {
    return this.#ejection !== null && now - this.#ejection.since >= this.#ejection.waitMs * times
  }

  #eject(now: number): Change {
    // One that falls soon after it came back begins where it was.
    if (now - this.#returnedAt >= LONGEST_MS) this.#nextWaitMs = SHORTEST_MS
    this.#ejection = { since: now, waitMs: this.#nextWaitMs }
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
