import { X509Certificate } from 'node:crypto'

const BEGIN = '-----BEGIN '

/** A certificate with the PEM text it came from. */
export interface PemCertificate {
  readonly pem: string
  readonly certificate: X509Certificate
}

/** The certificates of a PEM file in their order, or what is wrong with it, in words that follow the file's name. */
export function readCertificates(file: Buffer): readonly PemCertificate[] | string {
  const found: PemCertificate[] = []
  const text = file.toString('latin1')
  for (let begin = text.indexOf(BEGIN); begin !== -1; begin = text.indexOf(BEGIN, begin + 1)) {
    const label =
      /^[A-Z0-9 ]{1,40}(?=-----)/.exec(text.slice(begin + BEGIN.length, begin + BEGIN.length + 50))?.[0] ?? ''
    const footer = `-----END ${label}-----`
    const end = text.indexOf(footer, begin)
    // A damaged block is not passed over: the bundle would silently be another.
    if (end === -1 || text.slice(begin + 1, end).includes(BEGIN)) return 'has a PEM block that does not end'
    if (label.endsWith('PRIVATE KEY')) return 'holds a private key, where only certificates belong'
    const pem = `${text.slice(begin, end)}${footer}\n`
    begin = end
    if (label !== 'CERTIFICATE') continue
    try {
      found.push({ pem, certificate: new X509Certificate(pem) })
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
