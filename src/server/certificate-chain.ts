import type { X509Certificate } from 'node:crypto'
import { certificateNames } from '../config/parse-crl.js'
import { type CertificateFacts, type ChainLink, fingerprintOf } from '../request/certificate-facts.js'
import { type CertificateExtensions, certificateExtensions } from './certificate-extensions.js'
import { commonValidity, isIssuedBy, MAX_CHAIN } from './certificate-paths.js'

/**
 * Critical extensions whose meaning is checked here or with the facts: keyUsage, subjectAltName, basicConstraints,
 * certificatePolicies (no policy is asked for), extendedKeyUsage. All others refuse, name constraints among them.
 */
const UNDERSTOOD = new Set(['2.5.29.15', '2.5.29.17', '2.5.29.19', '2.5.29.32', '2.5.29.37'])

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USAGE = '2.5.29.37.0'

/** What is known of a chain; dates are those that every certificate of it has in common. */
export type JudgedChain = Pick<CertificateFacts, 'chainError' | 'chain' | 'paths' | 'notBefore' | 'notAfter'>

/**
 * Verifies a certificate that no handshake of ours has seen, from the leaf up to a root of the bundle (RFC 5280 section 6.1):
 * signatures, basicConstraints with path length, purpose and critical extensions; keyUsage of the leaf is judged with its facts. Intermediates must be in the
 * bundle too: what a terminator could send besides the leaf is not read. Dates are not judged but returned, because a
 * verdict on them does not last.
 */
export function verifyChain(leaf: X509Certificate, authorities: readonly X509Certificate[]): JudgedChain {
  const path = [leaf]
  const chain: ChainLink[] = []
  for (let subject = leaf; ; ) {
    const authority = issuerOf(subject, authorities)
    if (authority === undefined)
      return judged(path, chain, 'no authority of the bundle issued it, up to a root')
    chain.push({ authority: fingerprintOf(authority), serial: subject.serialNumber })
    path.push(authority)
    if (isIssuedBy(authority, authority)) return judged(path, chain, problemOf(path))
    if (chain.length === MAX_CHAIN) return judged(path, chain, `a chain of more than ${MAX_CHAIN}`)
    subject = authority
  }
}

/** Of several certificates of one authority the one that is valid longest. */
function issuerOf(
  subject: X509Certificate,
  authorities: readonly X509Certificate[],
): X509Certificate | undefined {
  return authorities
    .filter(candidate => isIssuedBy(subject, candidate))
    .sort((a, b) => Date.parse(b.validTo) - Date.parse(a.validTo))[0]
}

function judged(
  path: readonly X509Certificate[],
  chain: readonly ChainLink[],
  chainError: string | null,
): JudgedChain {
  const validity = commonValidity(path)
  return { chainError, chain, paths: [validity], ...validity }
}

/** @param path leaf first, root last */
function problemOf(path: readonly X509Certificate[]): string | null {
  try {
    for (const [index, certificate] of path.entries()) {
      const extensions = certificateExtensions(certificate.raw)
      const unknown = extensions.critical.find(id => !UNDERSTOOD.has(id))
      if (unknown !== undefined) return `a critical extension that nobody here understands: ${unknown}`
      const problem = index === 0 ? null : problemOfAuthority(certificate, extensions, index - 1)
      if (problem !== null) return problem
      // A root is trusted for being in the bundle, not for its own signature.
      if (index < path.length - 1 && isWeaklySigned(certificate))
        return 'a weak signature (SHA-1 or worse) in the chain'
    }
    return null
  } catch {
    return 'a certificate of the chain is not in strict DER'
  }
}

/** @param below how many authorities stand between this one and the leaf */
function problemOfAuthority(
  certificate: X509Certificate,
  { pathLength }: CertificateExtensions,
  below: number,
): string | null {
  if (!certificate.ca) return 'an issuer in the chain is no authority'
  if (pathLength !== null && below > pathLength) return 'the chain is longer than an authority of it permits'
  // Node types keyUsage as always present; it is undefined without the extension. The values are the EKU OIDs.
  const usage = certificate.keyUsage as readonly string[] | undefined
  return usage === undefined || usage.includes(CLIENT_AUTH) || usage.includes(ANY_USAGE)
    ? null
    : 'an authority in the chain is not for client certificates'
}

function isWeaklySigned(certificate: X509Certificate): boolean {
  const { signatureHash } = certificateNames(certificate.raw)
  return signatureHash === 'sha1' || signatureHash === 'md5'
}
