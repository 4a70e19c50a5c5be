import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { formatProblem } from '../../src/config/problem.js'
import type { IssuerSettings } from '../../src/config/settings.js'
import { loadAndSend } from '../support/load-and-send.js'
import { createAuthority } from '../support/pki.js'

const directory = mkdtempSync(join(tmpdir(), 'postern-introspection-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const write = (name: string, text: string, mode = 0o600) => {
  writeFileSync(join(directory, name), text)
  chmodSync(join(directory, name), mode)
}
const authority = await createAuthority('CA')
const server = await authority.issue({
  commonName: 'api.bank.example',
  sanDns: ['api.bank.example'],
  key: 'rsa-2048',
  notAfter: new Date(Date.now() + 90 * 86_400_000),
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
})
const client = await authority.issue({ commonName: 'postern' })
const keyOf = (curve: string) =>
  generateKeyPairSync('ec', { namedCurve: curve })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString()
write('server.pem', server.certificatePem)
write('server.key', server.keyPem)
write('ca.pem', authority.certificatePem)
write('client.pem', client.certificatePem)
write('client.key', client.keyPem)
write('p256.key', keyOf('P-256'))
write('p384.key', keyOf('P-384'))
write('secret', 'very-secret\n')
write('windows', 'very-secret\r\n')
write('two-breaks', 'very-secret\n\n')
write('empty', '\n')
write('open', 'very-secret\n', 0o644)

const AUTH = 'auth: { method: client_secret_basic, clientId: postern, clientSecretFile: secret }'
const URL = 'url: https://issuer.example/introspect'
const KEYS = 'keys: { url: https://issuer.example/jwks }'
const ALGORITHMS = 'algorithms: [ES256]'

/** Loads a policy with these issuers; each is a list of members. */
async function load(
  issuers: Readonly<Record<string, readonly string[]>>,
  environment: NodeJS.ProcessEnv = {},
  profile = 'fapi1-advanced',
) {
  const entries = Object.entries(issuers).map(
    ([name, members]) =>
      `  ${name}:\n    audience: [https://api.bank.example]\n    flow: { preset: rfc9068 }\n${members.map(member => `    ${member}\n`).join('')}`,
  )
  const file = join(directory, 'policies.yaml')
  writeFileSync(
    file,
    `version: 1
server:
  listen: 127.0.0.1:0
  publicUrl: https://api.bank.example
  tls: { profile: ${profile}, certificates: [{ cert: server.pem, key: server.key }], clients: { trust: pki, ca: [ca.pem] } }
admin: { listen: 127.0.0.1:0 }
issuers:
${entries.join('')}upstreams: { provider: { url: http://127.0.0.1:1 } }
apis:
  - name: Accounts
    base: /accounts
    upstream: provider
    issuer: [${Object.keys(issuers).join(', ')}]
    security: [mtls, oauth2]
    flow: authorization_code
    routes: { "GET /{id}": { scopes: none } }
`,
  )
  const loaded = await loadAndSend(file, environment)
  if (!('settings' in loaded)) {
    const problems = loaded.map(formatProblem)
    return { problems, warnings: [] as string[], settings: null, files: [] as readonly string[] }
  }
  const warnings = loaded.warnings.map(formatProblem)
  return {
    problems: [] as string[],
    warnings,
    settings: loaded.settings,
    files: loaded.files.map(({ path }) => path),
  }
}

const ISSUER = 'issuer: https://issuer.example'
const one = (...members: readonly string[]) => load({ main: [ISSUER, ...members] })
const introspection = (...members: readonly string[]) => `introspection: { ${members.join(', ')} }`

async function settingsOf(...members: readonly string[]): Promise<IssuerSettings> {
  const { settings, problems } = await one(...members)
  const issuer = settings?.issuers.get('main')
  if (issuer === undefined) throw new Error(problems.join('\n'))
  return issuer
}

t.test('what is written becomes settings, with defaults', async t => {
  const opaque = await settingsOf('tokens: opaque', introspection(URL, AUTH))
  t.match(opaque, {
    tokens: 'opaque',
    revocation: 'none',
    keys: null,
    introspection: {
      url: 'https://issuer.example/introspect',
      ca: null,
      authentication: { method: 'client_secret_basic', clientId: 'postern', clientSecret: 'very-secret' },
      cacheMs: 15_000,
      negativeCacheMs: 2000,
      timeoutMs: 3000,
      response: 'json',
      rules: { requiredClaims: ['client_id'], mayLack: ['exp'] },
    },
  })
  const strict = await settingsOf(
    'tokens: auto',
    'maxLifetime: 15m',
    'requiredClaims: [sub]',
    ALGORITHMS,
    KEYS,
    introspection(URL, AUTH, 'requireAudience: false', 'cache: 0s', 'response: jwt', 'ca: ca.pem'),
  )
  t.match(strict.introspection, {
    cacheMs: 0,
    response: 'jwt',
    rules: { requiredClaims: ['sub'], mayLack: ['aud'] },
  })
  t.same(strict.rules.mayLack, undefined, 'JWTs may lack nothing')
  t.match((await settingsOf(ALGORITHMS, KEYS)).rules.requiredClaims, ['sub', 'client_id', 'iat', 'jti'])
  const discovered = await settingsOf(
    'tokens: auto',
    ALGORITHMS,
    'keys: { discovery: true }',
    introspection(AUTH),
  )
  t.equal(discovered.introspection?.url, null)
})

t.test('credentials of every method', async t => {
  const auth = async (text: string) =>
    (await settingsOf('tokens: opaque', introspection(URL, `auth: { clientId: postern, ${text} }`)))
      .introspection?.authentication
  t.match(await auth('method: private_key_jwt, key: p256.key, keyId: k1, algorithm: ES256'), {
    keyId: 'k1',
    audience: 'https://issuer.example',
    key: /PRIVATE KEY/,
  })
  t.match(await auth('method: private_key_jwt, key: p256.key, algorithm: ES256, audience: other'), {
    keyId: null,
    audience: 'other',
  })
  t.match(await auth('method: tls_client_auth, cert: client.pem, key: client.key'), { cert: /CERTIFICATE/ })
  t.match(await auth('method: client_secret_post, clientSecretFile: windows'), {
    clientSecret: 'very-secret',
  })
})

t.test('files are watched, and a secret is never repeated', async t => {
  const { files } = await one('tokens: opaque', introspection(URL, AUTH))
  t.ok(files.includes(join(directory, 'secret')))
  const file = (name: string) =>
    one(
      'tokens: opaque',
      introspection(
        URL,
        `auth: { method: client_secret_basic, clientId: postern, clientSecretFile: ${name} }`,
      ),
    )
  t.match((await file('open')).warnings, [/open holds a secret, and everybody on this machine may read it/])
  t.same((await file('secret')).warnings, [])
  t.match((await file('empty')).problems, [/empty is empty/])
  t.match((await file('two-breaks')).problems, [/two-breaks has more than one line/])
  t.match((await file('absent')).problems, [/absent does not exist/])
  const inline = introspection(
    URL,
    'auth: { method: client_secret_basic, clientId: postern, clientSecret: very-secret }',
  )
  t.match((await one('tokens: opaque', inline)).warnings, [/the secret stands in the policy file/])
  const variable = inline.replace('very-secret', '$'.concat('{SECRET}'))
  t.same((await load({ main: [ISSUER, 'tokens: opaque', variable] }, { SECRET: 'very-secret' })).warnings, [])
  for (const name of ['open', 'two-breaks', 'secret'])
    t.notMatch(JSON.stringify([(await file(name)).problems, (await file(name)).warnings]), /very-secret/)
})

t.test('what does not fit together is a problem', async t => {
  const signed = [ALGORITHMS, KEYS]
  const key = (name: string, algorithm: string) =>
    introspection(
      URL,
      `auth: { method: private_key_jwt, clientId: postern, key: ${name}, algorithm: ${algorithm} }`,
    )
  const identity = (cert: string, file: string) =>
    `auth: { method: tls_client_auth, clientId: postern, cert: ${cert}, key: ${file} }`
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [['tokens: opaque'], /tokens: opaque needs introspection/],
    [['tokens: auto', ...signed], /tokens: auto needs introspection/],
    [['revocation: introspect', ...signed], /revocation: introspect needs introspection/],
    [[KEYS], /"algorithms" is missing in "main"/],
    [[ALGORITHMS], /"keys" is missing in "main"/],
    [['tokens: auto', ALGORITHMS, introspection(URL, AUTH)], /"keys" is missing in "main"/],
    [
      ['tokens: opaque', ALGORITHMS, introspection(URL, AUTH, 'response: jwt')],
      /"keys" is missing in "main"/,
    ],
    [['tokens: auto', ...signed, introspection(AUTH)], /"introspection" has no url/],
    [['tokens: opaque', introspection(URL)], /"auth" is missing in "introspection"/],
    [['tokens: opaque', introspection('url: http://issuer.example/i', AUTH)], /without encryption/],
    [
      ['tokens: opaque', introspection('url: http://127.0.0.1/i', identity('client.pem', 'client.key'))],
      /needs https/,
    ],
    [['tokens: opaque', introspection('url: https://u:p@issuer.example/i', AUTH)], /user name or password/],
    [['tokens: opaque', introspection(URL, 'auth: { clientId: postern }')], /"method" is missing in "auth"/],
    [
      ['tokens: opaque', introspection(URL, 'auth: { method: none, clientId: postern }')],
      /must have a method/,
    ],
    [
      ['tokens: opaque', introspection(URL, 'auth: { method: client_secret_basic, clientId: postern }')],
      /exactly one of clientSecret and clientSecretFile/,
    ],
    [['tokens: opaque', introspection(URL, AUTH, 'cache: 2h')], /"cache" must be between 0s and 1h/],
    [['tokens: opaque', introspection(URL, AUTH, 'negativeCache: 1m')], /"negativeCache" must be between/],
    [['tokens: opaque', introspection(URL, AUTH, 'retries: 3')], /"retries" is not a setting here/],
    [['tokens: opaque', key('p384.key', 'ES256')], /p384.key is no key for ES256/],
    [['tokens: opaque', key('server.key', 'RS256')], /RS256 is not allowed in the profile fapi1-advanced/],
    [['tokens: opaque', key('secret', 'ES256')], /secret has no private key that can be read/],
    [
      ['tokens: opaque', introspection(URL, identity('client.pem', 'p256.key'))],
      /p256.key is not the key of client.pem/,
    ],
    [['tokens: opaque', introspection(URL, identity('client.key', 'client.key'))], /holds a private key/],
  ]
  for (const [members, expected] of table) {
    const { problems } = await one(...members)
    t.ok(
      problems.some(problem => expected.test(problem)),
      `${expected} in ${problems.join('; ')}`,
    )
    t.equal(problems.length, 1, `and nothing else: ${problems.join('; ')}`)
    t.notMatch(problems.join(), /very-secret/)
  }
})

