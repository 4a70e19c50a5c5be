import { createPublicKey, type JsonWebKey } from 'node:crypto'

/** Members that only private or symmetric keys have (RFC 7518 section 6). */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

const CURVES = new Set(['P-256', 'P-384', 'P-521', 'Ed25519', 'Ed448'])

/**
 * What is wrong with the text of a JWK set (RFC 7517), each in words that follow the file's name; empty when it can be used.
 * Never repeats a value: a key that landed here by mistake may be a private one.
 */
export function keySetFaults(text: string): readonly string[] {
  let set: unknown
  try {
    set = JSON.parse(text)
  } catch {
    return ['is not JSON']
  }
  const keys = isObject(set) ? set.keys : undefined
  if (!Array.isArray(keys)) return ['is not a JWK set: it has no list "keys"']
  if (keys.length === 0) return ['has no keys']
  return keys.flatMap((key: unknown, index) => {
    const fault = isObject(key) ? keyFault(key) : 'is not an object'
    return fault === null ? [] : [`has a key (number ${index + 1}) that ${fault}`]
  })
}

function keyFault(key: Readonly<Record<string, unknown>>): string | null {
  if (key.kty === 'oct') return 'is symmetric (kty oct): whoever can check a token could make one'
  const leaked = PRIVATE_MEMBERS.filter(name => Object.hasOwn(key, name))
  if (leaked.length > 0)
    return `is private (it has ${leaked.join(', ')}): only public keys belong here, and this one is no secret any more`
  // Issuers publish encryption keys in the same set; they are never used for a signature.
  if (key.use === 'enc') return null
  if (key.kty !== 'RSA' && key.kty !== 'EC' && key.kty !== 'OKP')
    return 'is of no known type: kty must be RSA, EC or OKP'
  if (key.kty !== 'RSA' && !CURVES.has(String(key.crv)))
    return 'is on a curve that is not used for signatures here: P-256, P-384, P-521, Ed25519, Ed448'
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: key as JsonWebKey, format: 'jwk' })
    const bits = asymmetricKeyDetails?.modulusLength
    return bits !== undefined && bits < 2048 ? `is weak: RSA of ${bits} bits, less than 2048` : null
  } catch {
    return 'is not a valid public key'
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
