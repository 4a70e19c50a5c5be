import type { X509Certificate } from 'node:crypto'
import { constructed, DerReader, primitive, TAG } from './der.js'
import {
  readAlgorithm,
  requireSameAlgorithm,
  type SignatureHash,
  verifySignature,
} from './signature-algorithm.js'

// Certificate revocation lists are read here, by hand, because `node:crypto` and node-forge have no reader for them and the
// decorator-based ASN.1 libraries build objects for every field: too slow for the 100,000 entries of a large authority.

/** A verified-in-form, not yet trusted list: ask `isSignedBy` before using it. */
export interface RevocationList {
  /** Hex of the DER of the issuer Name, byte for byte, as in `CertificateFields.issuer`. */
  readonly issuer: string
  /** Seconds since the epoch. */
  readonly thisUpdate: number
  /** Seconds since the epoch; null when the list does not say. */
  readonly nextUpdate: number | null
  /** Serial numbers in the form of `X509Certificate.serialNumber`. */
  readonly revoked: ReadonlySet<string>
  /**
   * Whether this authority issued the list: the Name is its subject, its keyUsage (when present) has cRLSign, and its key
   * made the signature (RFC 5280 §6.3.3 (f) and (g)).
   */
  readonly isSignedBy: (issuer: X509Certificate) => boolean
}

/** What `X509Certificate` does not tell, or tells in a form that cannot be compared. */
export interface CertificateFields {
  /** In the form of `X509Certificate.serialNumber`. */
  readonly serial: string
  /** Hex of the DER of the issuer Name. */
  readonly issuer: string
  /** Hex of the DER of the subject Name. */
  readonly subject: string
  readonly signatureHash: SignatureHash
  /** Whether keyUsage is absent or has cRLSign (RFC 5280 §4.2.1.3). */
  readonly maySignLists: boolean
}

/** Broken or too short for a signature that decides over access: a forged list could clear a revoked certificate. */
const STRONG_HASHES: ReadonlySet<SignatureHash> = new Set(['sha256', 'sha384', 'sha512'])

const KEY_USAGE = '2.5.29.15'
const CRL_NUMBER = '2.5.29.20'
const REASON_CODE = '2.5.29.21'
const INVALIDITY_DATE = '2.5.29.24'
const DELTA_CRL_INDICATOR = '2.5.29.27'
const ISSUING_DISTRIBUTION_POINT = '2.5.29.28'
const CERTIFICATE_ISSUER = '2.5.29.29'
const AUTHORITY_KEY_IDENTIFIER = '2.5.29.35'

/** CRLReason, RFC 5280 §5.3.1. */
const REMOVE_FROM_CRL = 8

/** keyUsage bit 6 in the first byte of the BIT STRING. */
const CRL_SIGN = 0x02

const PEM_BEGIN = '-----BEGIN '

/** Far above any real list of extensions; keeps the search for duplicates from growing with the square of the input. */
const MAX_EXTENSIONS = 64

/**
 * Reads the revocation lists of a file: one or more PEM blocks `X509 CRL` (or `CRL`), or one list in DER.
 *
 * Whatever could make a revoked certificate look good is refused rather than guessed at: delta lists, lists that cover a part
 * of the certificates only, critical extensions nobody here understands, and signatures with SHA-1 or weaker.
 *
 * @throws {Error} saying what is wrong, and at which byte
 */
export function parseCrlFile(text: Buffer): RevocationList[] {
  if (text[0] === TAG.sequence && !text.includes(PEM_BEGIN)) return [parseCrl(text)]
  return pemBlocks(text).map(({ der, offset }, index) => {
    try {
      return parseCrl(der)
    } catch (error) {
      const { message } = error as Error
      throw new Error(`PEM block ${index + 1} (from byte ${offset}): ${message} of its DER`)
    }
  })
}

/**
 * Reads the names, serial number and signature hash of a certificate in DER.
 *
 * @throws {Error} when the certificate is not in strict DER: treat such a certificate as refused
 */
