import type { KeyObject } from 'node:crypto'
import type { ClientAuthentication } from '../policy/introspection.js'
import type { Draft } from './draft.js'
import { notAfterOf, readCertificates } from './pem.js'
import type { ClientAuthenticationPlan } from './schema-introspection.js'
import { readSecret, warnOfReaders } from './secret-file.js'
import { readKey } from './server-certificates.js'
import type { Path } from './source-tree.js'

/** The credentials of Postern at an issuer, with the contents of their files; null when they are wrong, and then they are reported. */
export async function readClientAuthentication(
  draft: Draft,
  plan: ClientAuthenticationPlan,
  issuer: string,
  path: Path,
): Promise<ClientAuthentication | null> {
  switch (plan.method) {
    case 'client_secret_basic':
    case 'client_secret_post': {
      const { method, clientId, clientSecret: written, clientSecretFile: file } = plan
      const at = [...path, 'clientSecret']
      if (written !== undefined && !draft.isFromEnvironment(at))
        draft.warning(
          at,
          'the secret stands in the policy file',
          'write clientSecretFile with the name of a file, or take it from the environment',
        )
      const clientSecret =
        file === undefined ? written : await readSecret(draft, file, [...path, 'clientSecretFile'])
      return clientSecret == null ? null : { method, clientId, clientSecret }
    }
    case 'private_key_jwt':
      return readSigningKey(draft, plan, issuer, path)
    case 'tls_client_auth':
      return readIdentity(draft, plan, path)
  }
}

async function readSigningKey(
  draft: Draft,
  plan: ClientAuthenticationPlan & { method: 'private_key_jwt' },
  issuer: string,
  path: Path,
): Promise<ClientAuthentication | null> {
  const { method, clientId, keyId = null, algorithm, audience = issuer } = plan
  const profile = draft.parts.server?.tls?.profile
  if (algorithm.startsWith('RS') && profile !== undefined && profile !== 'compatible')
    draft.problem(
      [...path, 'algorithm'],
      `${algorithm} is not allowed in the profile ${profile}`,
      'use PS256 or ES256 (FAPI 1.0 Advanced section 8.6, FAPI 2.0 section 5.4.1)',
    )
  const key = await readKey(draft, plan.key, [...path, 'key'])
  if (key === null) return null
  await warnOfReaders(draft, plan.key, [...path, 'key'])
  if (!fits(key.object, algorithm)) {
    draft.problem(
      [...path, 'key'],
      `${plan.key} is no key for ${algorithm}`,
      'PS and RS want an RSA key of 2048 bits or more; ES256 P-256, ES384 P-384, ES512 P-521; EdDSA Ed25519',
    )
    return null
  }
  return { method, clientId, key: key.text, keyId, algorithm, audience }
}

/** Names of the curves as OpenSSL has them. */
const CURVES: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
}

function fits(
  { asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject,
  algorithm: string,
): boolean {
  if (algorithm.startsWith('ES')) return type === 'ec' && details?.namedCurve === CURVES[algorithm]
  if (algorithm.startsWith('Ed')) return type === 'ed25519'
  return type === 'rsa' && (details?.modulusLength ?? 0) >= 2048
}

async function readIdentity(
  draft: Draft,
  plan: ClientAuthenticationPlan & { method: 'tls_client_auth' },
  path: Path,
): Promise<ClientAuthentication | null> {
  const { method, clientId } = plan
  const at = [...path, 'cert']
  const key = await readKey(draft, plan.key, [...path, 'key'])
  if (key !== null) await warnOfReaders(draft, plan.key, [...path, 'key'])
  const file = await draft.readFile(plan.cert, at)
  if (file === null) return null
  const chain = readCertificates(file)
  if (typeof chain === 'string') {
    draft.problem(at, `${plan.cert} ${chain}`, 'the file is PEM: the client certificate first')
    return null
  }
  const leaf = chain[0]?.certificate
  if (leaf !== undefined && notAfterOf(leaf) <= draft.now)
    draft.problem(at, 'the client certificate has expired', 'renew it')
  if (key === null) return null
  if (leaf?.checkPrivateKey(key.object) === false) {
    draft.problem(
      [...path, 'key'],
      `${plan.key} is not the key of ${plan.cert}`,
      'name the key of the certificate',
    )
    return null
  }
  return { method, clientId, cert: chain.map(({ pem }) => pem).join(''), key: key.text }
}
