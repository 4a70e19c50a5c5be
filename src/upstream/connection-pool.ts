/** At most `limit` exchanges with one upstream run at once and as many wait; everyone else is told at once. */
export class ConnectionPool {
  readonly #limit: number
  readonly #waiting = new Set<() => void>()
  #running = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** `now`: go ahead. `later`: `start` will be called. `full`: neither. After the first two, `leave` must follow. */
  enter(start: () => void): 'now' | 'later' | 'full' {
    if (this.#running < this.#limit) {
      this.#running++
      return 'now'
    }
    if (this.#waiting.size >= this.#limit) return 'full'
    this.#waiting.add(start)
    return 'later'
  }

  /** Gives the place back, held or waited for; once per `enter`. */
  leave(start: () => void): void {
    if (this.#waiting.delete(start)) return
    const [next] = this.#waiting
    if (next === undefined) {
      this.#running--
      return
    }
    this.#waiting.delete(next)
    next()
  }
}
