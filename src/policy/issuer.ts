import type { CertificatePattern } from './certificate-patterns.js'
import type { FlowRule } from './flow-rules.js'

/** What a token of one issuer must satisfy; judged on every request against the facts of the token. */
export interface IssuerRules {
  /** Key in `issuers:` of the policy. */
  readonly name: string
  /** Exact iss value; no trailing-slash tolerance (RFC 9068 section 4). */
  readonly issuer: string
  /** The token's aud must hold one of them. */
  readonly audience: readonly string[]
  /** JWS alg values (RFC 7518 section 3.1). */
  readonly algorithms: readonly string[]
  /** Accepted typ headers, lower case, without `application/`; 'none' stands for an absent one. */
  readonly typ: readonly string[]
  /** Seconds of tolerance for exp, nbf and iat; at most 60. */
  readonly clockSkewSeconds: number
  /** Greatest exp - iat in seconds, or null. */
  readonly maxLifetimeSeconds: number | null
  /** Claims that must be there beside iss, exp and aud (RFC 9068 section 2.2). */
  readonly requiredClaims: readonly string[]
  /** Claims that every JWT has and an introspection reply may lack (RFC 7662 section 2.2); judged when they are there. Default none. */
  readonly mayLack?: readonly ('exp' | 'aud')[]
  readonly claims: {
    /** Where the scopes are: a space-separated string or an array. */
    readonly scope: string
    /** Where the client id is; the first of these that is a string. */
    readonly clientId: readonly string[]
  }
  readonly flow: FlowClassifier
  /** Which certificates its clients use on mTLS routes; null: not told. */
  readonly clients: ClientCertificates | null
}

/** The certificates of the clients of one issuer (REQUIREMENTS TLS-19). */
export interface ClientCertificates {
  readonly byClientId: ReadonlyMap<string, ClientPatterns>
  /** For clients that are not named; null: they are refused. */
  readonly others: ClientPatterns | null
}

export type ClientPatterns = readonly CertificatePattern[] | 'any'

/** How an issuer marks the OAuth flow of a token. */
export interface FlowClassifier {
  /** Name of the preset, or 'rules'. */
  readonly name: string
  /** The first that matches decides; when none does the flow is unknown. */
  readonly rules: readonly FlowRule[]
  /**
   * Claims that only a token of a present user has. One of them in a token classified client_credentials is
   * a conflict, and the flow unknown.
   */
  readonly userEvidence: readonly string[]
}
