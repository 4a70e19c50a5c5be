import type { Denial, Verdict } from '../decision/denials.js'
import type { TokenRule } from '../policy/policy.js'
import type { RouteMatch } from '../policy/route-index.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { RequestFacts } from '../request/request-facts.js'
import type { ProofFacts } from './proof-facts.js'
import type { TokenFacts } from './token-facts.js'

/** All that a check of a token may look at. */
export interface Case {
  readonly request: RequestFacts
  readonly rule: TokenRule
  /** The route that `rule` is of, with the path parameters. */
  readonly match: RouteMatch
  readonly token: TokenFacts
  /** The judged certificate of the connection, the reason why it does not count, or null when there is none. */
  readonly certificate: Verdict<CertificateFacts> | null
  /** The proof of the scheme DPoP; null with the scheme Bearer, whose DPoP header nobody reads. */
  readonly proof: ProofFacts | null
  /** Seconds since the epoch. */
  readonly now: number
}

/** One question about a token, named for `explain`. */
export interface Check {
  readonly name: string
  /** null when the answer is yes. */
  readonly judge: (subject: Case) => Denial | null
  /** What the answer rests on, in words for the operator; names facts, never the token. */
  readonly fact: (subject: Case) => string
}
