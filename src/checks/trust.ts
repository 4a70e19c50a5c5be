/** What the gate trusts of client certificates: one immutable value, replaced whole at reload. */
export interface ClientTrust {
  /** `pki`: the chain must verify. `possession`: any certificate proves possession of its key (RFC 8705 section 6.2). */
  readonly mode: 'pki' | 'possession'
  /** Identity of the CA bundle. */
  readonly id: string
  /** Revocation lists by the fingerprint of the authority that signed them; null: revocation is not configured. */
  readonly revocations: ReadonlyMap<string, Revocations> | null
  readonly onExpiredCrl: 'deny' | 'allow'
}

export interface Revocations {
  /** Upper-case hex serial numbers. */
  readonly serials: ReadonlySet<string>
  /** Seconds since the epoch. */
  readonly thisUpdate: number
  /** Seconds since the epoch; null when the list names no next update. */
  readonly nextUpdate: number | null
}
