/** What may happen so often within a time that begins with the first of it. */
export class Allowance {
  readonly #most: number
  readonly #windowMs: number
  #since = Number.NEGATIVE_INFINITY
  #count = 0

  constructor(most: number, windowMs: number) {
    this.#most = most
    this.#windowMs = windowMs
  }

  /** It has happened once more. false: more often than it may. @param now milliseconds of a clock that never goes back */
  spend(now: number): boolean {
    if (now - this.#since >= this.#windowMs) {
      this.#since = now
      this.#count = 0
    }
    this.#count += 1
    return this.#count <= this.#most
  }
}
