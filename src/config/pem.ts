import { X509Certificate } from 'node:crypto'

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g

/** A certificate with the PEM text it came from. */
export interface PemCertificate {
  readonly pem: string
  readonly certificate: X509Certificate
}

/** The certificates of a PEM file in their order, or what is wrong with it, in words that follow the file's name. */
export function readCertificates(file: Buffer): readonly PemCertificate[] | string {
  const found: PemCertificate[] = []
  const text = file.toString('latin1')
  const blocks = [...text.matchAll(BLOCK)]
  // A damaged block is not passed over: the bundle would silently be another.
  if (blocks.length !== (text.match(/-----BEGIN /g)?.length ?? 0)) return 'has a PEM block that does not end'
  for (const [pem, label] of blocks) {
    if (label?.endsWith('PRIVATE KEY')) return 'holds a private key, where only certificates belong'
    if (label !== 'CERTIFICATE') continue
    try {
      found.push({ pem: `${pem}\n`, certificate: new X509Certificate(pem) })
    } catch {
      return `has a certificate (number ${found.length + 1}) that cannot be read`
    }
  }
  return found.length === 0 ? 'has no certificate in PEM form (-----BEGIN CERTIFICATE-----)' : found
}

/** Seconds since the epoch. */
export function notAfterOf(certificate: X509Certificate): number {
  return Date.parse(certificate.validTo) / 1000
}

/** The common name, or else the whole subject in one line, for messages. */
export function subjectOf(certificate: X509Certificate): string {
  const names = (certificate.subject ?? '').split('\n')
  return names.find(name => name.startsWith('CN='))?.slice(3) ?? names.join(', ')
}

/** DNS names of subjectAltName in lower case. */
export function dnsNamesOf(certificate: X509Certificate): readonly string[] {
  // Node puts names that hold commas or quotes into quotes; no host has such a name.
  const plain = (certificate.subjectAltName ?? '').replace(/"(?:[^"\\]|\\.)*"/g, '')
  return [...plain.matchAll(/(?:^|, )DNS:([^,\s]+)/g)].map(match => (match[1] as string).toLowerCase())
}
