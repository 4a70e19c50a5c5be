import { Denial } from '../decision/denials.js'
import type { Case, Check } from './case.js'
import type { ProofFacts } from './proof-facts.js'

/** base64url of 32 bytes without padding; anything else is refused rather than normalised (RFC 8705 section 3.1). */
const SHA256_BASE64URL = /^[A-Za-z0-9_-]{43}$/

/**
 * The token is bound to the certificate of this very connection (RFC 8705 section 3), to the key of the proof (RFC 9449
 * section 6), or to both, and then both hold. A cnf that is present is enforced on every route, also where no certificate
 * is required: an attacker who stole a bound token must not find a route that forgets the binding.
 */
function tokenIsBoundToTheClient(subject: Case): Denial | null {
  const { token, rule, proof } = subject
  const confirmation = token.confirmation
  if (confirmation === null) {
    if (proof !== null) return new Denial('binding_missing', 'the scheme DPoP, and the token has no cnf')
    return rule.binding === 'required' ? new Denial('binding_missing', 'the token has no cnf') : null
  }
  const { x5tS256, jkt } = confirmation
  if (x5tS256 === null && jkt === null)
    return new Denial('binding_mismatch', 'cnf has no member that can be confirmed')
  if (x5tS256 === null && rule.binding === 'required' && !rule.dpop.satisfiesBinding)
    return new Denial('binding_missing', 'cnf has jkt only, and the route demands x5t#S256')
  return (
    (x5tS256 === null ? null : certificateProblem(x5tS256, subject)) ??
    (jkt === null ? problemWithoutJkt(proof) : proofKeyProblem(jkt, proof))
  )
}

function certificateProblem(x5tS256: unknown, { certificate }: Case): Denial | null {
  if (typeof x5tS256 !== 'string' || !SHA256_BASE64URL.test(x5tS256))
    return new Denial('binding_mismatch', 'x5t#S256 is not base64url of a SHA-256')
  if (certificate === null)
    return new Denial('binding_mismatch', 'a bound token without a client certificate')
  if (certificate instanceof Denial) return certificate
  // Both are digests of public data, so the time of the comparison tells nothing.
  return certificate.thumbprint === x5tS256 ? null : mismatch(x5tS256, certificate.thumbprint)
}

/** A token that says it is bound to a DPoP key is never good without a proof, whatever else confirms it (section 7.2). */
function proofKeyProblem(jkt: unknown, proof: ProofFacts | null): Denial | null {
  if (proof === null) return new Denial('proof_missing', 'cnf has jkt')
  if (typeof jkt !== 'string' || !SHA256_BASE64URL.test(jkt))
    return new Denial('binding_mismatch', 'jkt is not base64url of a SHA-256')
  return proof.jkt === jkt ? null : mismatch(jkt, proof.jkt)
}

/** The scheme says DPoP-bound. A server that let any key prove possession of such a token would have checked nothing (section 7.1). */
function problemWithoutJkt(proof: ProofFacts | null): Denial | null {
  return proof === null ? null : new Denial('binding_missing', 'the scheme DPoP, and cnf has no jkt')
}

function mismatch(bound: string, presented: string): Denial {
  return new Denial('binding_mismatch', `bound to ${bound.slice(0, 8)}…, presented ${presented.slice(0, 8)}…`)
}

export const binding: Check = {
  name: 'binding',
  judge: tokenIsBoundToTheClient,
  fact: ({ token, certificate, proof }) => {
    const presented =
      certificate === null
        ? 'no certificate'
        : certificate instanceof Denial
          ? 'a refused certificate'
          : certificate.thumbprint
    return `cnf ${JSON.stringify(token.claims.cnf ?? null)}, presented ${presented}${proof === null ? '' : `, proof by ${proof.jkt}`}`
  },
}
