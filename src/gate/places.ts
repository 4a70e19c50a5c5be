/**
 * Places for requests that are handled at a time. A request beyond them is told so at once: one that waits holds memory, and is
 * answered when nobody is there any more.
 */
export class Places {
  readonly #most: number
  #taken = 0

  constructor(most: number) {
    this.#most = most
  }

  /** False when there is none left. */
  take(): boolean {
    if (this.#taken >= this.#most) return false
    this.#taken += 1
    return true
  }

  release(): void {
    this.#taken -= 1
  }
}
