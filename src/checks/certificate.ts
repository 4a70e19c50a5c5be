import { Denial } from '../decision/denials.js'
import { type CertificateFacts, isWithin } from '../request/certificate-facts.js'
import type { ClientTrust } from './trust.js'

/** RFC 5280 section 4.2.1.12. */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USAGE = '2.5.29.37.0'

/** keyUsage, first octet: the only use that a TLS client makes of its key (RFC 8446 section 4.4.2.3, RFC 5280 section 4.2.1.3). */
const DIGITAL_SIGNATURE = 0x80

/** OpenSSL's words for dates; they get a code of their own because the remedy differs. */
const DATE_ERRORS = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'])

/**
 * May this certificate be trusted now? Null when it may. Judged on every request, because a connection outlives
 * dates, revocation lists and bundles.
 * @param now seconds since the epoch
 */
export function judgeCertificate(
  certificate: CertificateFacts,
  trust: ClientTrust,
  now: number,
): Denial | null {
  if (!isWithin(certificate, now))
    return new Denial(
      'certificate_expired',
      `valid ${iso(certificate.notBefore)} to ${iso(certificate.notAfter)}`,
    )
  if (certificate.keyWeakness !== null) return untrusted(certificate.keyWeakness)
  const usage = certificate.extendedKeyUsage
  if (usage !== null && !usage.includes(CLIENT_AUTH) && !usage.includes(ANY_USAGE))
    return untrusted('extended key usage without clientAuth')
  // OpenSSL is content with keyAgreement.
  if (certificate.keyUsage !== null && (certificate.keyUsage & DIGITAL_SIGNATURE) === 0)
    return untrusted('keyUsage without digitalSignature')
  if (trust.mode === 'possession') return null
  if (certificate.isAuthority) return untrusted('a CA certificate used as a client certificate')
  if (certificate.trustId !== trust.id)
    return untrusted('the CA bundle has changed since the handshake; reconnect')
  if (certificate.chainError !== null)
    return DATE_ERRORS.has(certificate.chainError)
      ? new Denial('certificate_expired', certificate.chainError)
      : untrusted(wordsFor(certificate.chainError))
  if (certificate.paths.length === 0) return untrusted('no way up to a root of the bundle')
  if (!certificate.paths.some(path => isWithin(path, now)))
    return new Denial('certificate_expired', 'an authority above it is outside its dates')
  return judgeRevocation(certificate, trust, now)
}

function judgeRevocation(certificate: CertificateFacts, trust: ClientTrust, now: number): Denial | null {
  if (trust.revocations === null) return null
  if (certificate.chain.length === 0)
    return untrusted('no authority of the bundle signed it, so no CRL covers it')
  for (const { authority, serial } of certificate.chain) {
    const list = trust.revocations.get(authority)
    if (list === undefined) return untrusted(`no CRL of the authority ${authority}`)
    if (list.serials.has(serial))
      return new Denial('certificate_revoked', `serial ${serial}`, { endsConnection: true })
    if (trust.onExpiredCrl === 'deny' && list.nextUpdate !== null && now >= list.nextUpdate)
      return untrusted(`the CRL of the authority ${authority} expired ${iso(list.nextUpdate)}`)
  }
  return null
}

/** OpenSSL has no name for what its security level refuses. */
function wordsFor(chainError: string): string {
  return chainError === 'UNSPECIFIED' ? 'a weak key or a SHA-1 signature in the chain' : chainError
}

function untrusted(detail: string): Denial {
  return new Denial('certificate_untrusted', detail)
}

function iso(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? 'an unreadable date' : date.toISOString()
}
