import { timingSafeEqual } from 'node:crypto'
import { Denial } from '../decision/denials.js'
import type { DpopRule } from '../policy/policy.js'
import type { Case, Check } from './case.js'
import type { ProofFacts } from './proof-facts.js'
import { normalisedPath, normalisedTarget } from './target-uri.js'

/** Longer ones would be work and memory for nothing (RFC 9449 section 11.1). */
const MAX_JTI_LENGTH = 256

/** A case with a proof. */
interface ProofCase extends Case {
  readonly proof: ProofFacts
}

/** Says what is wrong, for the operator; null when nothing is. */
type ProofRule = (subject: ProofCase) => string | null

/** RFC 9449 section 4.3, from 8 on; what comes before was asked when the proof was read. */
const RULES: readonly ProofRule[] = [
  hasIdentifier,
  isForThisMethod,
  isForThisTarget,
  isForThisToken,
  isInTime,
]

/**
 * The proof was made for this request, with this token, now (RFC 9449 section 4.3). Whose key made it is for the binding check
 * to say, and whether it was used before for the store, once everything else is right. The nonce comes last, so that a
 * client whose proof is otherwise wrong hears of that at once.
 */
function proofIsForThisRequest(subject: Case): Denial | null {
  const { proof } = subject
  if (proof === null) return null // the scheme is Bearer; the binding check knows whether that suffices
  const withProof: ProofCase = { ...subject, proof }
  for (const rule of RULES) {
    const problem = rule(withProof)
    if (problem !== null) return new Denial('proof_invalid', problem)
  }
  const nonceProblem = problemOfNonce(withProof)
  return nonceProblem === null ? null : new Denial('proof_nonce_required', nonceProblem)
}

function hasIdentifier({ proof: { claims } }: ProofCase): string | null {
  const { jti } = claims
  if (typeof jti !== 'string' || jti === '') return 'jti is absent or no string'
  return jti.length <= MAX_JTI_LENGTH ? null : `jti is longer than ${MAX_JTI_LENGTH} characters`
}

/** Methods are case-sensitive (RFC 9110 section 9.1). */
function isForThisMethod({ proof: { claims }, request }: ProofCase): string | null {
  if (typeof claims.htm !== 'string') return 'htm is absent or no string'
  return claims.htm === request.method ? null : 'htm is another method'
}

/**
 * The target is built from the configured origins and the path that was matched. Neither Host nor X-Forwarded-* has a say:
 * whoever could choose them would choose where a stolen proof is good.
 */
function isForThisTarget({ proof: { claims }, request, rule }: ProofCase): string | null {
  if (typeof claims.htu !== 'string') return 'htu is absent or no string'
  const target = normalisedTarget(claims.htu)
  if (target === null) return 'htu is no https URI'
  const path = normalisedPath(request.path)
  return rule.dpop.origins.some(origin => target === `${origin}${path}`)
    ? null
    : 'htu is another URI than that of this request at server.publicUrl'
}

function isForThisToken({ proof }: ProofCase): string | null {
  const { ath } = proof.claims
  if (typeof ath !== 'string') return 'ath is absent or no string'
  const [expected, claimed] = [Buffer.from(proof.tokenHash), Buffer.from(ath)]
  return claimed.length === expected.length && timingSafeEqual(claimed, expected)
    ? null
    : 'ath is not the hash of the access token'
}

/** With a nonce of ours, which carries our time, the clock of the client no longer matters (RFC 9449 section 11.1). */
function isInTime({ proof: { claims }, rule: { dpop }, now }: ProofCase): string | null {
  const { iat, nbf, exp } = claims
  if (!isTime(iat)) return 'iat is absent or no number'
  if (nbf !== undefined && !isTime(nbf)) return 'nbf is no number'
  if (exp !== undefined && !isTime(exp)) return 'exp is no number'
  const { maxAgeSeconds, futureSkewSeconds } = dpop
  if (dpop.nonce === 'none') {
    if (iat > now + futureSkewSeconds) return `iat is ${Math.round(iat - now)} s ahead`
    if (iat < now - maxAgeSeconds) return `iat was ${Math.round(now - iat)} s ago`
  }
  if (nbf !== undefined && nbf > now + futureSkewSeconds) return `nbf is ${Math.round(nbf - now)} s ahead`
  if (exp !== undefined && exp <= now - futureSkewSeconds) return `exp was ${Math.round(now - exp)} s ago`
  return null
}

function problemOfNonce({ proof, rule: { dpop }, now }: ProofCase): string | null {
  if (dpop.nonce === 'none') return null
  if (proof.claims.nonce === undefined) return 'no nonce'
  if (proof.nonceIssuedAt === null) return 'the nonce is not of this process'
  const { isAccepted } = nonceAge(proof.nonceIssuedAt, dpop, now)
  return isAccepted ? null : `the nonce was issued ${Math.round(now - proof.nonceIssuedAt)} s ago`
}

/**
 * Time is cut into windows of maxAge, and a nonce is accepted in its own window and in the next.
 * `isFading`: it is in the next, so the client should hear of its successor.
 */
export function nonceAge(
  issuedAt: number,
  { maxAgeSeconds, futureSkewSeconds }: DpopRule,
  now: number,
): { readonly isAccepted: boolean; readonly isFading: boolean } {
  // One from the future is left over from before the clock was set back; it must not live on until that time comes.
  const age = now - issuedAt
  return {
    isAccepted: age >= -futureSkewSeconds && age < 2 * maxAgeSeconds,
    isFading: age >= maxAgeSeconds,
  }
}

/** Between the judgement of a proof and the moment at which the store has it, and between the clocks of both. */
const SETTLING_SECONDS = 5

/** For so long a proof could be accepted again, counted from when it is accepted: so long its jti is remembered. */
export function secondsToRemember({ nonce, maxAgeSeconds, futureSkewSeconds }: DpopRule): number {
  const windows = nonce === 'required' ? 2 : 1
  return windows * maxAgeSeconds + futureSkewSeconds + SETTLING_SECONDS
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

export const proof: Check = {
  name: 'proof',
  judge: proofIsForThisRequest,
  fact: ({ proof }) => {
    if (proof === null) return 'no DPoP proof: the scheme is Bearer'
    const { htm, htu, iat } = proof.claims
    return `alg ${proof.alg}, jkt ${proof.jkt}, htm ${JSON.stringify(htm)}, htu ${JSON.stringify(htu)}, iat ${JSON.stringify(iat)}`
  },
}
