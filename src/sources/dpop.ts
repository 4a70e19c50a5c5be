import { hash } from 'node:crypto'
import { nonceAge, secondsToRemember } from '../checks/proof.js'
import type { ProofFacts } from '../checks/proof-facts.js'
import { normalisedTarget } from '../checks/target-uri.js'
import { Denial, type Verdict } from '../decision/denials.js'
import type { DpopRule } from '../policy/policy.js'
import type { Credentials } from '../request/credentials.js'
import type { RawHeaders } from '../request/headers.js'
import { createNonces } from './dpop-nonce.js'
import { verifyProof } from './dpop-proof.js'
import type { ReplayStore } from './replay-store.js'
import type { Admit } from './token-source.js'

/** DPoP at the resource server (RFC 9449 section 7). Outlives gates: a reload forgets no used proof and no nonce. */
export interface Dpop {
  /** The proof of a request with the scheme DPoP; null with the scheme Bearer, whose DPoP header nobody reads or forwards. */
  readonly verify: (
    headers: RawHeaders,
    credentials: Credentials,
    rule: DpopRule,
    admit: Admit,
  ) => Promise<Verdict<ProofFacts>> | null
  /**
   * Uses the proof up: null the first time. Asked last, so that a proof is not lost to a request that is refused for another
   * reason, and nobody fills the store with proofs that are good for nothing.
   */
  readonly spend: (proof: ProofFacts, rule: DpopRule) => Promise<Denial | null>
  /** The nonce that clients of the route should use now. */
  readonly nonce: (rule: DpopRule, now: number) => string
  /** The nonce to send along with an answer, when that of the proof is about to expire; else null (section 8.2). */
  readonly nextNonce: (proof: ProofFacts, rule: DpopRule, now: number) => string | null
}

/** @param secret random bytes for nonces, at least 32 */
export function createDpop(replays: ReplayStore, secret: Buffer): Dpop {
  const nonces = createNonces(secret)
  return {
    verify: (headers, { scheme, token }, rule, admit) =>
      scheme === 'dpop' ? verifyProof(headers, token, rule, nonces, admit) : null,
    async spend(proof, rule) {
      const first = await replays.takeOnce(replayKey(proof), secondsToRemember(rule))
      if (first instanceof Denial) return first
      return first ? null : new Denial('proof_replayed', 'the jti was used before')
    },
    nonce: ({ maxAgeSeconds }, now) => nonces.issue(maxAgeSeconds, now),
    nextNonce: ({ nonceIssuedAt }, rule, now) =>
      rule.nonce === 'required' && nonceIssuedAt !== null && nonceAge(nonceIssuedAt, rule, now).isFading
        ? nonces.issue(rule.maxAgeSeconds, now)
        : null,
  }
}

/**
 * A jti is unique to its key and URI (RFC 9449 section 11.1): with the key in the name no client can use up the proofs of another.
 * The URI in one spelling, because the signature covers the spelling and a replay cannot change it anyway.
 */
function replayKey({ jkt, claims }: ProofFacts): string {
  const parts = [jkt, claims.jti, normalisedTarget(String(claims.htu))]
  return hash('sha256', JSON.stringify(parts), 'base64url')
}
