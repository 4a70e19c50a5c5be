import type { Verdict } from '../decision/denials.js'
import type { RouteMatch } from '../policy/route-index.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { RequestFacts } from '../request/request-facts.js'
import { binding } from './binding.js'
import type { Case, Check } from './case.js'
import { claimRules } from './claim-rules.js'
import { certificateSuffices, clientCertificate } from './client-certificate.js'
import { flow } from './flow.js'
import { proof as proofCheck } from './proof.js'
import type { ProofFacts } from './proof-facts.js'
import { scopes } from './scopes.js'
import { stepUp } from './step-up.js'
import { audience, current, lifetime, requiredClaims } from './token.js'
import type { TokenFacts } from './token-facts.js'

declare const granted: unique symbol

/** The proof that every check passed. Only `authorise` makes one, and nothing is forwarded without one. */
export interface Grant {
  readonly [granted]: true
  readonly request: RequestFacts
  readonly match: RouteMatch
  readonly certificate: CertificateFacts | null
  /** null on routes that ask for no token. */
  readonly token: TokenFacts | null
  /** The proof that came with the token; it may be used once. */
  readonly proof: ProofFacts | null
}

/** What the steps before have proved. */
export interface Proofs {
  readonly request: RequestFacts
  readonly match: RouteMatch
  readonly certificate: Verdict<CertificateFacts> | null
  readonly token: TokenFacts | null
  readonly proof: ProofFacts | null
  /** Seconds since the epoch. */
  readonly now: number
}

/** In the order in which they answer (REQUIREMENTS section 2, rows 9 to 16). `explain` runs the same list. */
export const CHECKS: readonly Check[] = [
  audience,
  requiredClaims,
  current,
  lifetime,
  binding,
  proofCheck,
  clientCertificate,
  flow,
  scopes,
  stepUp,
  claimRules,
]

/** The last step of the decision: the first check that fails refuses, else the grant. */
export function authorise(proofs: Proofs): Verdict<Grant> {
  const { request, match, token, proof, certificate: presented, now } = proofs
  const insufficient = certificateSuffices(match.route, presented)
  if (insufficient !== null) return insufficient
  const rule = match.route.token
  if (rule !== null) {
    // authenticateToken ran for this route; a missing proof here is a fault of ours, and must not pass as public.
    if (token === null) throw new Error('a token route without token facts')
    const subject: Case = { request, match, rule, token, proof, certificate: presented, now }
    for (const check of CHECKS) {
      const denial = check.judge(subject)
      if (denial !== null) return denial
    }
  }
  const certificate = certificateThatCounts(proofs)
  return { request, match, certificate, token, proof } as Grant
}

/** A certificate that did not pass its checks is no fact for the upstream. */
function certificateThatCounts({ certificate }: Proofs): CertificateFacts | null {
  return certificate !== null && 'thumbprint' in certificate ? certificate : null
}
