/** An authorization server as far as a resource server sees it: a JWK set, metadata, and tokens signed as asked. */
import {
  createHmac,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign,
} from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createAuthority, EXTENDED_KEY_USAGE } from './pki.js'

export type TokenAlgorithm =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'EdDSA'
  | 'Ed25519'

/** A key pair that signs with one algorithm. */
export interface SigningKey {
  readonly alg: TokenAlgorithm
  readonly kid: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** Public, with kid, alg and use. */
  readonly jwk: JsonWebKey
}

/**
 * How the server misbehaves, on every path: status 500; no answer; 600 KiB; a redirect to a good answer; HTML; half an answer.
 * `wrong-issuer` concerns metadata alone.
 */
export type FailMode = '500' | 'hang' | 'huge' | 'redirect' | 'not-json' | 'cut-off' | 'wrong-issuer'

export interface TokenIssuerOptions {
  /** One key each; the first signs unless asked otherwise. Default ES256 and PS256. */
  readonly algorithms?: readonly TokenAlgorithm[]
  /** https with a certificate of `caPem`; false: plain http. Default true. */
  readonly tls?: boolean
  /** Path of the issuer identifier, such as `/tenant/`. Default none. */
  readonly path?: string
  /** Forms of metadata that are served. Default both. */
  readonly discovery?: 'both' | 'oauth' | 'openid' | 'none'
  /** Default aud of tokens. Default `https://api.bank.example`. */
  readonly audience?: string
  /** Default scope of tokens. Default none. */
  readonly scope?: string
}

/** Claims or header members; undefined leaves a default out. */
export type Overrides = Readonly<Record<string, unknown>>

export interface TokenIssuer {
  /** The issuer identifier. */
  readonly url: string
  readonly jwksUrl: string
  /** Authority of the server's certificate; null with plain http. */
  readonly caPem: string | null
  /** The keys in use; the first signs by default. */
  readonly keys: readonly SigningKey[]
  /** The JWK set as served: `keys`, until it is set otherwise. */
  jwks: { keys: readonly unknown[] }
  /** Members that replace those of the metadata. */
  metadata: Overrides
  /** null: all is well. */
  failMode: FailMode | null
  /** Requests for the JWK set so far. */
  readonly fetches: number
  /** Requests for metadata so far. */
  readonly discoveryFetches: number
  /** Every request target so far. */
  readonly requests: readonly string[]
  /** An access token of RFC 9068 that is good for five minutes, but for the overrides. */
  token(claims?: Overrides, header?: Overrides, key?: SigningKey): string
  /** Signs these very claims. The header is alg, typ and kid of the key, but for the overrides. */
  sign(claims: Overrides, header?: Overrides, key?: SigningKey): string
  /** New keys in place of all old ones, with the same algorithms; returns the old ones. */
  rotate(): readonly SigningKey[]
  close(): Promise<void>
}

