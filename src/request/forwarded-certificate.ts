import { createHash, X509Certificate } from 'node:crypto'
import { Denial, type Verdict } from '../decision/denials.js'
import { type RawHeaders, valuesOf } from './headers.js'

/** How a TLS terminator passes on the certificate of its client. */
export type TerminatorHeader = 'client-cert' | 'xfcc'

const FIELDS: Readonly<Record<TerminatorHeader, string>> = {
  'client-cert': 'client-cert',
  xfcc: 'x-forwarded-client-cert',
}

/** Characters of the field. A certificate has one to three kilobytes, and base64 or percent-encoding makes it longer. */
const MAX_LENGTH = 24 * 1024

/** RFC 8941 section 3.3.5, an Item without parameters: none is defined for this field. */
const BYTE_SEQUENCE = /^:([A-Za-z0-9+/]+={0,2}):$/
const PEM = /^-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\r?\n?$/

/**
 * The text in which a terminator passes on a certificate, null when it passes none on. Ask only for terminators that are
 * trusted: everybody can send the header. Two fields are one too many: the second may be the client's own.
 */
export function forwardedValue(headers: RawHeaders, header: TerminatorHeader): Verdict<string | null> {
  const values = valuesOf(headers, FIELDS[header])
  if (values.length > 1) return malformed(header, 'is there more than once')
  const value = values[0]
  if (value === undefined) return null
  return value.length <= MAX_LENGTH ? value : malformed(header, `is longer than ${MAX_LENGTH} characters`)
}

/** Reads that text. Nothing is repaired or passed over: a value with two readings may be the client's in part. */
export function readForwarded(value: string, header: TerminatorHeader): Verdict<X509Certificate> {
  return header === 'client-cert' ? readClientCert(value) : readXfcc(value)
}

/** RFC 9440 section 2.2. */
function readClientCert(value: string): Verdict<X509Certificate> {
  const base64 = BYTE_SEQUENCE.exec(value)?.[1]
  if (base64 === undefined) return malformed('client-cert', 'is no byte sequence')
  return certificateOf(base64) ?? malformed('client-cert', 'is no certificate in DER')
}

/** What Envoy documents for x-forwarded-client-cert; URI and DNS may occur more than once. */
const XFCC_KEYS = new Set(['by', 'hash', 'cert', 'chain', 'subject', 'uri', 'dns'])
const REPEATABLE = new Set(['by', 'uri', 'dns'])
const XFCC_PAIR = /^([A-Za-z]+)=("(?:[^"\\]|\\["\\])*"|[^",;=]*)(;|$)/

/** One element with the certificate itself; more elements would be those of proxies before, which a client can make up. */
function readXfcc(value: string): Verdict<X509Certificate> {
  const found = new Map<string, string>()
  let rest = value
  while (rest !== '') {
    const [pair, key = '', quoted = '', end] = XFCC_PAIR.exec(rest) ?? []
    if (pair === undefined) return malformed('xfcc', 'is not one list of keys and values')
    const name = key.toLowerCase()
    if (!XFCC_KEYS.has(name)) return malformed('xfcc', 'has an unknown key')
    if (found.has(name) && !REPEATABLE.has(name)) return malformed('xfcc', `has ${name} more than once`)
    found.set(name, quoted.startsWith('"') ? quoted.slice(1, -1) : quoted)
    rest = rest.slice(pair.length)
    if (rest === '' && end === ';') return malformed('xfcc', 'ends in the middle')
  }
  const base64 = PEM.exec(percentDecoded(found.get('cert') ?? ''))?.[1]
  if (base64 === undefined) return malformed('xfcc', 'has no certificate in Cert')
  const certificate = certificateOf(base64.replace(/\r?\n/g, ''))
  if (certificate === null) return malformed('xfcc', 'has a Cert that is no certificate in DER')
  const hash = found.get('hash')
  if (hash !== undefined && hash.toLowerCase() !== hexDigest(certificate.raw))
    return malformed('xfcc', 'has a Hash of another certificate')
  return certificate
}

/** Null unless the text is the one base64 of one DER certificate, with nothing after it. */
function certificateOf(base64: string): X509Certificate | null {
  const der = Buffer.from(base64, 'base64')
  if (der.toString('base64') !== base64) return null
  try {
    const certificate = new X509Certificate(der)
    // The constructor takes PEM as well, and bytes after the certificate.
    return certificate.raw.equals(der) ? certificate : null
  } catch {
    return null
  }
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

function hexDigest(der: Buffer): string {
  return createHash('sha256').update(der).digest('hex')
}

function malformed(header: TerminatorHeader, what: string): Denial {
  return new Denial('request_malformed', `${FIELDS[header]} of a trusted terminator ${what}`)
}
