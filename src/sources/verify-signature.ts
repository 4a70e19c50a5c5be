import { constants, type KeyObject, verify } from 'node:crypto'
import { compactVerify } from 'jose'
import { Denial, type DenialCode } from '../decision/denials.js'
import type { VerificationKey } from '../policy/key-set.js'

/** What the codes of jose's errors mean for a token. A code that is not here is a fault of ours. */
const DENIAL_OF_JOSE_CODE: Readonly<Record<string, DenialCode>> = {
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'token_signature_invalid',
  ERR_JWS_INVALID: 'token_malformed',
  ERR_JOSE_ALG_NOT_ALLOWED: 'token_algorithm_not_allowed',
  ERR_JOSE_NOT_SUPPORTED: 'token_algorithm_not_allowed',
}

/**
 * Whether one of the keys verifies the token, which uses `alg` (RFC 7515 section 5.2). null when one does, else
 * `token_signature_invalid`. Rejects with a fault that names no part of the token: errors of jose may carry claims.
 */
export async function signatureProblem(
  token: string,
  alg: string,
  keys: readonly VerificationKey[],
): Promise<Denial | null> {
  for (const { key } of keys) {
    const problem = await joseProblem(token, alg, key)
    if (problem === null) return null
    if (problem.code !== 'token_signature_invalid') return problem
  }
  return invalid(keys)
}

/**
 * Does what `signatureProblem` does, for keys that stay: jose judges a key with an algorithm by the first token that
 * they verify, and node:crypto alone verifies the ones after it, which costs less than half.
 */
export class KnownKeys {
  readonly #known = new WeakMap<KeyObject, Map<string, KnownKey>>()

  /** As `signatureProblem`; without a promise when every key is known with `alg`. */
  problem(
    token: string,
    alg: string,
    keys: readonly VerificationKey[],
  ): Denial | null | Promise<Denial | null> {
    for (const [index, { key }] of keys.entries()) {
      const known = this.#known.get(key)?.get(alg)
      if (known === undefined) return this.#judge(token, alg, keys.slice(index), keys)
      if (verifies(token, known)) return null
    }
    return invalid(keys)
  }

  async #judge(
    token: string,
    alg: string,
    rest: readonly VerificationKey[],
    all: readonly VerificationKey[],
  ): Promise<Denial | null> {
    for (const { key } of rest) {
      const problem = await joseProblem(token, alg, key)
      if (problem === null) {
        this.#learn(key, alg)
        return null
      }
      if (problem.code !== 'token_signature_invalid') return problem
    }
    return invalid(all)
  }

  #learn(key: KeyObject, alg: string): void {
    const scheme = SCHEMES.get(alg)
    if (scheme === undefined) return // jose goes on judging each token
    const algorithms = this.#known.get(key) ?? new Map<string, KnownKey>()
    this.#known.set(
      key,
      algorithms.set(alg, { digest: scheme.digest, verification: { key, ...scheme.options } }),
    )
  }
}

/** A key with which jose has verified a token, and how node:crypto does the same. */
interface KnownKey {
  readonly digest: string | null
  readonly verification: { readonly key: KeyObject } & SchemeOptions
}

interface SchemeOptions {
  readonly padding?: number
  readonly saltLength?: number
  readonly dsaEncoding?: 'ieee-p1363'
}

const PKCS1: SchemeOptions = { padding: constants.RSA_PKCS1_PADDING }
const PSS: SchemeOptions = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
}
const ECDSA: SchemeOptions = { dsaEncoding: 'ieee-p1363' }

/** RFC 7518 section 3.1 and RFC 8037 section 3.1. */
const SCHEMES: ReadonlyMap<string, Pick<KnownKey, 'digest'> & { readonly options: SchemeOptions }> = new Map([
  ['RS256', { digest: 'sha256', options: PKCS1 }],
  ['RS384', { digest: 'sha384', options: PKCS1 }],
  ['RS512', { digest: 'sha512', options: PKCS1 }],
  ['PS256', { digest: 'sha256', options: PSS }],
  ['PS384', { digest: 'sha384', options: PSS }],
  ['PS512', { digest: 'sha512', options: PSS }],
  ['ES256', { digest: 'sha256', options: ECDSA }],
  ['ES384', { digest: 'sha384', options: ECDSA }],
  ['ES512', { digest: 'sha512', options: ECDSA }],
  ['EdDSA', { digest: null, options: {} }],
  ['Ed25519', { digest: null, options: {} }],
])

function verifies(token: string, { digest, verification }: KnownKey): boolean {
  const end = token.lastIndexOf('.')
  const signature = Buffer.from(token.slice(end + 1), 'base64url')
  try {
    return verify(digest, Buffer.from(token.slice(0, end), 'latin1'), verification, signature)
  } catch {
    return false // the key has worked before: what OpenSSL cannot digest is the signature
  }
}

/** null when jose verifies the token with this key; else why not. Rejects with a fault that names no part of the token. */
async function joseProblem(token: string, alg: string, key: KeyObject): Promise<Denial | null> {
  const code = await joseCode(compactVerify(token, key, { algorithms: [alg] }))
  if (code === null) return null
  const denial = DENIAL_OF_JOSE_CODE[code]
  if (denial === undefined) throw new Error(`signature verification failed unexpectedly: ${code}`)
  return new Denial(denial, code)
}

/** The code of the error that ended a verification, or its class; null when it succeeded. */
async function joseCode(verification: Promise<unknown>): Promise<string | null> {
  try {
    await verification
    return null
  } catch (error) {
    if (!(error instanceof Error)) return 'not an error'
    return 'code' in error && typeof error.code === 'string' ? error.code : error.name
  }
}

function invalid(keys: readonly VerificationKey[]): Denial {
  return new Denial(
    'token_signature_invalid',
    keys.length === 0 ? 'no key of the issuer fits kid and alg' : `${keys.length} keys tried`,
  )
}
