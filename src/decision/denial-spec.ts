/**
 * The `error` of the challenge (RFC 6750 section 3.1, RFC 9449 section 7.1), or that a bare challenge (no `error`) or none at all
 * is due. Whether the scheme is Bearer or DPoP follows from what the client tried.
 */
export type Challenge =
  | 'none'
  | 'bare'
  | 'invalid_request'
  | 'invalid_token'
  | 'insufficient_scope'
  /** RFC 9470 section 3. */
  | 'insufficient_user_authentication'
  | 'invalid_dpop_proof'
  | 'use_dpop_nonce'

/** The part of a request's life that may refuse with the code. */
export type Step =
  | 'takePlace'
  | 'readRequest'
  | 'matchRoute'
  | 'countRequest'
  | 'readCredentials'
  | 'checkCertificate'
  | 'authenticateToken'
  | 'verifyProof'
  | 'authorise'
  | 'spendProof'
  | 'forward'

/** One entry of the catalogue. */
export interface DenialSpec {
  readonly status: number
  readonly challenge: Challenge
  readonly fdx: string
  readonly step: Step
  /** The words for the client; printable ASCII without `"` and `\` (RFC 6750 section 3). */
  readonly message: string
  /** What the operator should look at; becomes a line of docs/denials.md. */
  readonly hint: string
}
