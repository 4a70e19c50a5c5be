/** Certificates, keys and tokens of a run, kept for some hours: signing tens of thousands of tokens takes a while. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, EXTENDED_KEY_USAGE, type Issued } from '../test/support/pki.js'
import {
  encode,
  newSigningKey,
  type Overrides,
  type SigningKey,
  signToken,
} from '../test/support/token-issuer.js'

export type Algorithm = 'ES256' | 'PS256'
export type ServerKey = 'ec' | 'rsa'

/** The host that every target serves. */
export const HOST = 'localhost'
export const ISSUER = 'https://issuer.bench.example'
export const AUDIENCE = 'https://api.bench.example'

/** Where everything lies. All paths are files. */
export interface Material {
  readonly directory: string
  readonly algorithm: Algorithm
  readonly ca: string
  readonly serverCert: string
  readonly serverKey: string
  /** Certificate and key in one file. */
  readonly serverBoth: string
  readonly client: { readonly cert: string; readonly key: string }
  readonly otherClient: { readonly cert: string; readonly key: string }
  readonly rogueClient: { readonly cert: string; readonly key: string }
  readonly jwks: string
  readonly publicKeyPem: string
  /** Good tokens, all different, one a line. */
  readonly tokens: string
  readonly tokenCount: number
  readonly cases: Readonly<Record<TokenCase, string>>
}

/** Tokens that a target must accept or refuse before it is measured. */
export type TokenCase =
  | 'good'
  | 'readOnly'
  | 'noScope'
  | 'similarScope'
  | 'expired'
  | 'noExp'
  | 'future'
  | 'wrongIssuer'
  | 'wrongAudience'
  | 'notBound'
  | 'badSignature'
  | 'otherKey'
  | 'unsigned'
  | 'hmac'

const GOOD_FOR_HOURS = 12
const VALID_MS = 3 * 24 * 3600 * 1000

/** A million of them are more than one text can hold. */
const TOKENS_AT_ONCE = 10_000

/** Makes what is not there yet, or too old, or too little. */
export async function makeMaterial(
  work: string,
  algorithm: Algorithm,
  serverKey: ServerKey,
  tokenCount: number,
  say: (text: string) => void,
): Promise<Material> {
  const directory = join(work, `material-${algorithm}-${serverKey}`)
  const index = join(directory, 'index.json')
  if (existsSync(index) && Date.now() - statSync(index).mtimeMs < GOOD_FOR_HOURS * 3600 * 1000) {
    const known = JSON.parse(readFileSync(index, 'utf8')) as Material
    if (known.tokenCount >= tokenCount) return known
  }
  say(`making certificates and ${tokenCount} ${algorithm} tokens`)
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  const write = (name: string, text: string) => {
    const path = join(directory, name)
    writeFileSync(path, text)
    return path
  }
  const certificates = await makeCertificates(serverKey, write)
  const key = newSigningKey(algorithm, `bench-${algorithm}`)
  const tokens = write('tokens.txt', '')
  for (let first = 0; first < tokenCount; first += TOKENS_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(TOKENS_AT_ONCE, tokenCount - first) }, (_, i) => first + i)
    const lines = numbers.map(number => `${tokenOf(goodClaims(number, certificates.thumbprint), {}, key)}\n`)
    appendFileSync(tokens, lines.join(''))
  }
  const { thumbprint, ...files } = certificates
  const material: Material = {
    directory,
    algorithm,
    ...files,
    jwks: write('jwks.json', JSON.stringify({ keys: [key.jwk] })),
    publicKeyPem: write('issuer.pem', key.publicKey.export({ type: 'spki', format: 'pem' }).toString()),
    tokens,
    tokenCount,
    cases: makeCases(key, thumbprint),
  }
  writeFileSync(index, JSON.stringify(material))
  return material
}

async function makeCertificates(serverKey: ServerKey, write: (name: string, text: string) => string) {
  const notAfter = new Date(Date.now() + VALID_MS)
  const [authority, rogueAuthority] = await Promise.all([
    createAuthority('Bench CA', { notAfter }),
    createAuthority('Rogue CA', { notAfter }),
  ])
  const [server, client, otherClient, rogue] = await Promise.all([
    authority.issue({
      commonName: HOST,
      sanDns: [HOST],
      extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
      key: serverKey === 'ec' ? 'ec-p256' : 'rsa-2048',
      notAfter,
    }),
    authority.issue({ commonName: 'client-a', notAfter }),
    authority.issue({ commonName: 'client-b', notAfter }),
    rogueAuthority.issue({ commonName: 'client-a', notAfter }),
  ])
  const pair = (name: string, issued: Issued) => ({
    cert: write(`${name}.crt`, issued.certificatePem),
    key: write(`${name}.key`, issued.keyPem),
  })
  const files = pair('server', server)
  return {
    ca: write('ca.crt', authority.certificatePem),
    serverCert: files.cert,
    serverKey: files.key,
    serverBoth: write('server.pem', server.certificatePem + server.keyPem),
    client: pair('client', client),
    otherClient: pair('other-client', otherClient),
    rogueClient: pair('rogue-client', rogue),
    thumbprint: client.thumbprint,
  }
}

const seconds = () => Math.floor(Date.now() / 1000)

/** Claims as an authorization server for FAPI writes them: about 700 bytes of token. */
function goodClaims(number: number, thumbprint: string): Overrides {
  const digits = String(number).padStart(12, '0')
  return {
    iss: ISSUER,
    sub: `5f0c1e9a-7d3b-4c21-9b57-${digits}`,
    aud: AUDIENCE,
    iat: seconds() - 60,
    nbf: seconds() - 60,
    exp: seconds() + VALID_MS / 1000,
    jti: `9f86d081-884c-4d63-a15f-${digits}`,
    client_id: `client-${number % 50}`,
    scope: 'openid api.read api.write',
    cnf: { 'x5t#S256': thumbprint },
  }
}

function tokenOf(claims: Overrides, header: Overrides, key: SigningKey): string {
  return signToken(claims, { alg: key.alg, typ: 'at+jwt', kid: key.kid, ...header }, key.privateKey)
}

function makeCases(key: SigningKey, thumbprint: string): Record<TokenCase, string> {
  const claims = goodClaims(1, thumbprint)
  const variant = (changes: Overrides) => tokenOf({ ...claims, ...changes }, {}, key)
  const good = variant({})
  const [, payload = ''] = good.split('.')
  const hmacHeader = { alg: 'HS256', typ: 'at+jwt', kid: key.kid }
  const publicPem = key.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  return {
    good,
    readOnly: variant({ scope: 'openid api.read' }),
    noScope: variant({ scope: undefined }),
    similarScope: variant({ scope: 'openid api.reader xapi.read' }),
    expired: variant({ iat: seconds() - 7200, nbf: seconds() - 7200, exp: seconds() - 3600 }),
    noExp: variant({ exp: undefined }),
    // Still in the future when the material is at its oldest.
    future: variant({ nbf: seconds() + 2 * GOOD_FOR_HOURS * 3600 }),
    wrongIssuer: variant({ iss: 'https://other.example' }),
    wrongAudience: variant({ aud: 'https://other.example' }),
    notBound: variant({ cnf: undefined }),
    badSignature: `${good.slice(0, good.lastIndexOf('.'))}.${variant({ sub: 'x' }).split('.')[2]}`,
    otherKey: tokenOf(claims, { kid: key.kid }, newSigningKey(key.alg)),
    unsigned: `${encode(JSON.stringify({ alg: 'none', typ: 'at+jwt' }))}.${payload}.`,
    hmac: signToken(claims, hmacHeader, publicPem),
  }
}