export function certificateNames(der: Buffer): CertificateFields {
  const file = new DerReader(der)
  const certificate = file.enter(TAG.sequence, 'Certificate')
  file.close('Certificate')
  const tbs = certificate.enter(TAG.sequence, 'tbsCertificate')
  if (tbs.peek() === constructed(0)) tbs.skip('version')
  const serial = tbs.integer('serialNumber')
  const { signature, encoded } = readAlgorithm(tbs, 'signature')
  const issuer = readName(tbs, 'issuer')
  tbs.content(TAG.sequence, 'validity')
  const subject = readName(tbs, 'subject')
  tbs.content(TAG.sequence, 'subjectPublicKeyInfo')
  if (tbs.peek() === primitive(1)) tbs.skip('issuerUniqueID')
  if (tbs.peek() === primitive(2)) tbs.skip('subjectUniqueID')
  let maySignLists = true
  if (!tbs.done) {
    readWrappedExtensions(tbs, 3, 'extensions', ({ id, value }) => {
      if (id !== KEY_USAGE) return
      const bits = value.content(TAG.bitString, 'keyUsage')
      maySignLists = ((bits[1] ?? 0) & CRL_SIGN) !== 0
    })
  }
  tbs.close('tbsCertificate')
  requireSameAlgorithm(certificate, encoded)
  certificate.wholeBitString('signatureValue')
  certificate.close('Certificate')
  return { serial, issuer, subject, signatureHash: signature.hash, maySignLists }
}

function parseCrl(der: Buffer): RevocationList {
  const file = new DerReader(der)
  const list = file.enter(TAG.sequence, 'CertificateList')
  file.close('CertificateList')

  const tbsOffset = list.offset
  const tbs = list.enter(TAG.sequence, 'tbsCertList')
  const signed = list.since(tbsOffset)

  const isVersion2 = tbs.peek() === TAG.integer
  if (isVersion2 && tbs.smallInteger('version') !== 1) tbs.fail('version is not v2')
  const { signature, encoded } = readAlgorithm(tbs, 'signature')
  const issuer = readName(tbs, 'issuer')
  const thisUpdate = tbs.time('thisUpdate')
  const hasNextUpdate = tbs.peek() === TAG.utcTime || tbs.peek() === TAG.generalizedTime
  const nextUpdate = hasNextUpdate ? tbs.time('nextUpdate') : null
  if (nextUpdate !== null && nextUpdate < thisUpdate) tbs.fail('nextUpdate lies before thisUpdate')
  const revoked = tbs.peek() === TAG.sequence ? readEntries(tbs, isVersion2) : new Set<string>()
  if (!tbs.done) {
    if (!isVersion2) tbs.fail('a version 1 list has extensions')
    readWrappedExtensions(tbs, 0, 'crlExtensions', refuseUnlessComplete)
  }
  tbs.close('tbsCertList')

  requireSameAlgorithm(list, encoded)
  if (signature.scheme === 'other' || !STRONG_HASHES.has(signature.hash)) {
    const hash = signature.hash === 'other' ? '' : ` with ${signature.hash.toUpperCase()}`
    list.fail(`signatureAlgorithm: a signature${hash} of this kind is not accepted`)
  }
  const signatureValue = list.wholeBitString('signatureValue')
  list.close('CertificateList')

  const isSignedBy = (authority: X509Certificate): boolean => {
    try {
      const { subject, maySignLists } = certificateNames(authority.raw)
      return (
        subject === issuer &&
        maySignLists &&
        verifySignature(signature, authority.publicKey, signed, signatureValue)
      )
    } catch {
      // An authority whose certificate or key cannot be read has signed nothing that can be relied on.
      return false
    }
  }
  return { issuer, thisUpdate, nextUpdate, revoked, isSignedBy }
}

function readEntries(tbs: DerReader, isVersion2: boolean): Set<string> {
  const revoked = new Set<string>()
  const entries = tbs.enter(TAG.sequence, 'revokedCertificates')
  while (!entries.done) {
    const entry = entries.enter(TAG.sequence, 'entry of revokedCertificates')
    revoked.add(entry.integer('userCertificate'))
    entry.time('revocationDate')
    if (entry.done) continue
    if (!isVersion2) entry.fail('an entry of a version 1 list has extensions')
    readExtensions(entry, 'crlEntryExtensions', refuseUnlessPlainEntry)
    entry.close('entry of revokedCertificates')
  }
  return revoked
}

interface Extension {
  readonly id: string
  readonly critical: boolean
  readonly value: DerReader
}

/** RFC 5280 §5.3. Every entry revokes, whatever its reason and its dates: they need no reading but this one. */
function refuseUnlessPlainEntry({ id, critical, value }: Extension): void {
  if (id === REASON_CODE) {
    const reason = value.smallInteger('reasonCode', TAG.enumerated)
    value.close('reasonCode')
    if (reason === REMOVE_FROM_CRL) value.fail('reasonCode removeFromCRL belongs in delta lists only')
  } else if (id === CERTIFICATE_ISSUER) {
    value.fail('certificateIssuer: indirect lists are not supported')
  } else if (critical && id !== INVALIDITY_DATE) {
    value.fail(`unknown critical extension ${id} of an entry`)
  }
}

