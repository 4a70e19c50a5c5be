/** A client that proves possession of its key (RFC 9449), and that can do every part of it wrong. */
import { createHash, type JsonWebKey, randomUUID } from 'node:crypto'
import {
  newSigningKey,
  type Overrides,
  type SigningKey,
  signToken,
  type TokenAlgorithm,
} from './token-issuer.js'

/** A key of a client, its public JWK and the thumbprint for `cnf.jkt`. */
export interface ProofKey {
  readonly key: SigningKey
  readonly jwk: JsonWebKey
  readonly jkt: string
}

/** What a proof is for. */
export interface ProofTarget {
  readonly htu: string
  readonly htm?: string
  readonly token: string
}

export function newProofKey(alg: TokenAlgorithm = 'ES256', rsaBits = 2048): ProofKey {
  const key = newSigningKey(alg, 'unused', rsaBits)
  const jwk = key.publicKey.export({ format: 'jwk' })
  return { key, jwk, jkt: thumbprint(jwk) }
}

/** RFC 7638, by another road than the product's: sorted names of what a public JWK has. */
export function thumbprint(jwk: JsonWebKey): string {
  const sorted = Object.fromEntries(Object.entries(jwk).sort(([a], [b]) => (a < b ? -1 : 1)))
  return createHash('sha256').update(JSON.stringify(sorted)).digest('base64url')
}

/** A good proof, but for the overrides; undefined leaves a member out. */
export function proofFor(
  { key, jwk }: ProofKey,
  { htu, htm = 'GET', token }: ProofTarget,
  claims: Overrides = {},
  header: Overrides = {},
): string {
  const ath = createHash('sha256').update(token).digest('base64url')
  const iat = Math.floor(Date.now() / 1000)
  return signToken(
    { jti: randomUUID(), htm, htu, iat, ath, ...claims },
    { typ: 'dpop+jwt', alg: key.alg, jwk, ...header },
    key.privateKey,
  )
}
