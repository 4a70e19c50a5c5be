/** How many requests may be sent again: a part of those that came. Times are milliseconds of one clock. */

const SLOTS = 10
const SLOT_MS = 1000
/** Granted in any case, so that retries work where there are few requests. */
export const FLOOR = 3
/** Requests and retries of so long count. */
export const WINDOW_MS = SLOTS * SLOT_MS

/** What happened in one second. */
interface Slot {
  second: number
  requests: number
  retries: number
}

/**
 * Retries are granted while they are less than the budget of the requests of the last seconds. When everything fails,
 * everything would be sent again, and the upstream would get several times its load at the worst moment.
 */
export class RetryBudget {
  readonly #percent: number
  readonly #slots: Slot[] = Array.from({ length: SLOTS }, () => ({ second: -1, requests: 0, retries: 0 }))

  constructor(percent: number) {
    this.#percent = percent
  }

  /** A request has come; those that are sent again do not count anew. */
  requested(now: number): void {
    this.#slotOf(now).requests++
  }

  /** Takes one retry out of the budget; false when nothing is left. */
  take(now: number): boolean {
    const slot = this.#slotOf(now)
    let requests = 0
    let retries = 0
    for (const each of this.#slots) {
      if (each.second <= slot.second - SLOTS) continue
      requests += each.requests
      retries += each.retries
    }
    if (retries >= FLOOR && retries + 1 > (requests * this.#percent) / 100) return false
    slot.retries++
    return true
  }

  #slotOf(now: number): Slot {
    const second = Math.floor(now / SLOT_MS)
    const slot = this.#slots[second % SLOTS] as Slot
    if (slot.second !== second) Object.assign(slot, { second, requests: 0, retries: 0 })
    return slot
  }
}
