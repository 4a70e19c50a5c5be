import type { Ambiguity } from '../request/canonical-path.js'
import type { CertificatePattern } from './certificate-patterns.js'
import type { ClaimRule } from './claim-rules.js'
import type { ProfileName } from './profiles.js'
import type { RateRule } from './rate.js'
import type { ResourceMetadata } from './resource-metadata.js'

/** A policy as the request path uses it: already valid, readonly, without a trace of the file it came from. */

export type Flow = 'authorization_code' | 'client_credentials'

/** Scopes that a token must have: all of `all`, and one of `any` unless that is empty. Case-sensitive (RFC 6749 section 3.3). */
export interface ScopeRule {
  readonly all: readonly string[]
  readonly any: readonly string[]
  /** Never enforced; the upstream learns which of them the token has. */
  readonly optional: readonly string[]
}

/** What a token route asks of the token. */
export interface TokenRule {
  /** Names of the issuers whose tokens count here. */
  readonly issuers: readonly string[]
  readonly flows: readonly Flow[]
  readonly scopes: ScopeRule
  /** `required`: a token without cnf never passes. `if-present`: a cnf that is there is enforced. */
  readonly binding: 'required' | 'if-present'
  /** Greatest exp - iat in seconds, for issuers without a maxLifetime of their own; null: unlimited. */
  readonly maxLifetimeSeconds: number | null
  readonly dpop: DpopRule
  /** How strongly and recently the user must have authenticated; null: not asked. */
  readonly stepUp: StepUp | null
  /** All must hold. */
  readonly claims: readonly ClaimRule[]
}

/** RFC 9470; at least one of the two is asked. */
export interface StepUp {
  /** Any one of these acr values will do; empty: not asked. */
  readonly acr: readonly string[]
  /** Greatest age of auth_time in seconds, or null. */
  readonly maxAuthAgeSeconds: number | null
}

/** What a token route asks of DPoP proofs (RFC 9449). */
export interface DpopRule {
  /** Origins as clients call them, normalised; the htu of a proof begins with one of them. */
  readonly origins: readonly string[]
  /** JWS alg values that a proof may have. */
  readonly algorithms: readonly string[]
  /** Greatest age of a proof by its iat; also how long a nonce is handed out before the next one. */
  readonly maxAgeSeconds: number
  /** Tolerance for clients whose clock is ahead. */
  readonly futureSkewSeconds: number
  /** `required`: every proof carries a nonce of ours, and the nonce takes the place of iat (RFC 9449 section 11.1). */
  readonly nonce: 'none' | 'required'
  /** false: a token that is bound to a DPoP key alone does not count as bound here. */
  readonly satisfiesBinding: boolean
}

/** One method and path template with its rules. */
export interface Route {
  /** Label of logs and metrics: `GET /fdx/v6/core/accounts` unless the policy names another. */
  readonly id: string
  readonly method: string
  /** Base and template together. */
  readonly template: string
  readonly api: string
  /** A client certificate is required. */
  readonly mtls: boolean
  /** The client certificate must fit one of these; null: any trusted one will do. */
  readonly certificates: readonly CertificatePattern[] | null
  /** null: no token is asked for. With `mtls: false` as well, the route is public. */
  readonly token: TokenRule | null
  /** Where allowed requests go; null: they are answered here, with `metadata`. */
  readonly upstream: string | null
  /** All must have room; empty: the route may be called as often as one likes. */
  readonly rates: readonly RateRule[]
  readonly errors: ErrorFormat
  readonly upgrade: 'websocket' | null
  /** Milliseconds until the first byte of the answer; null: as the upstream says. */
  readonly responseTimeoutMs: number | null
  readonly profile: ProfileName
  /** `strict`: requests whose FAPI or FDX headers are missing or malformed are refused. */
  readonly headers: 'strict' | 'tolerant'
  /** What its paths may hold although servers read it differently; empty for most. */
  readonly paths: readonly Ambiguity[]
  /** Path of the metadata (RFC 9728) that challenges of this route name; null: they name none. */
  readonly metadataPath: string | null
  /** What the route itself answers; null for every route of the policy file. */
  readonly metadata: ResourceMetadata | null
}

export type ErrorFormat = 'fdx' | 'problem'
