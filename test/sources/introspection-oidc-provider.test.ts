/** Introspection against an authorization server that nobody here has written. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Configuration } from 'oidc-provider'
import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import { type ClientAuthentication, introspectedRules } from '../../src/policy/introspection.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import { createIntrospectionSource } from '../../src/sources/introspection.js'
import { createKeySource } from '../../src/sources/keys.js'
import { admitAlways } from '../../src/sources/token-source.js'

const AUDIENCE = 'https://api.bank.example'
const SECRET = 'a secret: with + and /'

console.warn = () => {} // it warns of its own development settings
const { Provider } = await import('oidc-provider')

const server = createServer()
server.listen(0, '127.0.0.1')
await once(server, 'listening')
t.teardown(() => server.close())
const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const [signing, assertion] = [pair(), pair()]
const jwk = { ...signing.export({ format: 'jwk' }), kid: 'as', alg: 'ES256', use: 'sig' }
const assertionJwk = { ...createPublicKey(assertion).export({ format: 'jwk' }), kid: 'rs', use: 'sig' }

const resourceServer = {
  redirect_uris: [],
  response_types: [],
  grant_types: [],
  id_token_signed_response_alg: 'ES256',
} as const
const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  clientDefaults: { id_token_signed_response_alg: 'ES256', introspection_signed_response_alg: 'ES256' },
  clients: [
    {
      ...resourceServer,
      client_id: 'client-1',
      client_secret: 'secret',
      grant_types: ['client_credentials'],
    },
    { ...resourceServer, client_id: 'rs-json', client_secret: SECRET },
    {
      ...resourceServer,
      client_id: 'rs-jwt',
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [assertionJwk] },
    },
  ],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => AUDIENCE,
      getResourceServerInfo: () => ({ scope: 'basic', audience: AUDIENCE, accessTokenFormat: 'opaque' }),
    },
  },
  ttl: { ClientCredentials: 300 },
} as unknown as Configuration)
server.on('request', provider.callback())

async function post(path: string, form: Record<string, string>): Promise<Record<string, unknown>> {
  const basic = Buffer.from('client-1:secret').toString('base64')
  const response = await fetch(`${issuer}${path}`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams(form),
  })
  const text = await response.text()
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
}

const RULES: IssuerRules = {
  name: 'main',
  issuer,
  audience: [AUDIENCE],
  algorithms: ['ES256'],
  typ: ['at+jwt'],
  clockSkewSeconds: 10,
  maxLifetimeSeconds: 900,
  requiredClaims: ['client_id'],
  claims: { scope: 'scope', clientId: ['client_id'] },
  flow: FLOW_PRESETS['oidc-provider'],
  clients: null,
}

async function sourceFor(authentication: ClientAuthentication, response: 'json' | 'jwt') {
  const meter = { tokenCache: () => {}, introspection: () => {}, keysRefresh: () => {} }
  const remote = { refreshMs: 300_000, cooldownMs: 30_000, staleForMs: 3_600_000, ca: null }
  const settings = { from: 'discovery', ...remote } as const
  const keys = response === 'json' ? null : createKeySource({ name: 'main', issuer, settings, meter })
  await keys?.start()
  const source = createIntrospectionSource({
    settings: {
      rules: introspectedRules(RULES, { requireAudience: true, requiredClaims: ['client_id'] }),
      ...{ url: null, ca: null, authentication, response },
      ...{ cacheMs: 0, negativeCacheMs: 0, timeoutMs: 5000 },
    },
    keys,
    meter,
  })
  t.teardown(() => source.close())
  return async (token: string) =>
    source.authenticate({ scheme: 'bearer', token }, Date.now() / 1000, admitAlways)
}

const METHODS: Readonly<Record<'json' | 'jwt', ClientAuthentication>> = {
  json: { method: 'client_secret_basic', clientId: 'rs-json', clientSecret: SECRET },
  jwt: {
    method: 'private_key_jwt',
    clientId: 'rs-jwt',
    key: assertion.export({ type: 'pkcs8', format: 'pem' }).toString(),
    keyId: 'rs',
    algorithm: 'ES256',
    audience: issuer,
  },
}

for (const response of ['json', 'jwt'] as const)
  t.test(`oidc-provider: an opaque token until it is revoked, with ${response} replies`, async t => {
    const ask = await sourceFor(METHODS[response], response)
    const issued = await post('/token', { grant_type: 'client_credentials', scope: 'basic' })
    const token = String(issued.access_token)
    const facts = await ask(token)
    if (facts instanceof Denial) throw new Error(facts.detail)
    t.match(facts, { clientId: 'client-1', subject: null, audience: [AUDIENCE], flow: 'client_credentials' })
    t.same([...facts.scopes], ['basic'])
    await post('/token/revocation', { token })
    t.match(await ask(token), { code: 'token_inactive' })
    t.match(await ask('never-issued'), { code: 'token_inactive' })
  })
