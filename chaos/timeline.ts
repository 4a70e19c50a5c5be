/** A value that changes, and that others notice a moment later. Times are those of `performance.now()`. */
export class Timeline<T> {
  readonly #changes: { readonly at: number; readonly value: T }[]

  constructor(value: T) {
    this.#changes = [{ at: Number.NEGATIVE_INFINITY, value }]
  }

  get now(): T {
    return (this.#changes.at(-1) as { value: T }).value
  }

  set(value: T): void {
    this.#changes.push({ at: performance.now(), value })
  }

  /** Every value that held at some time between the two. */
  during(from: number, to: number): ReadonlySet<T> {
    const values = new Set<T>()
    for (const [index, { at, value }] of this.#changes.entries()) {
      const until = this.#changes[index + 1]?.at ?? Number.POSITIVE_INFINITY
      if (at <= to && until >= from) values.add(value)
    }
    return values
  }
}