export async function createTokenIssuer(options: TokenIssuerOptions = {}): Promise<TokenIssuer> {
  const { algorithms = ['ES256', 'PS256'], tls = true, path = '', discovery = 'both', scope = '' } = options
  const audience = options.audience ?? 'https://api.bank.example'
  const requests: string[] = []
  let keys = algorithms.map(algorithm => newSigningKey(algorithm))
  const paths = metadataPaths(path)

  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const target = request.url ?? ''
    requests.push(target)
    const served =
      target === '/jwks'
        ? issuer.jwks
        : (target === paths.oauth && (discovery === 'both' || discovery === 'oauth')) ||
            (target === paths.openid && (discovery === 'both' || discovery === 'openid'))
          ? {
              issuer: issuer.failMode === 'wrong-issuer' ? `${issuer.url}/other` : issuer.url,
              jwks_uri: issuer.jwksUrl,
              ...issuer.metadata,
            }
          : null
    respond(response, served, issuer.failMode, `${new URL(issuer.jwksUrl).pathname}?redirected`)
  }
  const authority = tls ? await createAuthority('Issuer CA') : null
  const certificate = await authority?.issue({
    commonName: '127.0.0.1',
    sanIp: ['127.0.0.1'],
    extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
  })
  const server =
    certificate === undefined
      ? createHttpServer(answer)
      : createHttpsServer({ cert: certificate.certificatePem, key: certificate.keyPem }, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`
  const count = (wanted: (target: string) => boolean) => requests.filter(wanted).length

  const issuer: TokenIssuer = {
    url: `${origin}${path}`,
    jwksUrl: `${origin}/jwks`,
    caPem: authority?.certificatePem ?? null,
    get keys() {
      return keys
    },
    jwks: { keys: keys.map(({ jwk }) => jwk) },
    metadata: {},
    failMode: null,
    get fetches() {
      return count(target => target === '/jwks')
    },
    get discoveryFetches() {
      return count(target => target.includes('/.well-known/'))
    },
    requests,
    token(claims = {}, header = {}, key = keys[0]) {
      const now = Math.floor(Date.now() / 1000)
      const defaults = {
        iss: issuer.url,
        sub: 'user-1',
        aud: audience,
        client_id: 'client-1',
        iat: now,
        exp: now + 300,
        jti: randomUUID(),
        ...(scope !== '' && { scope }),
      }
      return issuer.sign({ ...defaults, ...claims }, header, key)
    },
    sign(claims, header = {}, key = keys[0]) {
      if (key === undefined) throw new Error('no key to sign with')
      return signToken(claims, { alg: key.alg, typ: 'at+jwt', kid: key.kid, ...header }, key.privateKey)
    },
    rotate() {
      const old = keys
      keys = algorithms.map(algorithm => newSigningKey(algorithm))
      issuer.jwks = { keys: keys.map(({ jwk }) => jwk) }
      return old
    },
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return issuer
}

/** A fresh key pair, with a random kid unless one is given. */
export function newSigningKey(alg: TokenAlgorithm, kid: string = randomUUID(), rsaBits = 2048): SigningKey {
  const { privateKey, publicKey } = newKeyPair(alg, rsaBits)
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' }
  return { alg, kid, privateKey, publicKey, jwk }
}

/**
 * A compact JWS with any header: `alg` decides how it is signed. `none` has an empty signature; HS256 uses the key's bytes
 * (PEM of a public key: the classic confusion).
 */
export function signToken(claims: Overrides, header: Overrides, key: KeyObject | string): string {
  const input = `${encode(JSON.stringify(header))}.${encode(JSON.stringify(claims))}`
  return `${input}.${signatureOf(input, String(header.alg), key)}`
}

/** base64url of UTF-8. */
export const encode = (text: string): string => Buffer.from(text).toString('base64url')

function signatureOf(input: string, alg: string, key: KeyObject | string): string {
  if (alg === 'none') return ''
  if (typeof key === 'string') return createHmac('sha256', key).update(input).digest('base64url')
  const data = Buffer.from(input)
  const hash = `sha${alg.slice(2)}`
  switch (alg.slice(0, 2)) {
    case 'RS':
      return sign(hash, data, key).toString('base64url')
    case 'PS':
      return sign(hash, data, { key, padding: 6, saltLength: -1 }).toString('base64url') // PSS, salt as long as the hash
    case 'ES':
      return sign(hash, data, { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')
    default:
      return sign(null, data, key).toString('base64url')
  }
}

function newKeyPair(alg: TokenAlgorithm, modulusLength: number) {
  switch (alg) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    case 'ES384':
      return generateKeyPairSync('ec', { namedCurve: 'P-384' })
    case 'ES512':
      return generateKeyPairSync('ec', { namedCurve: 'P-521' })
    case 'EdDSA':
    case 'Ed25519':
      return generateKeyPairSync('ed25519')
    default:
      return generateKeyPairSync('rsa', { modulusLength })
  }
}

function metadataPaths(path: string): { oauth: string; openid: string } {
  const base = path.replace(/\/$/, '')
  return {
    oauth: `/.well-known/oauth-authorization-server${base}`,
    openid: `${base}/.well-known/openid-configuration`,
  }
}

function respond(
  response: ServerResponse,
  document: unknown,
  mode: FailMode | null,
  elsewhere: string,
): void {
  const body = JSON.stringify(document)
  const json = { 'content-type': 'application/json' }
  switch (mode) {
    case '500':
      response.writeHead(500, json).end(body)
      return
    case 'hang':
      return
    case 'huge':
      response.writeHead(200, json).end(JSON.stringify({ keys: [], padding: 'x'.repeat(600 * 1024) }))
      return
    case 'redirect':
      response.writeHead(302, { location: elsewhere }).end(body)
      return
    case 'not-json':
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sorry</html>')
      return
    case 'cut-off':
      response.writeHead(200, { ...json, 'content-length': Buffer.byteLength(body) })
      response.write(body.slice(0, 10), () => response.destroy())
      return
    default:
      response.writeHead(document === null ? 404 : 200, json).end(body)
  }
}
