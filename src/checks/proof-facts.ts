import type { Claims } from '../policy/flow-rules.js'

/** What is known of a DPoP proof whose signature the key in its own header has made (RFC 9449 section 4.2). */
export interface ProofFacts {
  /** RFC 7638 SHA-256 thumbprint of that key, as in `cnf.jkt`. */
  readonly jkt: string
  readonly alg: string
  /** As they stand in the proof: nothing is known of their types. */
  readonly claims: Claims
  /** base64url SHA-256 of the access token that the proof came with; what `ath` must be. */
  readonly tokenHash: string
  /** When we issued the nonce of the proof, in seconds since the epoch; null when there is none, or it is not ours. */
  readonly nonceIssuedAt: number | null
}