t.test('what is allowed and deserves a look is a warning', async t => {
  const signed = [ALGORITHMS, KEYS]
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [[...signed, introspection(URL, AUTH)], /nothing uses introspection/],
    [['tokens: opaque', 'revocation: introspect', introspection(URL, AUTH)], /revocation concerns JWTs/],
    [['tokens: opaque', ALGORITHMS, introspection(URL, AUTH)], /nothing uses "algorithms"/],
    [['tokens: opaque', introspection(URL, AUTH, 'cache: 301s')], /more than five minutes/],
    [['tokens: opaque', introspection(URL, AUTH, 'requireAudience: false')], /names no audience passes/],
  ]
  for (const [members, expected] of table) t.match((await one(...members)).warnings, [expected])
  t.same((await one('tokens: opaque', introspection(URL, AUTH, 'cache: 5m'))).warnings, [])
})

t.test('IN-11: of the issuers of a route one may take opaque tokens', async t => {
  const asked = introspection(URL, AUTH)
  const opaque = ['tokens: opaque', asked]
  const jwt = [ALGORITHMS, KEYS]
  const auto = ['tokens: auto', asked, ...jwt]
  const issuers = (...kinds: readonly (readonly string[])[]) =>
    load(
      Object.fromEntries(
        kinds.map((members, index) => [`i${index}`, [`issuer: https://i${index}.example`, ...members]]),
      ),
    )
  t.same((await issuers(opaque, jwt, jwt)).problems, [])
  t.same((await issuers(jwt, auto)).problems, [])
  t.match((await issuers(opaque, auto, jwt)).problems, [/"i0" and "i1" all take opaque tokens/])
  t.match((await issuers(opaque, opaque)).problems, [/all take opaque tokens/])
})
