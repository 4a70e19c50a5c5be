import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from 'prom-client'
import { type Across, DEFAULTS_ACROSS, METRICS, type MetricSpec } from './metric-table.js'
import { Tally } from './tally.js'

/** OpenTelemetry's boundaries for HTTP server durations, in seconds. */
const REQUEST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
/** A decision takes tens of microseconds when the token is known and about a millisecond when it is new. */
const DECISION_BUCKETS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1]

/** Label of requests that matched no route: raw paths would make one time series for each probe of a scanner. */
export const UNMATCHED = 'unmatched'

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** The method as a label: one of the known ones, or `other`. */
function methodLabel(method: string): string {
  return METHODS.has(method) ? method : 'other'
}

/** What ends connections: limits of server.limits, and those of HTTP/2, which are fixed. */
export const CONNECTION_LIMITS = ['connections', 'handshakes', 'connectionsPerAddress', 'http2'] as const
export type ConnectionLimit = (typeof CONNECTION_LIMITS)[number]

export type Outcome = 'allowed' | 'denied' | 'failed'

/** What one request adds to the counters. Durations in seconds; null where the request did not get so far. */
export interface RequestMeasures {
  readonly route: string
  readonly method: string
  readonly status: number
  readonly outcome: Outcome
  readonly code: string | null
  readonly seconds: number | null
  readonly decisionSeconds: number | null
  readonly upstream: string | null
  readonly upstreamSeconds: number | null
}

/** What a policy in use is made of, for its gauges. */
export interface PolicyParts {
  readonly hash: string
  readonly certificates: readonly { readonly name: string; readonly notAfter: number }[]
  readonly lists: readonly { readonly name: string; readonly nextUpdate: number | null }[]
  /** Names of the issuers whose keys are fetched. */
  readonly fetched: readonly string[]
  /** Names of the issuers that introspect. */
  readonly asked: readonly string[]
  readonly addresses: readonly AddressState[]
}

/** An address of an upstream. */
export interface AddressState {
  readonly upstream: string
  /** Origin, as in the policy. */
  readonly address: string
  readonly isHealthy: boolean
}

/** What can become of an attempt after the first. */
const RETRY_RESULTS = ['answered', 'failed', 'abandoned', 'over_budget']

function keyOf({ upstream, address }: AddressState): string {
  return `${upstream} ${address}`
}

/** The text of /metrics and its media type. */
export interface Exposition {
  readonly text: string
  readonly contentType: string
}

/** The samples of one process at one time: data that can go to another process. */
export type Snapshot = readonly (MetricObjectWithValues<MetricValue<string>> & {
  readonly aggregator: Across
})[]

function remember(seen: Map<string, Set<string>>, issuer: string, result: string): void {
  const results = seen.get(issuer)
  if (results === undefined) seen.set(issuer, new Set([result]))
  else results.add(result)
}

