/** A map of at most so many entries; the oldest goes for a new one. */
export class BoundedMap<V> {
  readonly #most: number
  readonly #entries = new Map<string, V>()

  constructor(most: number) {
    this.#most = most
  }

  get(key: string): V | undefined {
    return this.#entries.get(key)
  }

  /** Asks for a key that has no entry. */
  add(key: string, value: V): void {
    // A Map keeps the order of insertion.
    const [oldest] = this.#entries.keys()
    if (this.#entries.size >= this.#most && oldest !== undefined) this.#entries.delete(oldest)
    this.#entries.set(key, value)
  }
}
