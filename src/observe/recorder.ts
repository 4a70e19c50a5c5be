import type { Logger } from './logger.js'
import type { Metrics } from './metrics.js'
import { countRequest, fieldsOf, type RequestRecord } from './record.js'

/** Requests that are told of together at most. */
const MOST_WAITING = 32
/** The longest that the story of a request waits for others. Milliseconds. */
const WAIT_MS = 20

/**
 * One log line and one set of counters for every request. Many requests are told of at a time: between two of them all other code
 * has run, and with it the processor has forgotten this; told of together they cost half.
 */
export class Recorder {
  readonly #log: Logger
  readonly #metrics: Metrics
  #waiting: RequestRecord[] = []
  #timer: NodeJS.Timeout | null = null

  constructor(log: Logger, metrics: Metrics) {
    this.#log = log
    this.#metrics = metrics
  }

  /** Takes the story of a request that has ended. */
  record(record: RequestRecord): void {
    this.#waiting.push(record)
    if (this.#waiting.length >= MOST_WAITING) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), WAIT_MS).unref()
  }

  /** Tells of all that waits: to be called before anybody reads metrics, changes what is logged, or ends. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#waiting.length === 0) return
    const records = this.#waiting
    this.#waiting = []
    for (const record of records) countRequest(record, this.#metrics)
    if (this.#log.isInfoEnabled)
      this.#log.requests(records.map(record => ({ at: record.at, fields: fieldsOf(record) })))
  }
}
