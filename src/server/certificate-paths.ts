import type { X509Certificate } from 'node:crypto'
import type { Validity } from '../request/certificate-facts.js'

/** Authorities above each other; longer chains are no chains. */
export const MAX_CHAIN = 8

/** Signatures that are verified for one certificate at most: a client may send authorities without number. */
const MOST_SIGNATURES = 64

/** Names, key identifiers and keyUsage fit, and the key of the authority made the signature. */
export function isIssuedBy(subject: X509Certificate, authority: X509Certificate): boolean {
  return subject.checkIssued(authority) && subject.verify(authority.publicKey)
}

/** The dates that all of these have in common (RFC 5280 section 6.1.3). */
export function commonValidity(certificates: readonly X509Certificate[]): Validity {
  return {
    notBefore: Math.max(...certificates.map(one => Date.parse(one.validFrom))) / 1000,
    notAfter: Math.min(...certificates.map(one => Date.parse(one.validTo))) / 1000,
  }
}

/**
 * Every way from a certificate up to a root of the bundle, as the dates that all of it has in common: an authority that is renewed, or
 * signed by several others, has more than one. `sent` may stand in between, and never at the end. Empty when there is no way.
 */
export function pathsUp(
  leaf: X509Certificate,
  bundle: readonly X509Certificate[],
  sent: readonly X509Certificate[],
): readonly Validity[] {
  const candidates = [...bundle, ...sent]
  const paths: Validity[] = []
  let signatures = 0
  const isSigned = (subject: X509Certificate, authority: X509Certificate): boolean =>
    subject.checkIssued(authority) && ++signatures <= MOST_SIGNATURES && subject.verify(authority.publicKey)
  const climb = (path: readonly X509Certificate[], subject: X509Certificate): void => {
    for (const authority of candidates) {
      if (path.includes(authority) || !isSigned(subject, authority)) continue
      const longer = [...path, authority]
      if (!isSigned(authority, authority)) {
        if (path.length < MAX_CHAIN) climb(longer, authority)
      } else if (bundle.includes(authority)) paths.push(commonValidity(longer))
    }
  }
  climb([leaf], leaf)
  return paths
}