/** RFC 5280 §5.2: a list that is not the complete one of its issuer would clear the certificates it leaves out. */
function refuseUnlessComplete({ id, critical, value }: Extension): void {
  if (id === DELTA_CRL_INDICATOR)
    value.fail('deltaCRLIndicator: delta lists are not supported, give the complete list')
  if (id === ISSUING_DISTRIBUTION_POINT) {
    value.fail(`issuingDistributionPoint: ${partitionReason(value)}; give the complete list of the issuer`)
  }
  if (critical && id !== CRL_NUMBER && id !== AUTHORITY_KEY_IDENTIFIER)
    value.fail(`unknown critical extension ${id}`)
}

/** IssuingDistributionPoint (RFC 5280 §5.2.5) only ever narrows a list; this says how. */
function partitionReason(value: DerReader): string {
  const point = value.enter(TAG.sequence, 'issuingDistributionPoint')
  if (point.peek() === constructed(0)) point.skip('distributionPoint')
  const only = [
    'the list covers user certificates only',
    'the list covers CA certificates only',
    'the list covers some reasons only',
    'indirect lists are not supported',
    'the list covers attribute certificates only',
  ]
  for (const [index, reason] of only.entries()) if (point.peek() === primitive(index + 1)) return reason
  return 'the list covers one distribution point only'
}

function readWrappedExtensions(
  reader: DerReader,
  number: number,
  what: string,
  visit: (extension: Extension) => void,
): void {
  const wrapper = reader.enter(constructed(number), what)
  readExtensions(wrapper, what, visit)
  wrapper.close(what)
}

function readExtensions(reader: DerReader, what: string, visit: (extension: Extension) => void): void {
  const extensions = reader.enter(TAG.sequence, what)
  const seen: string[] = []
  while (!extensions.done) {
    const extension = extensions.enter(TAG.sequence, what)
    const id = extension.oid(what)
    const critical = extension.peek() === TAG.boolean && extension.boolean(what)
    const value = extension.enter(TAG.octetString, what)
    extension.close(what)
    if (seen.includes(id)) extension.fail(`${what}: extension ${id} appears twice`)
    if (seen.push(id) > MAX_EXTENSIONS) extension.fail(`${what}: more than ${MAX_EXTENSIONS} extensions`)
    visit({ id, critical, value })
  }
}

/** Name ::= SEQUENCE OF SET OF SEQUENCE { type, value } (RFC 5280 §4.1.2.4), as hex. */
function readName(reader: DerReader, what: string): string {
  const offset = reader.offset
  const name = reader.enter(TAG.sequence, what)
  while (!name.done) {
    const relative = name.enter(TAG.set, what)
    do {
      const attribute = relative.enter(TAG.sequence, what)
      attribute.oid(what)
      attribute.skip(what)
      attribute.close(what)
    } while (!relative.done)
  }
  return reader.since(offset).toString('hex')
}

/**
 * The PEM blocks of a file (RFC 7468). Text between blocks is allowed, as `openssl crl -text` writes it, but nothing that
 * looks like a damaged boundary: a block passed over would clear the certificates it revokes.
 */
function pemBlocks(file: Buffer): { der: Buffer; offset: number }[] {
  const text = file.toString('latin1')
  const blocks: { der: Buffer; offset: number }[] = []
  let at = 0
  for (;;) {
    const begin = text.indexOf(PEM_BEGIN, at)
    const stray = text.slice(at, begin === -1 ? text.length : begin).indexOf('-----')
    if (stray !== -1) throw new Error(`unexpected "-----" at byte ${at + stray}`)
    if (begin === -1) break
    const labelEnd = text.indexOf('-----', begin + PEM_BEGIN.length)
    const label = labelEnd === -1 ? '' : text.slice(begin + PEM_BEGIN.length, labelEnd)
    if (label !== 'X509 CRL' && label !== 'CRL') {
      throw new Error(
        `expected a PEM block "X509 CRL" at byte ${begin}, found ${JSON.stringify(label.slice(0, 40))}`,
      )
    }
    const footer = `-----END ${label}-----`
    const end = text.indexOf(footer, labelEnd + 5)
    if (end === -1) throw new Error(`the PEM block at byte ${begin} has no line "${footer}"`)
    const body = text.slice(labelEnd + 5, end).replace(/[\t\n\r ]+/g, '')
    const der = Buffer.from(body, 'base64')
    // Buffer.from skips what is not base64; encoding again shows whether there was any.
    if (der.toString('base64') !== body) throw new Error(`the PEM block at byte ${begin} is not valid base64`)
    blocks.push({ der, offset: begin })
    at = end + footer.length
  }
  if (blocks.length === 0)
    throw new Error('no revocation list: neither DER nor a PEM block "X509 CRL" from byte 0')
  return blocks
}
