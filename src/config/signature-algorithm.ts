import { constants, type KeyObject, verify } from 'node:crypto'
import { constructed, type DerReader, TAG } from './der.js'

// Signature algorithms of certificates and revocation lists, as their DER names them.

/** The hash a signature is made with. Ed25519 counts as `sha512` (RFC 8032 §5.1), its hash inside. */
export type SignatureHash = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'other'

/** The algorithm of a signature, read from an AlgorithmIdentifier. */
export interface SignatureAlgorithm {
  readonly scheme: 'rsa' | 'rsa-pss' | 'ec' | 'ed25519' | 'other'
  readonly hash: SignatureHash
  /** RSA-PSS only, in bytes. */
  readonly saltLength: number
}

const algorithm = (scheme: SignatureAlgorithm['scheme'], hash: SignatureHash): SignatureAlgorithm => ({
  scheme,
  hash,
  saltLength: 0,
})

// RFC 3279 §2.2, RFC 4055 §5, RFC 5758 §3, RFC 8410 §3. DSA is here for its hash only.
const SIGNATURE_ALGORITHMS = new Map<string, SignatureAlgorithm>([
  ['1.2.840.113549.1.1.4', algorithm('rsa', 'md5')],
  ['1.2.840.113549.1.1.5', algorithm('rsa', 'sha1')],
  ['1.2.840.113549.1.1.14', algorithm('rsa', 'sha224')],
  ['1.2.840.113549.1.1.11', algorithm('rsa', 'sha256')],
  ['1.2.840.113549.1.1.12', algorithm('rsa', 'sha384')],
  ['1.2.840.113549.1.1.13', algorithm('rsa', 'sha512')],
  ['1.2.840.10045.4.1', algorithm('ec', 'sha1')],
  ['1.2.840.10045.4.3.1', algorithm('ec', 'sha224')],
  ['1.2.840.10045.4.3.2', algorithm('ec', 'sha256')],
  ['1.2.840.10045.4.3.3', algorithm('ec', 'sha384')],
  ['1.2.840.10045.4.3.4', algorithm('ec', 'sha512')],
  ['1.2.840.10040.4.3', algorithm('other', 'sha1')],
  ['2.16.840.1.101.3.4.3.2', algorithm('other', 'sha256')],
  ['1.3.101.112', algorithm('ed25519', 'sha512')],
])

const RSASSA_PSS = '1.2.840.113549.1.1.10'
const MGF1 = '1.2.840.113549.1.1.8'

const HASHES = new Map<string, SignatureHash>([
  ['1.2.840.113549.2.5', 'md5'],
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.4', 'sha224'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
])

/** Reads an AlgorithmIdentifier; `encoded` is its DER. Throws for malformed parameters. */
export function readAlgorithm(
  reader: DerReader,
  what: string,
): { signature: SignatureAlgorithm; encoded: Buffer } {
  const offset = reader.offset
  const identifier = reader.enter(TAG.sequence, what)
  const id = identifier.oid(what)
  const known = SIGNATURE_ALGORITHMS.get(id)
  let signature = known ?? algorithm('other', 'other')
  if (id === RSASSA_PSS) signature = readPssParameters(identifier)
  else if (known !== undefined) readNoParameters(identifier, what)
  else if (!identifier.done) identifier.skip(what)
  identifier.close(what)
  return { signature, encoded: reader.since(offset) }
}

/** RFC 4055 §3.1; what is absent has the default, SHA-1 and 20 bytes of salt. */
function readPssParameters(identifier: DerReader): SignatureAlgorithm {
  const what = 'RSASSA-PSS parameters'
  const parameters = identifier.enter(TAG.sequence, what)
  let hash: SignatureHash = 'sha1'
  let maskHash: SignatureHash = 'sha1'
  let saltLength = 20
  if (parameters.peek() === constructed(0)) {
    const wrapper = parameters.enter(constructed(0), what)
    hash = readHash(wrapper, what)
    wrapper.close(what)
  }
  if (parameters.peek() === constructed(1)) {
    const wrapper = parameters.enter(constructed(1), what)
    const mask = wrapper.enter(TAG.sequence, what)
    wrapper.close(what)
    if (mask.oid(what) !== MGF1) mask.fail(`${what}: mask generation function other than MGF1`)
    maskHash = readHash(mask, what)
    mask.close(what)
  }
  if (parameters.peek() === constructed(2)) {
    const wrapper = parameters.enter(constructed(2), what)
    saltLength = wrapper.smallInteger(what)
    wrapper.close(what)
  }
  // The one trailer field there is, is the default, which DER leaves out (X.690 §11.5).
  parameters.close(what)
  // node:crypto takes the mask hash from the hash, as every known issuer does.
  return { scheme: hash === maskHash ? 'rsa-pss' : 'other', hash, saltLength }
}

function readHash(reader: DerReader, what: string): SignatureHash {
  const identifier = reader.enter(TAG.sequence, what)
  const hash = HASHES.get(identifier.oid(what)) ?? 'other'
  readNoParameters(identifier, what)
  identifier.close(what)
  return hash
}

/** Parameters are NULL or absent, and which of the two differs between issuers (RFC 4055 §2.1, §5). */
function readNoParameters(identifier: DerReader, what: string): void {
  if (!identifier.done && identifier.content(TAG.null, what).length > 0)
    identifier.fail(`${what}: NULL with content`)
}

/** RFC 5280 §5.1.1.2: the unsigned copy outside must not say anything else than the signed one. */
export function requireSameAlgorithm(reader: DerReader, signedAlgorithm: Buffer): void {
  const offset = reader.offset
  reader.content(TAG.sequence, 'signatureAlgorithm')
  if (!reader.since(offset).equals(signedAlgorithm)) {
    reader.fail('signatureAlgorithm differs from the algorithm that is signed', offset)
  }
}

/** Whether `key` made the signature over `signed`. False for a key of another type. */
export function verifySignature(
  by: SignatureAlgorithm,
  key: KeyObject,
  signed: Buffer,
  signature: Buffer,
): boolean {
  const type = key.asymmetricKeyType
  switch (by.scheme) {
    case 'rsa':
      return type === 'rsa' && verify(by.hash, signed, key, signature)
    case 'rsa-pss': {
      const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: by.saltLength }
      return (type === 'rsa' || type === 'rsa-pss') && verify(by.hash, signed, pss, signature)
    }
    case 'ec':
      return type === 'ec' && verify(by.hash, signed, key, signature)
    case 'ed25519':
      return type === 'ed25519' && verify(null, signed, key, signature)
    case 'other':
      return false
  }
}
