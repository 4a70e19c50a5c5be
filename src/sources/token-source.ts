import type { TokenFacts } from '../checks/token-facts.js'
import type { Denial, Verdict } from '../decision/denials.js'
import type { Credentials } from '../request/credentials.js'

/**
 * Asked before work that costs: a signature to verify, an issuer to ask. Resolves with the reason why it is not to be done, or null.
 */
export type Admit = () => Promise<Denial | null>

/** For those whom nobody counts, such as `explain`. */
export const admitAlways: Admit = () => Promise.resolve(null)

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
    admit: Admit,
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
