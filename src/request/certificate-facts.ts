import { createHash, type X509Certificate } from 'node:crypto'
import { type CertificateNames, certificateNames } from './certificate-names.js'

/** One link of a verified chain: a certificate's serial number and the authority of the bundle that signed it. */
export interface ChainLink {
  /** Fingerprint of the authority: upper-case hex SHA-256 of its DER. */
  readonly authority: string
  /** Upper-case hex, as in `X509Certificate.serialNumber`. */
  readonly serial: string
}

/** A time in which something counts, in seconds since the epoch. */
export interface Validity {
  readonly notBefore: number
  readonly notAfter: number
}

/** Written so that unreadable dates (NaN) are no time. */
export function isWithin({ notBefore, notAfter }: Validity, now: number): boolean {
  return now >= notBefore && now < notAfter
}

/** When a certificate that counts now will no longer: its own end, or that of the last way up. Seconds since the epoch. */
export function endOfValidity({ notAfter, paths }: CertificateFacts, now: number): number {
  const ends = paths.filter(path => isWithin(path, now)).map(path => path.notAfter)
  return Math.min(notAfter, Math.max(...ends))
}

/** What is known of the certificate that a client proved to hold in the TLS handshake. */
export interface CertificateFacts {
  /** RFC 8705 `x5t#S256`: base64url SHA-256 of the DER. */
  readonly thumbprint: string
  readonly subject: string
  readonly names: CertificateNames
  /** base64 SHA-256 of the SubjectPublicKeyInfo: it outlives the renewal of a certificate that keeps its key (RFC 7469 section 2.4). */
  readonly spki: string
  /** DER, for RFC 9440 Client-Cert. */
  readonly der: Buffer
  /** Seconds since the epoch. */
  readonly notBefore: number
  /** Seconds since the epoch. */
  readonly notAfter: number
  /** What it has in common with the authorities above it, for each way up to a root: one that holds will do. Empty: nobody knows one. */
  readonly paths: readonly Validity[]
  readonly isAuthority: boolean
  /** Extended key usage OIDs; null when the extension is absent, which permits every use (RFC 5280 section 4.2.1.12). */
  readonly extendedKeyUsage: readonly string[] | null
  /** First octet of keyUsage, highest bit first (RFC 5280 section 4.2.1.3); null when absent, which permits every use. */
  readonly keyUsage: number | null
  /** Why the key is too weak to be trusted, or null. */
  readonly keyWeakness: string | null
  /** OpenSSL's verification error at the handshake, such as `CERT_HAS_EXPIRED`; null when the chain verified. */
  readonly chainError: string | null
  /** Identity of the trust bundle that judged the chain; after a reload with another bundle the verdict is stale. */
  readonly trustId: string
  /** The links of the chain that the bundle covers, from the leaf upwards; for revocation. */
  readonly chain: readonly ChainLink[]
}

const CURVES = new Set(['prime256v1', 'secp384r1', 'secp521r1'])

/** RFC 9325 section 4.5 and FAPI 2.0 section 5.4.1: RSA of 2048 bits, EC of 224 bits (here the NIST curves from P-256), Edwards curves. */
export function keyWeakness(certificate: X509Certificate): string | null {
  const key = certificate.publicKey
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
  const curve = key.asymmetricKeyDetails?.namedCurve ?? ''
  switch (key.asymmetricKeyType) {
    case 'rsa':
    case 'rsa-pss':
      return bits >= 2048 ? null : `RSA key of ${bits} bits`
    case 'ec':
      return CURVES.has(curve) ? null : `EC key on ${curve || 'an unnamed curve'}`
    case 'ed25519':
    case 'ed448':
      return null
    default:
      return `key of type ${key.asymmetricKeyType ?? 'unknown'}`
  }
}

/** As in `ChainLink.authority`. */
export function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '')
}

/** RFC 8705 section 3.1: base64url without padding. */
export function thumbprintOf(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('base64url')
}

/** Reads a certificate once per connection. `chainError`, `trustId` and `chain` are what the TLS layer and the bundle say; `keyUsage` is read from its DER. */
export function certificateFacts(
  certificate: X509Certificate,
  judged: Pick<CertificateFacts, 'chainError' | 'trustId' | 'chain' | 'paths' | 'keyUsage'>,
): CertificateFacts {
  // Node types keyUsage as always present; it is undefined without the extension. The values are the EKU OIDs.
  const usage = certificate.keyUsage as readonly string[] | undefined
  return {
    thumbprint: thumbprintOf(certificate.raw),
    subject: certificate.subject,
    names: certificateNames(certificate),
    spki: createHash('sha256')
      .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64'),
    der: certificate.raw,
    notBefore: Date.parse(certificate.validFrom) / 1000,
    notAfter: Date.parse(certificate.validTo) / 1000,
    isAuthority: certificate.ca,
    extendedKeyUsage: usage ?? null,
    keyWeakness: keyWeakness(certificate),
    ...judged,
  }
}
