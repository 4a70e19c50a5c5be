/** When the present step of an exchange must be over. A timer that looks sooner stays as it is: most exchanges need only one. */
export class Deadline {
  readonly #onLate: () => void
  #timer: NodeJS.Timeout | undefined
  /** Readings of performance.now(): when the step must be over, and when the timer looks. */
  #dueAt = 0
  #looksAt = 0

  constructor(onLate: () => void) {
    this.#onLate = onLate
  }

  /** From now on, the next step may take so many milliseconds. */
  allow(milliseconds: number): void {
    this.#dueAt = performance.now() + milliseconds
    if (this.#timer !== undefined && this.#looksAt <= this.#dueAt) return
    clearTimeout(this.#timer)
    this.#looksAt = this.#dueAt
    this.#timer = setTimeout(this.#onTimer, milliseconds)
  }

  /** Nothing more is awaited. */
  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    const left = this.#dueAt - performance.now()
    // Timers of Node may be early by a fraction of a millisecond.
    if (left >= 1) this.allow(left)
    else this.#onLate()
  }
}
