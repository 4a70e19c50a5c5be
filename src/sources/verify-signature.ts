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
    const code = await joseCode(compactVerify(token, key, { algorithms: [alg] }))
    if (code === null) return null
    const denial = DENIAL_OF_JOSE_CODE[code]
    if (denial === undefined) throw new Error(`signature verification failed unexpectedly: ${code}`)
    if (denial !== 'token_signature_invalid') return new Denial(denial, code)
  }
  return new Denial(
    'token_signature_invalid',
    keys.length === 0 ? 'no key of the issuer fits kid and alg' : `${keys.length} keys tried`,
  )
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
