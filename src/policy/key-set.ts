import { createPublicKey, hash, type JsonWebKey, type KeyObject } from 'node:crypto'
import { KEY_KIND_OF_ALGORITHM } from './algorithms.js'
import { excerpt } from './excerpt.js'
import { type JsonObject, JsonProblem, readJsonObject } from './strict-json.js'

/** A public key of an issuer that passed every check of this file. */
export interface VerificationKey {
  readonly kid: string | null
  /** The one algorithm the issuer uses it for (RFC 7517 section 4.4), or null. */
  readonly alg: string | null
  readonly kty: string
  /** null for RSA. */
  readonly crv: string | null
  readonly key: KeyObject
}

/** The keys of one issuer at one time. */
export interface KeySet {
  readonly keys: readonly VerificationKey[]
  /** Why other members of the set are not used, one sentence a key, for the operator. */
  readonly ignored: readonly string[]
  /** Of those, the keys that nobody should publish, by their number in the set; keys for other uses are none. */
  readonly faulty: readonly { readonly number: number; readonly reason: string }[]
  /** Equal exactly when the usable keys are, whatever their order. */
  readonly fingerprint: string
}

/** Why a key is not used. It never repeats a value: a key that landed here by mistake may be a private one. */
export class KeyFault {
  readonly reason: string
  /** Issuers publish keys of other uses in the same set, for encryption above all; that is no mistake. */
  readonly isForOtherUse: boolean

  constructor(reason: string, isForOtherUse = false) {
    this.reason = reason
    this.isForOtherUse = isForOtherUse
  }
}

/** What a token says of its key. */
export interface KeyHint {
  readonly alg: string
  /** null: the token names no key. */
  readonly kid: string | null
}

/** Longer key ids are refused (RFC 8725 section 3.10: kid is input of the sender). */
export const MAX_KID_LENGTH = 256
/** No issuer needs more; the rest is ignored, and said so. */
const MAX_KEYS = 100
/** Signatures tried for one token: with the same kid, or with no kid at all. */
const MAX_CANDIDATES = 8
const MIN_RSA_BITS = 2048
/** Beyond it a verification costs milliseconds. */
const MAX_RSA_BITS = 8192
const CURVES: readonly unknown[] = ['P-256', 'P-384', 'P-521']
/** RFC 7518 sections 6.2.2, 6.3.2 and 6.4. */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']

/**
 * Reads a JWK set (RFC 7517 section 5). A key that cannot be used or should not be trusted is left out and named in `ignored`;
 * the others serve. Returns null when the document is no JWK set. Pure.
 */
export function readKeySet(document: JsonObject): KeySet | null {
  if (!Array.isArray(document.keys)) return null
  const keys: VerificationKey[] = []
  const ignored: string[] = []
  const faulty: { number: number; reason: string }[] = []
  const members: unknown[] = document.keys
  for (const [index, jwk] of members.slice(0, MAX_KEYS).entries()) {
    const key = readKey(jwk)
    if (!(key instanceof KeyFault)) {
      keys.push(key)
      continue
    }
    ignored.push(`key ${nameOf(jwk, index)}: ${key.reason}`)
    if (!key.isForOtherUse) faulty.push({ number: index + 1, reason: key.reason })
  }
  if (members.length > MAX_KEYS)
    ignored.push(`${members.length - MAX_KEYS} keys beyond the first ${MAX_KEYS}`)
  return { keys, ignored, faulty, fingerprint: fingerprintOf(keys) }
}

/** The text of a JWK set with at least one usable key, or why it is none, in words that follow the name of its source. */
export function readKeySetText(text: string): KeySet | string {
  const document = readJsonObject(Buffer.from(text))
  if (document instanceof JsonProblem) return `cannot be read: ${document.detail}`
  const set = readKeySet(document)
  if (set === null) return 'is no JWK set: it has no list "keys"'
  return set.keys.length > 0 ? set : ['has no usable key', ...set.ignored].join('; ')
}

/**
 * The keys that may have signed a token with this header, at most 8: same kid (which may occur twice, RFC 7517
 * section 4.5), the kind of key that `alg` needs, and `alg` of the key, if set, the same.
 */
export function selectKeys({ keys }: KeySet, { alg, kid }: KeyHint): readonly VerificationKey[] {
  const kind = KEY_KIND_OF_ALGORITHM.get(alg)
  if (kind === undefined) return []
  return keys
    .filter(
      key =>
        (kid === null || key.kid === kid) &&
        key.kty === kind.kty &&
        key.crv === kind.crv &&
        (key.alg === null || key.alg === alg),
    )
    .slice(0, MAX_CANDIDATES)
}

/** One public JWK (RFC 7517 section 4): the key, or why it cannot be used or should not be trusted. Pure. */
export function readKey(jwk: unknown): VerificationKey | KeyFault {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) return new KeyFault('not an object')
  const { kty, kid = null, alg = null, use, key_ops: operations } = jwk as JsonObject
  if (kty === 'oct' || SECRET_MEMBERS.some(member => Object.hasOwn(jwk, member)))
    return new KeyFault('holds a secret, which has no place in a public set')
  if (kid !== null && (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH))
    return new KeyFault('kid is no short string')
  if (use !== undefined && use !== 'sig') return new KeyFault('use is not sig', true)
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return new KeyFault('key_ops has no verify', true)
  if (alg !== null && (typeof alg !== 'string' || !KEY_KIND_OF_ALGORITHM.has(alg)))
    return new KeyFault('alg is no signature algorithm for tokens', true)
  const found = publicKeyOf(jwk as JsonObject)
  return typeof found === 'string' ? new KeyFault(found) : { kid, alg, ...found }
}

function publicKeyOf(jwk: JsonObject): Pick<VerificationKey, 'kty' | 'crv' | 'key'> | string {
  const { kty, crv, n, e, x, y } = jwk
  if (kty === 'RSA') {
    const key = importKey({ kty, n, e })
    if (key === null) return 'malformed'
    const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
    if (modulusLength < MIN_RSA_BITS) return `RSA with less than ${MIN_RSA_BITS} bits`
    if (modulusLength > MAX_RSA_BITS) return `RSA with more than ${MAX_RSA_BITS} bits`
    // With exponent 1 a signature is its own message: anybody could sign.
    if (publicExponent < 3n || publicExponent % 2n === 0n) return 'RSA with an unsound exponent'
    return { kty, crv: null, key }
  }
  if (kty === 'EC' && CURVES.includes(crv)) {
    const key = importKey({ kty, crv, x, y }) // refuses a point off the curve (RFC 8725 section 3.4)
    return key === null ? 'malformed, or its point is not on the curve' : { kty, crv: crv as string, key }
  }
  if (kty === 'OKP' && crv === 'Ed25519') {
    const key = importKey({ kty, crv, x })
    return key === null ? 'malformed' : { kty, crv, key }
  }
  return 'no kind of key that is used here'
}

/** Import failures say nothing but "invalid": null. */
function importKey(members: JsonObject): KeyObject | null {
  try {
    return createPublicKey({ key: members as JsonWebKey, format: 'jwk' })
  } catch {
    return null
  }
}

function nameOf(jwk: unknown, index: number): string {
  const kid = typeof jwk === 'object' && jwk !== null ? (jwk as JsonObject).kid : undefined
  return typeof kid === 'string' ? excerpt(kid) : `number ${index + 1}`
}

function fingerprintOf(keys: readonly VerificationKey[]): string {
  const each = keys.map(({ kid, alg, key }) => JSON.stringify([kid, alg, key.export({ format: 'jwk' })]))
  return hash('sha256', each.sort().join('\n'), 'base64url')
}
