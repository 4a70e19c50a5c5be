import { hash, type KeyObject } from 'node:crypto'
import type { ProofFacts } from '../checks/proof-facts.js'
import { Denial, type Verdict } from '../decision/denials.js'
import { KEY_KIND_OF_ALGORITHM } from '../policy/algorithms.js'
import { excerpt } from '../policy/excerpt.js'
import { KeyFault, readKey, type VerificationKey } from '../policy/key-set.js'
import type { DpopRule } from '../policy/policy.js'
import { JsonProblem } from '../policy/strict-json.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'
import { readJwsParts } from './compact-jws.js'
import type { Nonces } from './dpop-nonce.js'
import type { Admit } from './token-source.js'
import { signatureProblem } from './verify-signature.js'

/** Longer proofs are refused unread. One with an RSA key of 8192 bits has some 3 KiB. */
const MAX_PROOF_BYTES = 8 * 1024
const MAX_RSA_EXPONENT = 0xffff_ffffn

/**
 * The proof of a request with the scheme DPoP, read and verified with the key that it carries: RFC 9449 section 4.3, 1 to 7.
 * Refuses with `proof_missing` and `proof_invalid`; whether the proof is for this request is judged elsewhere.
 * @param token the access token of the request
 */
export async function verifyProof(
  headers: RawHeaders,
  token: string,
  rule: DpopRule,
  nonces: Nonces,
  admit: Admit,
): Promise<Verdict<ProofFacts>> {
  const values = valuesOf(headers, 'dpop')
  const proof = values[0]
  if (proof === undefined) return new Denial('proof_missing', 'the scheme DPoP without a DPoP header')
  if (values.length > 1) return invalid(`${values.length} DPoP headers`)
  if (proof.length > MAX_PROOF_BYTES) return invalid(`longer than ${MAX_PROOF_BYTES} bytes`)
  if (proof.includes(',')) return invalid('several proofs in one DPoP header')
  const parts = readJwsParts(proof)
  if (parts instanceof JsonProblem) return invalid(parts.detail)
  const { header, claims } = parts
  // To the letter: RFC 9449 section 4.2 names one value, and a laxer reader could take an ID token for a proof.
  if (header.typ !== 'dpop+jwt') return invalid('typ is not dpop+jwt')
  const unwelcome = await admit()
  if (unwelcome !== null) return unwelcome
  const key = keyOf(header, rule)
  if (typeof key === 'string') return invalid(key)
  const { alg } = header as { alg: string }
  const problem = await signatureProblem(proof, alg, [key])
  if (problem !== null) return invalid('the signature is not that of the jwk')
  return {
    jkt: thumbprintOf(key.key),
    alg,
    claims,
    tokenHash: hash('sha256', token, 'base64url'),
    nonceIssuedAt: nonces.issuedAt(claims.nonce),
  }
}

/** The key in the header, or why there is none that may sign a proof. */
function keyOf(
  { alg, jwk }: Readonly<Record<string, unknown>>,
  { algorithms }: DpopRule,
): VerificationKey | string {
  if (typeof alg !== 'string') return 'alg is absent or no string'
  const kind = KEY_KIND_OF_ALGORITHM.get(alg)
  if (kind === undefined || !algorithms.includes(alg)) return `alg is ${excerpt(alg)}`
  const key = readKey(jwk)
  if (key instanceof KeyFault) return `jwk: ${key.reason}`
  // The client chose the key: a long exponent makes each verification cost milliseconds, or OpenSSL gives up on it.
  if ((key.key.asymmetricKeyDetails?.publicExponent ?? 0n) > MAX_RSA_EXPONENT)
    return 'jwk: RSA with an exponent of more than 32 bits'
  const fits = key.kty === kind.kty && key.crv === kind.crv && (key.alg === null || key.alg === alg)
  return fits ? key : `the jwk is no key for ${alg}`
}

/** RFC 7638 section 3: the required members alone, in lexicographic order. */
export function thumbprintOf(key: KeyObject): string {
  const { kty, crv, x, y, e, n } = key.export({ format: 'jwk' })
  const members = kty === 'RSA' ? { e, kty, n } : kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x }
  return hash('sha256', JSON.stringify(members), 'base64url')
}

function invalid(detail: string): Denial {
  return new Denial('proof_invalid', detail)
}
