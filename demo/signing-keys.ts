/** Keys with which clients of the authorization server sign their assertions (RFC 7523). */
import { createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

export type SigningKey = {
  readonly privateKey: webcrypto.CryptoKey
  /** JSON of the public JWK, as the authorization server gets it. */
  readonly publicJwk: string
}

export async function makeSigningKey(): Promise<SigningKey> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const pair = await webcrypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])
  const { kty, crv, x, y } = await webcrypto.subtle.exportKey('jwk', pair.publicKey)
  return { privateKey: pair.privateKey, publicJwk: JSON.stringify({ kty, crv, x, y }) }
}

/**
 * The key of the sidecar, in a file that only this user can read. It is made once: another check may run at the same time
 * and reads the same file.
 * @returns JSON of the public JWK
 */
export function signingKeyInFile(file: string): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  mkdirSync(dirname(file), { recursive: true })
  try {
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return JSON.stringify(createPublicKey(readFileSync(file)).export({ format: 'jwk' }))
}
