import type { IssuerRules } from './issuer.js'

/** What the access tokens of an issuer are to Postern. `auto`: JWTs that name the issuer, and opaque tokens. */
export type TokenFormat = 'jwt' | 'opaque' | 'auto'

/** How Postern shows the introspection endpoint who asks (RFC 7662 section 2.1). PEM texts and secrets as they are used. */
export type ClientAuthentication =
  | {
      /** RFC 6749 section 2.3.1. */
      readonly method: 'client_secret_basic' | 'client_secret_post'
      readonly clientId: string
      readonly clientSecret: string
    }
  | {
      /** RFC 7523 section 2.2. */
      readonly method: 'private_key_jwt'
      readonly clientId: string
      readonly key: string
      readonly keyId: string | null
      readonly algorithm: string
      /** aud of the assertion. */
      readonly audience: string
    }
  | {
      /** RFC 8705 section 2.1. */
      readonly method: 'tls_client_auth'
      readonly clientId: string
      readonly cert: string
      readonly key: string
    }

/** How the tokens of one issuer are introspected (RFC 7662). Durations in milliseconds. */
export interface IntrospectionSettings {
  /** What introspected tokens must satisfy: the rules of the issuer, but for claims that replies need not have. */
  readonly rules: IssuerRules
  /** null: the introspection_endpoint of the issuer's metadata (RFC 8414 section 2). */
  readonly url: string | null
  /** PEM of the authorities for the TLS connection; null: the system's roots. */
  readonly ca: string | null
  readonly authentication: ClientAuthentication
  /** Longest time that a reply about an active token serves; 0: every request asks. */
  readonly cacheMs: number
  /** The same for tokens that are not active. */
  readonly negativeCacheMs: number
  readonly timeoutMs: number
  /** `jwt`: signed replies (RFC 9701), and no others. */
  readonly response: 'json' | 'jwt'
}

/** The members of `IssuerRules` that differ for introspected tokens: of all claims only `active` is sure (RFC 7662 section 2.2). */
export function introspectedRules(
  rules: IssuerRules,
  { requireAudience, requiredClaims }: { requireAudience: boolean; requiredClaims: readonly string[] },
): IssuerRules {
  // Without exp a lifetime cannot be bounded: who bounds it asks for exp.
  const withoutExpiry = rules.maxLifetimeSeconds === null ? (['exp'] as const) : []
  return {
    ...rules,
    requiredClaims,
    mayLack: [...withoutExpiry, ...(requireAudience ? [] : (['aud'] as const))],
  }
}
