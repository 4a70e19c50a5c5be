import type { TokenFacts } from '../checks/token-facts.js'
import type { Verdict } from '../decision/denials.js'
import type { Credentials } from '../request/credentials.js'

/**
 * Establishes what a token says, from one issuer. Returns facts that were verified (signature, algorithm, type, issuer)
 * or the refusal; whether the facts suffice for a route is judged elsewhere, on every request.
 * `now` is seconds since the epoch. Never rejects for what a client sent or an issuer answered.
 */
export interface TokenSource {
  /** Issuer identifier: the exact `iss` of its tokens. */
  readonly issuer: string
  readonly authenticate: (
    credentials: Credentials,
    now: number,
  ) => Verdict<TokenFacts> | Promise<Verdict<TokenFacts>>
  /** Tokens that are no JWTs are sent here when a route has several issuers; at most one of those may say so. */
  readonly takesOpaque: boolean
  /** Whether tokens can be judged at all, for readiness: keys were had at least once. */
  readonly isReady: () => boolean
  /** Ends background work. */
  readonly close: () => void
}

/** How an introspection ended; `unauthorized`: the issuer refuses the credentials of Postern. Label of a metric. */
export type IntrospectionResult =
  | 'active'
  | 'inactive'
  | 'unauthorized'
  | 'unavailable'
  | 'malformed'
  | 'circuit_open'
  | 'overloaded'

/** What sources tell about themselves; metrics implement it (one implementation, injected). */
export interface SourceMeter {
  readonly tokenCache: (result: 'hit' | 'miss') => void
  readonly keysRefresh: (issuer: string, result: 'success' | 'failure', detail: string) => void
  /** `detail` is empty when all went well; `seconds` is null when nobody was asked. */
  readonly introspection: (
    issuer: string,
    result: IntrospectionResult,
    detail: string,
    seconds: number | null,
  ) => void
}
