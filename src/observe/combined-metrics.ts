import { AggregatorRegistry } from 'prom-client'
import type { Exposition, Metrics, Snapshot } from './metrics.js'

/**
 * One set of metrics from several processes. Counters never go back: what a process had counted when it was last heard
 * stays after its end, and stands for it while it is silent.
 */
export class CombinedMetrics {
  readonly #own: Metrics
  readonly #last = new Map<number, Snapshot>()
  #ended: Snapshot = []

  /** @param own those of the process that combines */
  constructor(own: Metrics) {
    this.#own = own
  }

  heard(worker: number, snapshot: Snapshot): void {
    this.#last.set(worker, snapshot)
  }

  /** Keeps the counters and histograms of a process that is gone. Gauges say what is now. */
  ended(worker: number): void {
    const counted = this.#last.get(worker)?.filter(({ type }) => String(type) !== 'gauge')
    this.#last.delete(worker)
    if (counted !== undefined) this.#ended = samplesOf(aggregate([this.#ended, counted]))
  }

  /**
   * Drops what processes that are gone said of what the policy no longer has: nothing would ever move it.
   * @param known by label: the values that are still there
   */
  keepOnly(known: Readonly<Record<string, readonly string[]>>): void {
    const isKnown = (labels: Readonly<Record<string, unknown>>) =>
      Object.entries(known).every(
        ([label, values]) => labels[label] === undefined || values.includes(String(labels[label])),
      )
    this.#ended = this.#ended.map(metric => ({
      ...metric,
      values: metric.values.filter(({ labels }) => isKnown(labels)),
    }))
  }

  async expose(): Promise<Exposition> {
    const own = await this.#own.snapshot()
    const combined = aggregate([own, this.#ended, ...this.#last.values()])
    return { text: await combined.metrics(), contentType: combined.contentType }
  }
}

/** No `AggregatorRegistry` is ever made: it would listen to the messages of all workers, and wait for them by itself. */
function aggregate(snapshots: readonly Snapshot[]) {
  return AggregatorRegistry.aggregate(snapshots.map(snapshot => [...snapshot]))
}

function samplesOf(registry: ReturnType<typeof aggregate>): Snapshot {
  return registry.getMetricsAsArray() as unknown as Snapshot
}
