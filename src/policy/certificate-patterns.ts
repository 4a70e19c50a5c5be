import type { CertificateFacts } from '../request/certificate-facts.js'

/** The parts of a client certificate that a policy can name. */
export const CERTIFICATE_FIELDS = [
  'subject',
  'issuer',
  'commonName',
  'dns',
  'uri',
  'email',
  'spki',
  'x5t#S256',
] as const

export type CertificateField = (typeof CERTIFICATE_FIELDS)[number]

/** Fields that hold what nobody can write into a certificate of his own: digests of the key or of the whole. */
export const PINS: ReadonlySet<CertificateField> = new Set<CertificateField>(['spki', 'x5t#S256'])

/** Stands for the client id of the token, where a pattern is one for many clients. Data like the rest of a policy: copies of it count. */
export const CLIENT_ID = { of: 'token' } as const

/** Every part that is named must be so; a part with several values, when one of them is. */
export type CertificatePattern = readonly {
  readonly field: CertificateField
  readonly is: string | typeof CLIENT_ID
}[]

/** The values that a certificate has for a part: none, one or (subjectAltName) several. */
export function certificateValues(certificate: CertificateFacts, field: CertificateField): readonly string[] {
  const { names } = certificate
  switch (field) {
    case 'subject':
    case 'issuer':
    case 'commonName': {
      const value = names[field]
      return value === null ? [] : [value]
    }
    case 'dns':
    case 'uri':
    case 'email':
      return names[field]
    case 'spki':
      return [certificate.spki]
    case 'x5t#S256':
      return [certificate.thumbprint]
  }
}

/** Whether the certificate fits one of the patterns. `clientId` is that of the token; null where none is known. */
export function fitsOneOf(
  patterns: readonly CertificatePattern[],
  certificate: CertificateFacts,
  clientId: string | null,
): boolean {
  return patterns.some(pattern =>
    pattern.every(({ field, is }) => {
      const wanted = typeof is === 'string' ? is : clientId
      return wanted !== null && certificateValues(certificate, field).includes(wanted)
    }),
  )
}
