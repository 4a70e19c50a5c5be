/** How requests go to one address of an upstream. */
export interface Upstream {
  /** Of the upstream; its addresses share it. */
  readonly name: string
  /** Origin without path. */
  readonly url: string
  /** PEM of the authorities of an https upstream; null: the system's roots. */
  readonly ca: string | null
  readonly connectTimeoutMs: number
  /** Until the first byte of the answer, and between any two bytes. */
  readonly responseTimeoutMs: number
  /** Exchanges at a time, and as many tunnels besides. */
  readonly connections: number
  readonly authorization: 'forward' | 'strip'
  /** `forward`: the leaf certificate as Client-Cert (RFC 9440). */
  readonly clientCert: 'forward' | 'strip'
  /** What carries ordinary exchanges; upgrades are always carried by `http-proxy`. */
  readonly engine: 'builtin' | 'http-proxy'
}

/** What the policy says of one upstream. */
export interface UpstreamPolicy extends Omit<Upstream, 'url'> {
  /** Origins that serve the same API and data, each different, all of one scheme; at least one. */
  readonly urls: readonly string[]
  /** null: nothing is sent again that may have arrived. */
  readonly retry: RetryRule | null
  /** null: addresses are judged by what becomes of requests alone. */
  readonly health: HealthRule | null
}

/** How often requests are sent again that may have arrived. */
export interface RetryRule {
  /** Of one request, beyond the first time. */
  readonly attempts: number
  /** Of all requests. */
  readonly budgetPercent: number
}

/** How Postern asks an address whether it can serve. */
export interface HealthRule {
  /** Path and query. */
  readonly path: string
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Good answers in a row that bring an address back. */
  readonly healthyAfter: number
  /** Failures in a row that take it out. */
  readonly unhealthyAfter: number
}
