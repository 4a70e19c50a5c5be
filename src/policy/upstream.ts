/** What the policy says of one upstream. */
export interface Upstream {
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
