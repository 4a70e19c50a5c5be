import type { ProfileName } from './profiles.js'
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
  /** null: no token is asked for. With `mtls: false` as well, the route is public. */
  readonly token: TokenRule | null
  /** Where allowed requests go; null: they are answered here, with `metadata`. */
  readonly upstream: string | null
  readonly errors: ErrorFormat
  readonly upgrade: 'websocket' | null
  /** Milliseconds until the first byte of the answer; null: as the upstream says. */
  readonly responseTimeoutMs: number | null
  readonly profile: ProfileName
  /** `strict`: requests whose FAPI or FDX headers are missing or malformed are refused. */
  readonly headers: 'strict' | 'tolerant'
  /** Path of the metadata (RFC 9728) that challenges of this route name; null: they name none. */
  readonly metadataPath: string | null
  /** What the route itself answers; null for every route of the policy file. */
  readonly metadata: ResourceMetadata | null
}

export type ErrorFormat = 'fdx' | 'problem'