/** All meters of the process, on a registry of their own. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #requests = this.#tally('requests')
  readonly #denials = this.#counter('denials')
  readonly #requestDuration = this.#histogram('requestDuration', REQUEST_BUCKETS)
  readonly #decisionDuration = this.#histogram('decisionDuration', DECISION_BUCKETS)
  readonly #upstreamDuration = this.#histogram('upstreamDuration', REQUEST_BUCKETS)
  readonly #upstreamRetries = this.#counter('upstreamRetries')
  readonly #upstreamHealthy = this.#gauge('upstreamHealthy')
  readonly #upstreamEjections = this.#counter('upstreamEjections')
  #inFlight = 0
  readonly #connections = this.#gauge('connections')
  readonly #connectionsDropped = this.#counter('connectionsDropped')
  readonly #tokenCache = this.#tally('tokenCache')
  readonly #keysRefresh = this.#counter('keysRefresh')
  readonly #keysLastSuccess = this.#gauge('keysLastSuccess')
  readonly #introspection = this.#counter('introspection')
  readonly #introspectionDuration = this.#histogram('introspectionDuration', REQUEST_BUCKETS)
  readonly #reload = this.#counter('reload')
  readonly #reloadLastSuccess = this.#gauge('reloadLastSuccess')
  readonly #policyInfo = this.#gauge('policyInfo')
  readonly #certificateExpiry = this.#gauge('certificateExpiry')
  readonly #crlNextUpdate = this.#gauge('crlNextUpdate')
  readonly #workers = this.#gauge('workers')
  readonly #workersSilent = this.#gauge('workersSilent')
  readonly #workerRestarts = this.#counter('workerRestarts')
  /** The results that were counted, by issuer: of fetches of keys, and of introspections. */
  readonly #fetched = new Map<string, Set<string>>()
  readonly #asked = new Map<string, Set<string>>()
  #addresses: readonly AddressState[] = []

  constructor(version: string) {
    this.#gauge('buildInfo').set({ version, node: process.version }, 1)
    // A counter that first appears with 1 has no increase to alert on.
    for (const result of ['success', 'failure']) this.#reload.inc({ result }, 0)
    for (const limit of CONNECTION_LIMITS) this.#connectionsDropped.inc({ limit }, 0)
    const inFlight: Gauge = this.#gauge('inFlight', () => inFlight.set(this.#inFlight))
    collectDefaultMetrics({ register: this.#registry })
    // promtool refuses these three names of prom-client: gauges that end in _total.
    for (const name of [
      'nodejs_active_handles_total',
      'nodejs_active_requests_total',
      'nodejs_active_resources_total',
    ])
      this.#registry.removeSingleMetric(name)
    for (const metric of this.#registry.getMetricsAsArray())
      metric.aggregator = DEFAULTS_ACROSS[metric.name] ?? metric.aggregator
  }

  /** The text of /metrics and its media type. */
  async expose(): Promise<Exposition> {
    return { text: await this.#registry.metrics(), contentType: this.#registry.contentType }
  }

  /** What `combine` puts together with that of other processes. */
  async snapshot(): Promise<Snapshot> {
    return (await this.#registry.getMetricsAsJSON()) as unknown as Snapshot
  }

  requestStarted(): void {
    this.#inFlight++
  }

  requestEnded(measures: RequestMeasures): void {
    const { route, status, outcome, code, upstream, upstreamSeconds } = measures
    this.#inFlight--
    this.#requests.add(route, methodLabel(measures.method), String(status), outcome)
    if (code !== null) this.#denials.inc({ route, code })
    if (measures.seconds !== null) this.#requestDuration.observe({ route }, measures.seconds)
    if (measures.decisionSeconds !== null) this.#decisionDuration.observe(measures.decisionSeconds)
    if (upstream !== null && upstreamSeconds !== null)
      this.#upstreamDuration.observe({ upstream }, upstreamSeconds)
  }

  connectionOpened(): void {
    this.#connections.inc()
  }

  connectionClosed(): void {
    this.#connections.dec()
  }

  connectionDropped(limit: ConnectionLimit): void {
    this.#connectionsDropped.inc({ limit })
  }

  tokenCache(result: 'hit' | 'miss'): void {
    this.#tokenCache.add(result)
  }

  keysRefresh(issuer: string, result: 'success' | 'failure', now: number): void {
    remember(this.#fetched, issuer, result)
    this.#keysRefresh.inc({ issuer, result })
    if (result === 'success') this.#keysLastSuccess.set({ issuer }, now)
  }

  /** @param seconds null: the endpoint was not asked */
  introspection(issuer: string, result: string, seconds: number | null): void {
    remember(this.#asked, issuer, result)
    this.#introspection.inc({ issuer, result })
    if (seconds !== null) this.#introspectionDuration.observe({ issuer }, seconds)
  }

  upstreamRetry(upstream: string, result: string): void {
    // Requests of a policy before may end late; what is gone has no series.
    if (this.#addresses.some(each => each.upstream === upstream))
      this.#upstreamRetries.inc({ upstream, result })
  }

  upstreamHealth(upstream: string, address: string, change: 'ejected' | 'returned'): void {
    if (!this.#addresses.some(each => each.upstream === upstream && each.address === address)) return
    this.#upstreamHealthy.set({ upstream, address }, change === 'ejected' ? 0 : 1)
    if (change === 'ejected') this.#upstreamEjections.inc({ upstream, address })
  }

  reloaded(result: 'success' | 'failure'): void {
    this.#reload.inc({ result })
  }

  /** How many processes serve requests, and how many of them have not answered this scrape. */
  workersAre(workers: number, silent: number): void {
    this.#workers.set(workers)
    this.#workersSilent.set(silent)
  }

  workerEnded(): void {
    this.#workerRestarts.inc()
  }

  /**
   * What the policy in use is made of; replaces what the one before it said.
   * @param now seconds since the epoch; null where another process says when the policy was taken into use
   */
  policyInUse(
    { hash, certificates, lists, fetched, asked, addresses }: PolicyParts,
    now: number | null,
  ): void {
    const gauges = [this.#policyInfo, this.#certificateExpiry, this.#crlNextUpdate, this.#upstreamHealthy]
    for (const gauge of gauges) gauge.reset()
    if (now !== null) this.#reloadLastSuccess.set(now)
    this.#policyInfo.set({ hash }, 1)
    for (const { name, notAfter } of certificates) this.#certificateExpiry.set({ name }, notAfter)
    for (const { name, nextUpdate } of lists)
      if (nextUpdate !== null) this.#crlNextUpdate.set({ name }, nextUpdate)
    this.#forgetIssuers({ fetched, asked })
    this.#useAddresses(addresses)
  }

  #useAddresses(addresses: readonly AddressState[]): void {
    const upstreams = new Set(addresses.map(({ upstream }) => upstream))
    const inUse = new Set(addresses.map(keyOf))
    for (const each of this.#addresses) {
      const { upstream, address } = each
      if (!inUse.has(keyOf(each))) this.#upstreamEjections.remove({ upstream, address })
      if (!upstreams.has(upstream))
        for (const result of RETRY_RESULTS) this.#upstreamRetries.remove({ upstream, result })
    }
    this.#addresses = addresses
    // Counters that first appear with 1 have no increase to alert on.
    for (const { upstream, address, isHealthy } of addresses) {
      this.#upstreamHealthy.set({ upstream, address }, isHealthy ? 1 : 0)
      this.#upstreamEjections.inc({ upstream, address }, 0)
      for (const result of RETRY_RESULTS) this.#upstreamRetries.inc({ upstream, result }, 0)
    }
  }

  /** A series that nothing moves any more would be an alert that never ends. */
  #forgetIssuers({ fetched, asked }: Pick<PolicyParts, 'fetched' | 'asked'>): void {
    for (const [issuer, results] of this.#fetched) {
      if (fetched.includes(issuer)) continue
      this.#fetched.delete(issuer)
      this.#keysLastSuccess.remove({ issuer })
      for (const result of results) this.#keysRefresh.remove({ issuer, result })
    }
    for (const [issuer, results] of this.#asked) {
      if (asked.includes(issuer)) continue
      this.#asked.delete(issuer)
      this.#introspectionDuration.remove({ issuer })
      for (const result of results) this.#introspection.remove({ issuer, result })
    }
  }

  #counter(key: keyof typeof METRICS): Counter {
    return new Counter(this.#options(key))
  }

  #gauge(key: keyof typeof METRICS, collect?: () => void): Gauge {
    return new Gauge({ ...this.#options(key), ...(collect && { collect }) })
  }

  #tally(key: keyof typeof METRICS): Tally {
    return new Tally(this.#options(key))
  }

  #histogram(key: keyof typeof METRICS, buckets: number[]): Histogram {
    return new Histogram({ ...this.#options(key), buckets })
  }

  #options(key: keyof typeof METRICS) {
    const { name, help, labels, across = 'sum' }: MetricSpec = METRICS[key]
    return { name, help, labelNames: [...labels], aggregator: across, registers: [this.#registry] }
  }
}
