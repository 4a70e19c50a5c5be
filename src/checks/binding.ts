import { Denial } from '../decision/denials.js'
import type { Case, Check } from './case.js'

/** base64url of 32 bytes without padding; anything else is refused rather than normalised (RFC 8705 section 3.1). */
const SHA256_BASE64URL = /^[A-Za-z0-9_-]{43}$/

/**
 * The token is bound to the certificate of this very connection (RFC 8705 section 3).
 * A cnf that is present is enforced on every route, also where no certificate is required: an attacker who stole a
 * bound token must not find a route that forgets the binding.
 */
function tokenIsBoundToTheClient({ token, rule, certificate }: Case): Denial | null {
  const confirmation = token.confirmation
  if (confirmation === null)
    return rule.binding === 'required' ? new Denial('binding_missing', 'the token has no cnf') : null
  const { x5tS256, jkt } = confirmation
  if (x5tS256 === null && jkt === null)
    return new Denial('binding_mismatch', 'cnf has no member that can be confirmed')
  // Both bindings hold when both are there; a proof cannot be verified yet, so such a token never passes.
  if (jkt !== null) return new Denial('proof_missing', 'cnf has jkt')
  if (typeof x5tS256 !== 'string' || !SHA256_BASE64URL.test(x5tS256))
    return new Denial('binding_mismatch', 'x5t#S256 is not base64url of a SHA-256')
  if (certificate === null)
    return new Denial('binding_mismatch', 'a bound token without a client certificate')
  if (certificate instanceof Denial) return certificate
  // Both are digests of public data, so the time of the comparison tells nothing.
  return certificate.thumbprint === x5tS256
    ? null
    : new Denial(
        'binding_mismatch',
        `bound to ${x5tS256.slice(0, 8)}…, presented ${certificate.thumbprint.slice(0, 8)}…`,
      )
}

export const binding: Check = {
  name: 'binding',
  judge: tokenIsBoundToTheClient,
  fact: ({ token, certificate }) => {
    const presented =
      certificate === null
        ? 'no certificate'
        : certificate instanceof Denial
          ? 'a refused certificate'
          : certificate.thumbprint
    return `cnf ${JSON.stringify(token.claims.cnf ?? null)}, presented ${presented}`
  },
}
