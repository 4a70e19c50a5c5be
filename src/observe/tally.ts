import { Counter, type CounterConfiguration } from 'prom-client'

/**
 * A counter of what happens with every request: a map of short texts, poured into prom-client's own counter when somebody reads
 * that, which checks and sorts labels each time.
 */
export class Tally {
  readonly #counter: Counter
  readonly #labels: readonly string[]
  /** By the values of the labels, separated by what no value holds. */
  readonly #counts = new Map<string, number>()

  constructor(options: CounterConfiguration<string>) {
    this.#labels = options.labelNames ?? []
    this.#counter = new Counter({ ...options, collect: () => this.#pour() })
  }

  /** One more, with the values of the labels in their order. */
  add(...values: readonly string[]): void {
    const key = values.join('\n')
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  #pour(): void {
    for (const [key, count] of this.#counts) {
      const values = key.split('\n')
      this.#counter.inc(
        Object.fromEntries(this.#labels.map((label, i) => [label, values[i] as string])),
        count,
      )
    }
    this.#counts.clear()
  }
}
