// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how a policy names a variable
import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { tokenFacts } from '../../src/checks/token-facts.js'
import { policyJsonSchema } from '../../src/config/json-schema.js'
import type { Problem } from '../../src/config/problem.js'
import type { Configuration } from '../../src/config/settings.js'
import { FLOW_PRESETS, type FlowPreset } from '../../src/policy/flow-presets.js'
import type { Claims } from '../../src/policy/flow-rules.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import type { Flow, Route } from '../../src/policy/policy.js'
import { loadAndSend } from '../support/load-and-send.js'
import { createAuthority, KEY_USAGE } from '../support/pki.js'

const ROOT = join(import.meta.dirname, '../../..')
const DAY = 24 * 60 * 60 * 1000

const serverOptions = {
  commonName: 'localhost',
  sanDns: ['localhost'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
}
const ca = await createAuthority('Client CA', { notAfter: new Date(Date.now() + 100 * DAY) })
const otherCa = await createAuthority('Other CA', { notAfter: new Date(Date.now() + 100 * DAY) })
const intermediate = await ca.issueAuthority('Intermediate', { notAfter: new Date(Date.now() + 90 * DAY) })
const server = await intermediate.issue({ ...serverOptions, notAfter: new Date(Date.now() + 60 * DAY) })
const rsaServer = await ca.issue({
  ...serverOptions,
  key: 'rsa-2048',
  notAfter: new Date(Date.now() + 60 * DAY),
})
const jwk = (options: object = {}) => ({
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
  ...options,
})
const jwks = (...keys: object[]) => JSON.stringify({ keys })

const FILES: Readonly<Record<string, string | Buffer>> = {
  'server.pem': server.certificatePem + intermediate.certificatePem,
  'server.key': server.keyPem,
  'rsa.pem': rsaServer.certificatePem,
  'rsa.key': rsaServer.keyPem,
  'ca.pem': ca.certificatePem,
  'jwks.json': jwks(jwk()),
}

const POLICY = `version: 1
server:
  listen: 127.0.0.1:0
  publicUrl: https://localhost:8443
  tls:
    profile: fapi2
    certificates: [{ cert: server.pem, key: server.key }]
    clients: { ca: [ca.pem] }
issuers:
  main:
    issuer: https://issuer.example
    audience: [https://localhost:8443]
    algorithms: [ES256]
    keys: { file: jwks.json }
    flow: { preset: rfc9068 }
upstreams:
  provider: { url: http://127.0.0.1:8080 }
defaults: { upstream: provider, issuer: main }
apis:
  - name: Accounts
    base: /a
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /x: { scopes: { all: [r:x] } }
      POST /x: { scopes: none, flow: [authorization_code, client_credentials] }
`

type Edit = readonly [from: string, to: string]

interface Change {
  readonly edits?: readonly Edit[]
  readonly text?: string | Buffer
  readonly files?: Readonly<Record<string, string | Buffer>>
  readonly environment?: NodeJS.ProcessEnv
}

const directory = t.testdir()
let directories = 0

async function load(change: Change = {}): Promise<Configuration | readonly Problem[]> {
  const here = join(directory, String(directories++))
  mkdirSync(here)
  for (const [name, text] of Object.entries({ ...FILES, ...change.files }))
    writeFileSync(join(here, name), text)
  writeFileSync(join(here, 'p.yaml'), change.text ?? edited(change.edits ?? []))
  return loadAndSend(join(here, 'p.yaml'), change.environment ?? {})
}

function edited(edits: readonly Edit[]): string {
  let text = POLICY
  for (const [from, to] of edits) {
    if (text.split(from).length !== 2) throw new Error(`"${from}" must stand once in the policy`)
    text = text.replace(from, () => to)
  }
  return text
}

const isLoaded = (result: Configuration | readonly Problem[]): result is Configuration => 'settings' in result

async function loaded(change: Change = {}): Promise<Configuration> {
  const result = await load(change)
  if (isLoaded(result)) return result
  throw new Error(JSON.stringify(result, null, 1))
}

const short = (findings: readonly Problem[]) =>
  findings.map(one => `${one.line}:${one.column} ${one.message}`)

/** Each finding is the expected one, in this order, and there is no other. */
function same(t: Test, found: readonly Problem[], expected: readonly string[], name: string): void {
  const texts = short(found)
  const matches =
    texts.length === expected.length && expected.every((text, index) => texts[index]?.startsWith(text))
  if (matches) t.pass(name)
  else t.strictSame(texts, expected, name)
}

async function refused(t: Test, expected: readonly string[], change: Change, name: string): Promise<void> {
  const result = await load(change)
  same(t, isLoaded(result) ? [] : result, expected, name)
  if (!isLoaded(result))
    t.ok(
      result.every(one => one.file.endsWith('p.yaml') && one.message !== ''),
      `${name}: words`,
    )
}

async function warned(t: Test, expected: readonly string[], change: Change, name: string): Promise<void> {
  same(t, (await loaded(change)).warnings, expected, name)
}

const edit = (from: string, to: string): Change => ({ edits: [[from, to]] })

t.test('a valid policy becomes settings with every default, frozen', async t => {
  const { settings, routes, files, hash, warnings } = await loaded()
  t.strictSame(warnings, [])
  t.match(hash, /^[0-9a-f]{64}$/)
  t.equal(files.length, 5)
  for (const { path, sha256 } of files)
    t.equal(sha256, createHash('sha256').update(readFileSync(path)).digest('hex'), path)
  t.strictSame(settings.server.listen, { host: '127.0.0.1', port: 0 })
  t.strictSame(settings.server.publicOrigins, ['https://localhost:8443'])
  t.strictSame(settings.server.limits, {
    headerBytes: 32 * 1024,
    bodyBytes: 10 * 1024 * 1024,
    connections: 10_000,
    connectionsPerAddress: null,
    handshakes: 1000,
    requests: 5000,
    connectionAgeMs: 3_600_000,
    handshakeTimeoutMs: 10_000,
    proofs: 1_000_000,
    failures: { requests: 100, perSeconds: 60 },
    headersTimeoutMs: 10_000,
    requestTimeoutMs: 60_000,
    idleTimeoutMs: 75_000,
  })
  t.strictSame(settings.admin, { host: '127.0.0.1', port: 9464 })
  t.strictSame([settings.log.level, settings.errors], ['info', 'fdx'])
  const { tls } = settings.server
  t.strictSame(
    [tls.profile, tls.clients.trust, tls.clients.crl, tls.clients.onExpiredCrl],
    ['fapi2', 'pki', null, 'deny'],
  )
  t.equal(tls.clients.ca.length, 1)
  t.match(tls.certificates, [{ name: 'server.pem', dnsNames: ['localhost'], key: server.keyPem }])
  t.equal(tls.certificates[0]?.cert.split('BEGIN CERTIFICATE').length, 3)
  const main = settings.issuers.get('main')
  t.strictSame(main?.rules, {
    name: 'main',
    issuer: 'https://issuer.example',
    audience: ['https://localhost:8443'],
    algorithms: ['ES256'],
    typ: ['at+jwt'],
    clockSkewSeconds: 10,
    maxLifetimeSeconds: null,
    requiredClaims: ['sub', 'client_id', 'iat', 'jti'],
    claims: { scope: 'scope', clientId: ['client_id'] },
    flow: FLOW_PRESETS.rfc9068,
    clients: null,
  })
  t.strictSame([main?.place.line, main?.place.column, main?.keys?.from], [10, 3, 'file'])
  t.strictSame(settings.upstreams.get('provider'), {
    name: 'provider',
    urls: ['http://127.0.0.1:8080'],
    ca: null,
    connectTimeoutMs: 2000,
    responseTimeoutMs: 30_000,
    connections: 256,
    authorization: 'forward',
    clientCert: 'strip',
    engine: 'builtin',
    retry: null,
    health: null,
  })
  t.strictSame(routes.routes[0], {
    id: 'GET /a/x',
    method: 'GET',
    template: '/a/x',
    api: 'Accounts',
    mtls: true,
    certificates: null,
    token: {
      issuers: ['main'],
      flows: ['authorization_code'],
      scopes: { all: ['r:x'], any: [], optional: [] },
      binding: 'required',
      dpop: {
        origins: ['https://localhost:8443'],
        algorithms: ['PS256', 'ES256', 'EdDSA', 'Ed25519'],
        maxAgeSeconds: 60,
        futureSkewSeconds: 15,
        nonce: 'none',
        satisfiesBinding: true,
      },
      maxLifetimeSeconds: null,
      stepUp: null,
      claims: [],
    },
    upstream: 'provider',
    errors: 'fdx',
    upgrade: null,
    responseTimeoutMs: null,
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
    metadataPath: null,
    metadata: null,
    rates: [],
  })
  t.strictSame(routes.routes[1]?.token?.flows, ['authorization_code', 'client_credentials'])
  t.throws(() => Object.assign(settings.server.limits, { bodyBytes: 0 }), TypeError)
  t.throws(() => Object.assign(settings.issuers.get('main')?.rules ?? {}, { issuer: '' }), TypeError)
})

t.test('every setting can be written, and is read', async t => {
  const text = `# all of it
version: 1
server:
  listen: "[::1]:8443"
  publicUrl: [https://API.bank.example:443, https://localhost:8443]
  workers: auto
  tls:
    profile: compatible
    certificates: [{ cert: server.pem, key: server.key }, { cert: rsa.pem, key: rsa.key }]
    clients: { trust: pki, ca: [ca.pem], crl: [ca.crl], onExpiredCrl: allow }
  limits: { headerBytes: 16KiB, bodyBytes: 500B, connections: 7, connectionsPerAddress: 6, handshakes: 5, requests: 4, connectionAge: 2h, handshakeTimeout: 3s, proofs: 9, failures: { requests: 8, per: 2m }, headersTimeout: 5s, requestTimeout: 2m, idleTimeout: 1m }
admin: { listen: localhost:0 }
log: { level: debug }
issuers:
  fetched:
    issuer: https://one.example
    audience: one
    tokens: jwt
    algorithms: [PS256, EdDSA]
    typ: [application/AT+JWT, at+jwt]
    keys: { url: "https://one.example/keys?v=1", refresh: 1m, cooldown: 5s, staleFor: 2h, ca: ca.pem }
    revocation: none
    clockSkew: 500ms
    maxLifetime: 15m
    requiredClaims: []
    claims: { scope: scp, clientId: [client_id, azp] }
    flow:
      - { when: { claim: gty, equals: client-credentials }, is: client_credentials }
      - when: { all: [{ claim: sub, exists: true }, { not: { claim: sub, equalsClaim: client_id } }] }
        is: authorization_code
  found:
    issuer: https://two.example
    audience: [two]
    algorithms: [ES512]
    keys: { discovery: true }
    flow:
      preset: rfc9068
      rules: [{ when: { any: [{ claim: a, in: [1, x] }, { claim: b, prefix: p }, { claim: c, suffix: s }] }, is: client_credentials }]
upstreams:
  one: { url: https://one.internal:8443, timeouts: { connect: 1s, response: 5s }, connections: 3, authorization: strip, clientCert: forward, engine: http-proxy, tls: { ca: ca.pem } }
  two: { url: http://localhost }
defaults: { security: [oauth2], flow: client_credentials, issuer: [fetched, found], upstream: one, errors: problem, binding: required, timeout: 1s, dpop: { algorithms: [ES512, RS256], maxAge: 30s, futureSkew: 0s, nonce: required } }
apis:
  - name: All
    base: /
    scopes: none
    routes:
      GET /ws: { id: socket, upgrade: websocket, upstream: two, timeout: 2s, paths: { encodedPercent: allow, semicolon: allow, encodedSlash: refuse } }
      GET /rest/{path...}: { security: public, errors: fdx }
      PUT /m/{id}: { security: [mtls], certificates: [{ commonName: a, dns: A.example }], profile: custom, headers: strict }
      DELETE /o: { claims: { tenant: { equals: acme, otherwise: 404 } }, acr: gold, maxAuthAge: 5m, scopes: { any: [a, b], all: [c], optional: [d] }, flow: [authorization_code], issuer: found, binding: if-present, dpop: { maxAge: 5m } }
`
  const { settings, routes } = await loaded({ text, files: { 'ca.crl': await ca.crl() } })
  t.strictSame(settings.server.listen, { host: '::1', port: 8443 })
  t.equal(settings.server.workers, 'auto')
  t.strictSame(settings.server.publicOrigins, ['https://api.bank.example', 'https://localhost:8443'])
  t.strictSame(settings.server.limits, {
    headerBytes: 16 * 1024,
    bodyBytes: 500,
    connections: 7,
    connectionsPerAddress: 6,
    handshakes: 5,
    requests: 4,
    connectionAgeMs: 7_200_000,
    handshakeTimeoutMs: 3000,
    proofs: 9,
    failures: { requests: 8, perSeconds: 120 },
    headersTimeoutMs: 5000,
    requestTimeoutMs: 120_000,
    idleTimeoutMs: 60_000,
  })
  t.match(settings.server.tls.clients, {
    trust: 'pki',
    onExpiredCrl: 'allow',
    crl: [{ name: 'ca.crl', signers: [ca.certificate.fingerprint256.replaceAll(':', '')] }],
  })
  t.match(settings.issuers.get('fetched'), {
    keys: {
      from: 'url',
      url: 'https://one.example/keys?v=1',
      refreshMs: 60_000,
      cooldownMs: 5000,
      staleForMs: 7_200_000,
      ca: ca.certificatePem,
    },
    rules: {
      audience: ['one'],
      typ: ['at+jwt'],
      clockSkewSeconds: 0.5,
      maxLifetimeSeconds: 900,
      requiredClaims: [],
      claims: { scope: 'scp', clientId: ['client_id', 'azp'] },
      flow: {
        name: 'rules',
        rules: [
          { when: { claim: 'gty', equals: 'client-credentials' }, is: 'client_credentials' },
          {
            when: {
              all: [{ claim: 'sub', exists: true }, { not: { claim: 'sub', equalsClaim: 'client_id' } }],
            },
          },
        ],
      },
    },
  })
  t.match(settings.issuers.get('found'), {
    keys: { from: 'discovery', refreshMs: 300_000, cooldownMs: 30_000, staleForMs: 3_600_000, ca: null },
    rules: {
      flow: { name: 'rules before rfc9068', rules: [{ when: { any: [{ in: [1, 'x'] }, {}, {}] } }, {}, {}] },
    },
  })
  t.strictSame(settings.upstreams.get('one'), {
    name: 'one',
    urls: ['https://one.internal:8443'],
    ca: ca.certificatePem,
    connectTimeoutMs: 1000,
    responseTimeoutMs: 5000,
    connections: 3,
    authorization: 'strip',
    clientCert: 'forward',
    engine: 'http-proxy',
    retry: null,
    health: null,
  })
  t.equal(settings.errors, 'problem')
  const [socket, rest, mtls, own] = routes.routes as [Route, Route, Route, Route]
  t.match(socket, {
    id: 'socket',
    template: '/ws',
    upgrade: 'websocket',
    upstream: 'two',
    responseTimeoutMs: 2000,
    paths: ['semicolon', 'encodedPercent'],
  })
  t.match(socket.token, { issuers: ['fetched', 'found'], flows: ['client_credentials'], binding: 'required' })
  t.match(rest, { mtls: false, token: null, errors: 'fdx', responseTimeoutMs: 1000 })
  t.match(mtls, { id: 'PUT /m/{id}', mtls: true, token: null, profile: 'custom', headers: 'strict' })
  t.strictSame(mtls.certificates, [
    [
      { field: 'commonName', is: 'a' },
      { field: 'dns', is: 'a.example' },
    ],
  ])
  t.strictSame(own.token, {
    issuers: ['found'],
    flows: ['authorization_code'],
    scopes: { any: ['a', 'b'], all: ['c'], optional: ['d'] },
    binding: 'if-present',
    dpop: {
      origins: ['https://api.bank.example', 'https://localhost:8443'],
      algorithms: ['ES512', 'RS256'],
      maxAgeSeconds: 300,
      futureSkewSeconds: 0,
      nonce: 'required',
      satisfiesBinding: true,
    },
    maxLifetimeSeconds: null,
    stepUp: { acr: ['gold'], maxAuthAgeSeconds: 300 },
    claims: [
      {
        claim: 'tenant',
        test: { equals: { from: 'policy', value: 'acme' } },
        appliesTo: null,
        otherwise: 404,
      },
    ],
  })
})

t.test('what the schema refuses is said at its line, with what to do', async t => {
  const bad: readonly (readonly [from: string, to: string, ...expected: string[]])[] = [
    ['version: 1', 'version: 2', '1:10 "version" must be 1'],
    ['version: 1\n', '', '1:1 "version" is missing'],
    ['127.0.0.1:0', '8443', '3:11 "listen" must be an address and a port'],
    ['127.0.0.1:0', '256.0.0.1:1', '3:11 "listen" must be an address and a port'],
    ['127.0.0.1:0', 'localhost:65536', '3:11 "listen" must be an address and a port'],
    ['127.0.0.1:0', '"::1:8443"', '3:11 "listen" must be an address and a port'],
    ['  listen: 127.0.0.1:0\n', '', '2:1 "listen" is missing in "server"'],
    [
      'publicUrl: https://localhost:8443',
      'publicUrl: https://localhost:8443/api',
      '4:14 "publicUrl" has a path',
    ],
    [
      'publicUrl: https://localhost:8443',
      'publicUrl: [https://a.example, "https://u:geheim@b.example"]',
      '4:34 entry 2 of "publicUrl" has a user name or password',
    ],
    ['publicUrl: https://localhost:8443', 'publicUrl: []', '4:14 "publicUrl" has no entries'],
    ['publicUrl: https://localhost:8443', 'publicUrl: localhost', '4:14 "publicUrl" must be an https URL'],
    ['profile: fapi2', 'profile: fapi3', '6:14 "profile" must be fapi1-advanced, fapi2 or compatible'],
    ['    profile: fapi2\n', '', '5:3 "profile" is missing in "tls"'],
    ['[{ cert: server.pem, key: server.key }]', '[]', '7:19 "certificates" has no entries'],
    [
      '[{ cert: server.pem, key: server.key }]',
      'server.pem',
      '7:19 "certificates" must be a list of certificates',
    ],
    [', key: server.key', '', '7:20 "key" is missing in entry 1 of "certificates"'],
    ['clients: { ca: [ca.pem] }', 'clients: { ca: ca.pem }', '8:20 "ca" must be a list of files'],
    [
      'clients:',
      'cleints:',
      '5:3 routes ask for a client certificate',
      '8:5 "cleints" is not a setting here',
    ],
    ['issuer: https://issuer.example', 'issuer: ""', '11:13 "issuer" must be the exact iss of its tokens'],
    ['    audience: [https://localhost:8443]\n', '', '10:3 "audience" is missing in "main"'],
    [
      'audience: [https://localhost:8443]',
      'audience: [3]',
      '12:16 entry 1 of "audience" must be an audience',
    ],
    ['[ES256]', '[HS256]', '13:18 entry 1 of "algorithms" must be a signature algorithm with a public key'],
    ['[ES256]', '[none]', '13:18 entry 1 of "algorithms" must be a signature algorithm with a public key'],
    ['[ES256]', '[]', '13:17 "algorithms" has no entries'],
    ['    algorithms: [ES256]\n', '', '10:3 "algorithms" is missing in "main"'],
    [
      '{ file: jwks.json }',
      '{ file: jwks.json, discovery: true }',
      '14:11 "keys" must have exactly one of file, url and discovery',
    ],
    ['{ file: jwks.json }', '{}', '14:11 "keys" must have exactly one of file, url and discovery'],
    [
      '{ file: jwks.json }',
      '{ file: jwks.json, refresh: 5m }',
      '14:39 "refresh" has no effect on keys from a file',
    ],
    ['{ file: jwks.json }', '{ url: http://issuer.example }', '14:18 "url" must be an https URL'],
    [
      '{ file: jwks.json }',
      '{ discovery: true, refresh: 5 }',
      '14:39 "refresh" must be a duration with a unit',
    ],
    [
      '{ file: jwks.json }',
      '{ discovery: true, refresh: 5 m }',
      '14:39 "refresh" must be a duration with a unit',
    ],
    ['{ file: jwks.json }', '{ discovery: true, refresh: 1s }', '14:39 "refresh" must be between 10s and 1d'],
    ['    keys: { file: jwks.json }\n', '', '10:3 "keys" is missing in "main"'],
    [
      'flow: { preset: rfc9068 }',
      'flow: { preset: rcf9068 }',
      '15:21 "preset" must be rfc9068, oidc-provider',
    ],
    ['flow: { preset: rfc9068 }', 'flow: {}', '15:11 "flow" has neither preset nor rules'],
    ['flow: { preset: rfc9068 }', 'flow: []', '15:11 "flow" has no rules'],
    ['    flow: { preset: rfc9068 }\n', '', '10:3 "flow" is missing in "main"'],
    [
      '{ preset: rfc9068 }',
      '[{ when: { claim: a }, is: client_credentials }]',
      '15:20 "when" must ask exactly one thing',
    ],
    [
      '{ preset: rfc9068 }',
      '[{ when: { claim: a, exists: true, equals: 1 }, is: client_credentials }]',
      '15:20 "when" must ask exactly one thing',
    ],
    [
      '{ preset: rfc9068 }',
      '[{ when: { claim: a, exists: true, not: { claim: b, exists: true } }, is: client_credentials }]',
      '15:20 "when" must ask exactly one thing',
    ],
    ['{ preset: rfc9068 }', '[{ when: { all: [] }, is: client_credentials }]', '15:27 "all" has no entries'],
    [
      '{ preset: rfc9068 }',
      '[{ when: { claim: a, matches: x }, is: client_credentials }]',
      '15:32 "matches" is not a setting here',
    ],
    ['{ preset: rfc9068 }', '[{ is: client_credentials }]', '15:12 "when" is missing in entry 1 of "flow"'],
    ['url: http://127.0.0.1:8080', 'url: http://127.0.0.1:8080/base', '17:20 "url" has a path'],
    ['url: http://127.0.0.1:8080', 'url: ftp://127.0.0.1', '17:20 "url" must be an http or https URL'],
    [
      'url: http://127.0.0.1:8080',
      'url: http://127.0.0.1:8080, connections: 0',
      '17:56 "connections" must be a whole number from 1 to',
    ],
    [
      'url: http://127.0.0.1:8080',
      'url: http://127.0.0.1:8080, timeouts: { conect: 1s }',
      '17:55 "conect" is not a setting here',
    ],
    [
      'provider: { url',
      '2nd: { url',
      '17:3 "2nd" is not a name',
      '18:23 "provider" is not defined in upstreams',
    ],
    [
      'name: Accounts',
      'nam: Accounts',
      '20:5 "nam" is not a setting here',
      '20:5 "name" is missing in entry 1 of "apis"',
    ],
    ['base: /a', 'base: /a/', '21:11 "base" must be a path that begins with / and does not end with it'],
    ['[mtls, oauth2]', '[]', '22:15 "security" asks for nothing'],
    ['[mtls, oauth2]', 'none', '22:15 "security" must say what is asked of callers'],
    ['[mtls, oauth2]', '[mtls, oauth]', '22:22 entry 2 of "security" must be mtls or oauth2'],
    ['GET /x:', 'get /x:', '25:7 "get /x" must be a method and a path'],
    ['GET /x:', 'TRACE /x:', '25:7 "TRACE /x" must be a method and a path'],
    ['GET /x:', 'GET x:', '25:7 "GET x" must be a method and a path'],
    ['{ scopes: { all: [r:x] } }', '', '25:15 "GET /x" must be a map of settings'],
    ['{ all: [r:x] }', '{ all: r:x }', '25:32 "all" must be a list of scopes'],
    ['{ all: [r:x] }', '{ all: ["r x"] }', '25:33 entry 1 of "all" must be a scope'],
    ['{ all: [r:x] }', '{ all: [] }', '25:32 "all" has no entries'],
    ['{ all: [r:x] }', '{ optional: [a] }', '25:25 "scopes" asks for nothing'],
    ['{ all: [r:x] }', '[r:x]', '25:25 "scopes" must be none, or name scopes'],
    [
      'scopes: none',
      'scope: none',
      '26:7 "POST /x" asks for a token and has no scopes',
      '26:18 "scope" is not a setting here',
    ],
    ['apis:\n', 'routes: {}\napis:\n', '19:1 "routes" is not a setting here'],
  ]
  for (const [from, to, ...expected] of bad) await refused(t, expected, edit(from, to), `${from} → ${to}`)

  const hintOf = async (from: string, to: string) => {
    const result = await load(edit(from, to))
    return isLoaded(result) ? '' : (result.at(-1)?.hint ?? '')
  }
  t.match(await hintOf('audience:', 'audiense:'), 'did you mean "audience"?')
  t.match(await hintOf('preset: rfc9068', 'preset: rcf9068'), 'did you mean "rfc9068"?')
  t.match(
    await hintOf('flow: authorization_code', 'flow: authorisation_code'),
    'did you mean "authorization_code"?',
  )
  t.match(await hintOf('issuer: main', 'issuer: mian'), 'did you mean "main"?')
  t.match(await hintOf('upstream: provider', 'upstream: nobody'), 'defined: provider')
  t.notMatch(await hintOf('[ES256]', '[HS256]'), 'did you mean')
})

t.test('the number of workers is a count, or auto', async t => {
  const workers = async (value: string, environment = {}) => {
    const result = await load({ ...edit('  listen:', `  workers: ${value}\n  listen:`), environment })
    return isLoaded(result) ? result.settings.server.workers : result.map(({ message }) => message).join()
  }
  t.equal(await workers('1'), 1)
  t.equal(await workers('64'), 64)
  t.equal(await workers('auto'), 'auto')
  t.equal(await workers('${N}', { N: '3' }), 3)
  t.equal(await workers('${N}', { N: 'auto' }), 'auto')
  for (const value of ['0', '65', '1.5', 'all', '"2"', '[]'])
    t.match(await workers(value), '"workers" must be a number from 1 to 64, or auto', value)
})

t.test('what belongs to later versions is refused by name', async t => {
  const bad: readonly (readonly [from: string, to: string, expected: string])[] = [
    ['publicUrl: https:', 'publicUrl: http:', '4:14 "publicUrl: http://localhost:8443"'],
    ['issuer: main }', 'issuer: main, fields: {} }', '18:47 "fields"'],
    ['apis:', 'store: memory\napis:', '19:1 "store"'],
  ]
  for (const key of ['mode', 'until', 'fields', 'revokes'])
    await refused(
      t,
      [`25:17 "${key}" is not enforced by this version`],
      edit('GET /x: { scopes', `GET /x: { ${key}: 1, scopes`),
      key,
    )
  for (const [from, to, expected] of bad)
    await refused(t, [`${expected} is not enforced by this version of Postern`], edit(from, to), expected)
})

t.test('what a policy means is checked as well', async t => {
  const bad: readonly (readonly [from: string, to: string, ...expected: string[]])[] = [
    ['    security: [mtls, oauth2]\n', '', '24:7 "GET /x" has no security', '25:7 "POST /x" has no security'],
    ['    flow: authorization_code\n', '', '24:7 "GET /x" asks for a token and has no flow'],
    ['{ scopes: { all: [r:x] } }', '{}', '25:7 "GET /x" asks for a token and has no scopes'],
    [
      'defaults: { upstream: provider, issuer: main }\n',
      '',
      '24:7 "GET /x" asks for a token and has no issuer',
      '24:7 "GET /x" has no upstream',
      '25:7 "POST /x" asks for a token and has no issuer',
      '25:7 "POST /x" has no upstream',
    ],
    ['issuer: main', 'issuer: [main, other]', '18:48 "other" is not defined in issuers'],
    ['GET /x: {', 'GET /x: { upstream: pr0vider,', '25:27 "pr0vider" is not defined in upstreams'],
    ['GET /x: {', 'GET /x: { security: [mtls],', '25:35 "scopes" has no meaning here'],
    [
      'GET /x: {',
      'GET /x: { security: public, flow: client_credentials, issuer: main, binding: required,',
      '25:35 "flow" has no meaning',
      '25:61 "issuer" has no meaning',
      '25:75 "binding" has no meaning',
      '25:94 "scopes" has no meaning',
    ],
    [
      '[mtls, oauth2]',
      '[mtls]',
      '23:5 "flow" has no meaning here: no route of the API',
      '25:17 "scopes" has no meaning',
      '26:18 "scopes" has no meaning',
      '26:32 "flow" has no meaning',
    ],
    [
      'GET /x: {',
      'GET /x: { binding: if-present,',
      '25:26 a token that is not bound to the client certificate would pass, which the profile fapi2 forbids',
    ],
    ['GET /x: {', 'POST /y: { upgrade: websocket,', '25:27 a WebSocket handshake is a GET request'],
    ['POST /x: {', 'GET /x/y/../z: {', '26:7 no request can match "/a/x/y/../z"'],
    ['POST /x: {', 'GET /{x: {', '26:7 "{x" is neither a literal nor one parameter'],
    [
      'POST /x: {',
      'GET /{a}: { scopes: none }\n      GET /{b}: {',
      '27:7 no request could tell this route from GET /a/{a} at',
    ],
    ['POST /x: {', 'POST /x: { id: GET /a/x,', '26:22 the id is already that of the route at'],
    ['POST /x: {', `GET ${'/x'.repeat(130)}: {`, '26:7 no request can reach GET /a/x'],
    [
      '  main:',
      '  other: { issuer: https://issuer.example, audience: a, algorithms: [ES256], keys: { discovery: true }, flow: { preset: rfc9068 } }\n  main:',
      '12:13 "other" and "main" have the same issuer',
    ],
    ['[ES256]', '[ES256, RS256]', '13:25 RS256 is not allowed in the profile fapi2'],
    [
      '{ url: http://127.0.0.1:8080 }',
      '{ url: http://127.0.0.1:8080, tls: { ca: ca.pem } }',
      '17:43 "tls" has no effect on an http upstream',
    ],
    [
      'clients: { ca: [ca.pem] }',
      'clients: {}',
      '8:5 routes ask for a client certificate, and no authority is named',
    ],
    [
      'clients: { ca: [ca.pem] }',
      'clients: { trust: possession, ca: [ca.pem] }',
      '8:35 "ca" has no effect with trust: possession',
    ],
    [
      '  tls:\n',
      '  limits: { headersTimeout: 61s }\n  tls:\n',
      '5:13 "headersTimeout" is longer than "requestTimeout"',
    ],
  ]
  for (const [from, to, ...expected] of bad) await refused(t, expected, edit(from, to), `${from} → ${to}`)
  await refused(
    t,
    ['11:13 discovery needs an issuer that is an https URL'],
    {
      edits: [
        ['issuer: https://issuer.example', 'issuer: http://issuer.example'],
        ['{ file: jwks.json }', '{ discovery: true }'],
      ],
    },
    'discovery of an issuer without https',
  )
  await refused(
    t,
    ['9:18 the admin port is the port of server.listen'],
    {
      edits: [
        ['issuers:\n', 'admin: { listen: 127.0.0.1:8443 }\nissuers:\n'],
        ['listen: 127.0.0.1:0', 'listen: 127.0.0.1:8443'],
      ],
    },
    'one port for two',
  )
  await refused(
    t,
    ['13:18 EdDSA is not allowed in the profile fapi1-advanced'],
    {
      edits: [
        ['[ES256]', '[EdDSA]'],
        ['profile: fapi2', 'profile: fapi1-advanced'],
        ['cert: server.pem, key: server.key', 'cert: rsa.pem, key: rsa.key'],
      ],
    },
    'EdDSA is of FAPI 2.0',
  )
})

t.test('what is allowed and deserves a look is a warning', async t => {
  const cases: readonly (readonly [change: readonly Edit[], ...expected: string[]])[] = [
    [
      [['GET /x: { scopes: { all: [r:x] } }', 'GET /x: { security: public }']],
      '25:27 public: no certificate and no token',
    ],
    [[['[mtls, oauth2]', '[oauth2]']], '22:15 [oauth2] alone is not FAPI 2.0'],
    [
      [
        ['[mtls, oauth2]', '[oauth2]'],
        ['base: /a', 'base: /a\n    binding: required'],
      ],
    ],
    [
      [
        ['[mtls, oauth2]', '[oauth2]'],
        ['profile: fapi2', 'profile: compatible'],
      ],
    ],
    [
      [
        ['GET /x: {', 'GET /x: { binding: if-present,'],
        ['profile: fapi2', 'profile: compatible'],
      ],
      '25:26 a token that is not bound',
    ],
    [
      [
        ['[ES256]', '[RS256]'],
        ['profile: fapi2', 'profile: compatible'],
      ],
      '13:18 RS256 is not a FAPI algorithm',
    ],
    [[['    keys:', '    typ: [at+jwt, none]\n    keys:']], '14:10 with typ none other tokens'],
    [
      [['upstreams:\n', 'upstreams:\n  spare: { url: https://spare.example }\n']],
      '17:3 no route uses "spare"',
    ],
    [
      [['url: http://127.0.0.1:8080', 'url: http://provider.internal']],
      '17:20 requests and tokens go to this upstream without encryption',
    ],
    [
      [['issuers:\n', 'admin: { listen: 0.0.0.0:9464 }\nissuers:\n']],
      '9:18 the admin port listens beyond this machine',
    ],
    [[['issuer: https://issuer.example', 'issuer: issuer.example']], '11:13 the issuer is not an https URL'],
    [[['preset: rfc9068', 'preset: okta']], '15:11 the preset okta is experimental'],
    [[['GET /x:', 'GET /:']], '25:7 this is /a/ with the slash at its end, not /a'],
    [
      [['{ preset: rfc9068 }', '[{ when: { claim: sub, exists: true }, is: authorization_code }]']],
      '15:11 no rule says client_credentials',
    ],
    [
      [
        [
          '{ preset: rfc9068 }',
          '[{ when: { not: { claim: uid, exists: true } }, is: client_credentials }, { when: { claim: sub, exists: true }, is: authorization_code }]',
        ],
      ],
      '15:11 the flow follows from the mere absence of one claim',
    ],
    [
      [
        [
          '{ preset: rfc9068 }',
          '[{ when: { all: [{ claim: uid, exists: false }, { claim: sub, exists: true }] }, is: client_credentials }, { when: { claim: uid, exists: true }, is: authorization_code }]',
        ],
      ],
    ],
  ]
  for (const [edits, ...expected] of cases)
    await warned(t, expected, { edits }, edits.map(([, to]) => to).join(' and '))
  t.match(await load({ text: `${POLICY.slice(0, POLICY.indexOf('  - name'))}  []\n` }), {
    warnings: [{ message: /there are no APIs/ }],
  })
})

t.test('one mistake hides no other', async t => {
  const edits: readonly Edit[] = [
    ['version: 1', 'version: one'],
    ['127.0.0.1:0', 'nowhere'],
    ['cert: server.pem', 'cert: gone.pem'],
    ['ca: [ca.pem]', 'ca: [gone-too.pem]'],
    ['audience:', 'audiense:'],
    ['jwks.json', 'gone.json'],
    ['url: http://127.0.0.1:8080', 'url: x'],
    ['upstream: provider', 'upstream: provder'],
    ['base: /a', 'base: a'],
    ['all: [r:x]', 'al: [r:x]'],
    ['scopes: none', 'scopes: some'],
  ]
  await refused(
    t,
    [
      '1:10 "version" must be 1',
      '3:11 "listen" must be an address',
      '7:28 gone.pem does not exist',
      '8:21 gone-too.pem does not exist',
      '10:3 "audience" is missing',
      '12:5 "audiense" is not a setting',
      '14:19 gone.json does not exist',
      '17:20 "url" must be an http or https URL',
      '18:23 "provder" is not defined',
      '21:11 "base" must be',
      '25:27 "al" is not a setting',
      '26:26 "scopes" must be none',
    ],
    { edits },
    'twelve mistakes',
  )
})

t.test('variables of the environment', async t => {
  const { settings, hash } = await loaded({
    edits: [
      ['listen: 127.0.0.1:0', 'listen: ${HOST:-127.0.0.1}:${PORT}'],
      ['issuer: https://issuer.example', 'issuer: ${ISSUER:-https://fallback.example}/a$$b'],
      ['url: http://127.0.0.1:8080', 'url: "http://127.0.0.1:${UP:-81}", connections: 9'],
      ['apis:', 'log: { level: "${LEVEL}" }\napis:'],
    ],
    environment: { PORT: '8443', ISSUER: '', LEVEL: 'warn' },
  })
  t.strictSame(settings.server.listen, { host: '127.0.0.1', port: 8443 })
  t.equal(
    settings.issuers.get('main')?.rules.issuer,
    'https://fallback.example/a$b',
    'empty counts as unset for a default',
  )
  t.equal(settings.upstreams.get('provider')?.urls[0], 'http://127.0.0.1:81')
  t.equal(settings.log.level, 'warn')

  const limited = (value: string) => edit('  tls:\n', `  limits:\n    connections: ${value}\n  tls:\n`)
  const connections = async (value: string) => {
    const result = await load({ ...limited(value), environment: { N: '12' } })
    return isLoaded(result) ? result.settings.server.limits.connections : short(result)
  }
  t.equal(await connections('${N}'), 12, 'a number where the schema wants one')
  t.strictSame(
    await connections('"${N}"'),
    ['6:18 "connections" must be a whole number from 1 to 1000000'],
    'quoted it is text',
  )
  t.strictSame(await connections('"12"'), ['6:18 "connections" must be a whole number from 1 to 1000000'])
  t.equal(
    (await loaded({ edits: [['name: Accounts', 'name: ${N}']], environment: { N: '12' } })).routes.routes[0]
      ?.api,
    '12',
    'text where it wants text',
  )
  t.match(
    await loaded({
      edits: [['{ file: jwks.json }', '\n      discovery: ${YES}']],
      environment: { YES: 'true' },
    }),
    { settings: { issuers: new Map([['main', { keys: { from: 'discovery' } }]]) } },
  )

  await refused(
    t,
    ['3:11 the environment variable LISTEN is not set'],
    edit('127.0.0.1:0', '${LISTEN}'),
    'unset',
  )
  await refused(
    t,
    ['3:11 the environment variable A is not set', '3:11 the environment variable B is not set'],
    edit('127.0.0.1:0', '${A}:${B}'),
    'two unset',
  )
  await refused(
    t,
    ['3:11 the environment variable __proto__ is not set'],
    edit('127.0.0.1:0', '${__proto__}'),
    'a name of every object',
  )
  for (const text of ['${}', '${1A}', '${A', '${A:?x}', '${A-x}'])
    await refused(t, ['3:11 "${" begins a variable here'], edit('127.0.0.1:0', `"${text}"`), text)
  await refused(
    t,
    ['10:3 "${X}" is not a name', '18:41 "main" is not defined in issuers'],
    { edits: [['  main:', '  ${X}:']], environment: { X: 'main' } },
    'keys stay as they are',
  )
  await refused(
    t,
    ['7:29 this does not belong here'],
    edit('cert: server.pem', 'cert: ${CERT}'),
    'unquoted in brackets',
  )

  const secret = 'hunter2-hunter2'
  for (const from of [
    '127.0.0.1:0',
    'https://issuer.example',
    'http://127.0.0.1:8080',
    'main }',
    'provider,',
    '/a\n',
    'fapi2',
    'jwks.json',
    'authorization_code\n',
  ]) {
    const result = await load({
      edits: [[from, `"\${SECRET}"${/[,}\n ]+$/.exec(from)?.[0] ?? ''}`]],
      environment: { SECRET: secret },
    })
    const named = from === 'jwks.json'
    if (!isLoaded(result) && !named)
      t.notMatch(JSON.stringify(result), secret, `the value is not shown for ${from.trim()}`)
  }

  const again = (value: string) =>
    loaded({ edits: [['127.0.0.1:0', '127.0.0.1:${P}']], environment: { P: value } })
  t.not((await again('1')).hash, (await again('2')).hash, 'the hash covers what came from the environment')
  t.equal((await again('1')).hash, (await again('1')).hash, 'and nothing that changes by itself')
  t.not(hash, (await loaded()).hash)
  t.not(
    (await loaded()).hash,
    (await loaded({ files: { 'jwks.json': jwks(jwk({ kid: 'new' })) } })).hash,
    'the hash covers named files',
  )
})

t.test('server certificates', async t => {
  const weak = await ca.issue({ ...serverOptions, key: 'rsa-1024' })
  const rsaCa = await createAuthority('RSA CA', { key: 'rsa-2048' })
  const signedWithSha1 = await rsaCa.issue({
    ...serverOptions,
    signatureHash: 'SHA-1',
    notAfter: new Date(Date.now() + 60 * DAY),
  })
  const expired = await ca.issue({
    ...serverOptions,
    notBefore: new Date(Date.now() - 9 * DAY),
    notAfter: new Date(Date.now() - 2 * DAY),
  })
  const soon = await ca.issue({ ...serverOptions, notAfter: new Date(Date.now() + 3.5 * DAY) })
  const future = await ca.issue({
    ...serverOptions,
    notBefore: new Date(Date.now() + DAY),
    notAfter: new Date(Date.now() + 60 * DAY),
  })
  const forClients = await ca.issue({ sanDns: ['localhost'], notAfter: new Date(Date.now() + 60 * DAY) })
  const day = (offset: number) => new Date(Date.now() + offset * DAY).toISOString().slice(0, 10)
  const refuse = (expected: readonly string[], files: Change['files'], name: string) =>
    refused(t, expected, { files: files ?? {} }, name)

  await refuse(['7:28 server.pem has no certificate in PEM form'], { 'server.pem': 'nothing' }, 'no PEM')
  await refuse(
    ['7:28 server.pem has a certificate (number 1) that cannot be read'],
    { 'server.pem': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' },
    'bad PEM',
  )
  await refuse(
    ['7:28 server.pem has a PEM block that does not end'],
    { 'server.pem': `${server.certificatePem}-----BEGIN CERTIFICATE-----\nAAAA` },
    'half a block',
  )
  await refuse(['7:28 server.pem holds a private key'], { 'server.pem': server.keyPem }, 'files swapped')
  await refuse(
    ['7:45 server.key has no private key that can be read'],
    { 'server.key': server.certificatePem },
    'no key',
  )
  await refuse(
    ['7:45 server.key is encrypted'],
    { 'server.key': '-----BEGIN ENCRYPTED PRIVATE KEY-----\n' },
    'encrypted key',
  )
  await refuse(
    ['7:45 server.key is not the key of server.pem'],
    { 'server.key': intermediate.keyPem },
    'key of another',
  )
  await refuse(
    ['7:28 the chain is out of order: number 1 is not issued by number 2'],
    { 'server.pem': server.certificatePem + ca.certificatePem },
    'chain with a gap',
  )
  await refuse(
    ['7:28 the chain is out of order', '7:45 server.key is not the key'],
    { 'server.pem': intermediate.certificatePem + server.certificatePem },
    'chain upside down',
  )
  await refuse(
    ['7:28 the server certificate has a weak key: RSA key of 1024 bits'],
    { 'server.pem': weak.certificatePem, 'server.key': weak.keyPem },
    'RSA 1024',
  )
  await refuse(
    ['7:28 the server certificate is signed with SHA1'],
    { 'server.pem': signedWithSha1.certificatePem, 'server.key': signedWithSha1.keyPem },
    'SHA-1',
  )
  await refuse(
    [`7:28 the server certificate expired on ${day(-2)}`],
    { 'server.pem': expired.certificatePem, 'server.key': expired.keyPem },
    'expired',
  )
  await refuse(
    ['7:28 the server certificate is not valid before'],
    { 'server.pem': future.certificatePem, 'server.key': future.keyPem },
    'not yet valid',
  )
  await refused(
    t,
    ['7:28 the first certificate has no RSA key'],
    edit('profile: fapi2', 'profile: fapi1-advanced'),
    'EC under fapi1-advanced',
  )
  await refused(
    t,
    ['7:28 . is not a file', '7:36 /dev/zero is not a file'],
    edit('cert: server.pem, key: server.key', 'cert: ., key: /dev/zero'),
    'no files',
  )
  await refuse(
    ['7:28 server.pem has more than 10 MiB'],
    { 'server.pem': Buffer.alloc(10 * 1024 * 1024 + 1) },
    'too large',
  )

  await warned(
    t,
    [`7:28 the server certificate expires on ${day(3.5)}, in 3 days`],
    { files: { 'server.pem': soon.certificatePem, 'server.key': soon.keyPem } },
    'soon',
  )
  await warned(
    t,
    ['7:28 the server certificate is not made for servers'],
    { files: { 'server.pem': forClients.certificatePem, 'server.key': forClients.keyPem } },
    'for clients',
  )
  await warned(
    t,
    [],
    {
      edits: [
        ['profile: fapi2', 'profile: fapi1-advanced'],
        [
          '{ cert: server.pem, key: server.key }',
          '{ cert: rsa.pem, key: rsa.key }, { cert: server.pem, key: server.key }',
        ],
      ],
    },
    'RSA first, EC second',
  )
})

t.test('authorities and revocation lists of clients', async t => {
  const leaf = await ca.issue({ commonName: 'a leaf' })
  const weak = await createAuthority('weak', { key: 'rsa-1024' })
  const old = await createAuthority('Old CA', {
    notBefore: new Date(Date.now() - 9 * DAY),
    notAfter: new Date(Date.now() - DAY),
  })
  const noLists = await createAuthority('No lists', { keyUsage: KEY_USAGE.keyCertSign })
  const forged = await createAuthority('Client CA')
  const withCrl = 'clients: { ca: [ca.pem], crl: [ca.crl] }'
  const crlEdit = edit('clients: { ca: [ca.pem] }', withCrl)
  const past = { thisUpdate: new Date(Date.now() - 9 * DAY), nextUpdate: new Date(Date.now() - DAY) }

  await refused(
    t,
    ['8:21 ca.pem: "a leaf" is not the certificate of an authority'],
    { files: { 'ca.pem': leaf.certificatePem } },
    'a leaf',
  )
  await refused(
    t,
    ['8:21 ca.pem: "weak" has a weak key: RSA key of 1024 bits'],
    { files: { 'ca.pem': weak.certificatePem } },
    'weak',
  )
  await refused(t, ['8:21 ca.pem has no certificate'], { files: { 'ca.pem': '' } }, 'empty')
  await warned(
    t,
    ['8:21 ca.pem: "Old CA" expired on'],
    { files: { 'ca.pem': old.certificatePem } },
    'expired',
  )
  await warned(t, [], { ...crlEdit, files: { 'ca.crl': await ca.crl({ revoked: [leaf] }) } }, 'a good list')
  await refused(t, ['8:36 ca.crl does not exist'], crlEdit, 'no list')
  await refused(
    t,
    ['8:36 ca.crl is not a revocation list that can be used'],
    { ...crlEdit, files: { 'ca.crl': ca.certificatePem } },
    'not a list',
  )
  await refused(
    t,
    [
      '8:30 no revocation list is signed by "Client CA"',
      '8:36 ca.crl is the list of an authority that is not in ca',
    ],
    { ...crlEdit, files: { 'ca.crl': await otherCa.crl() } },
    'list of another authority',
  )
  await refused(
    t,
    [
      '8:30 no revocation list is signed by "Client CA"',
      '8:36 ca.crl says it comes from "Client CA", and that authority did not sign it',
    ],
    { ...crlEdit, files: { 'ca.crl': await forged.crl() } },
    'forged list',
  )
  await refused(
    t,
    ['8:30 no revocation list is signed by "No lists"', '8:36 ca.crl says it comes from "No lists"'],
    { ...crlEdit, files: { 'ca.pem': noLists.certificatePem, 'ca.crl': await noLists.crl() } },
    'an authority that may not sign lists',
  )
  await refused(
    t,
    ['8:30 no revocation list is signed by "Other CA"'],
    { ...crlEdit, files: { 'ca.pem': ca.certificatePem + otherCa.certificatePem, 'ca.crl': await ca.crl() } },
    'one authority without list',
  )
  await warned(
    t,
    ['8:36 ca.crl is out of date since'],
    { ...crlEdit, files: { 'ca.crl': await ca.crl(past) } },
    'out of date',
  )
  await warned(
    t,
    ['8:36 ca.crl is a second list of "Client CA", after ca.crl'],
    { ...crlEdit, files: { 'ca.crl': (await ca.crl()) + (await ca.crl()) } },
    'two lists of one authority',
  )
  const both = await loaded({
    ...crlEdit,
    files: {
      'ca.pem': ca.certificatePem + otherCa.certificatePem,
      'ca.crl': (await ca.crl()) + (await otherCa.crl()),
    },
  })
  t.equal(both.settings.server.tls.clients.ca.length, 2)
  t.equal(both.settings.server.tls.clients.crl?.length, 2)
  t.equal(
    (await loaded(edit('clients: { ca: [ca.pem] }', 'clients: { ca: [ca.pem], crl: [] }'))).settings.server
      .tls.clients.crl,
    null,
  )
  t.strictSame(
    (await loaded(edit('clients: { ca: [ca.pem] }', 'clients: { trust: possession }'))).settings.server.tls
      .clients.ca,
    [],
  )
})

t.test('key sets in files', async t => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rsa = (bits: number) =>
    generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({ format: 'jwk' })
  const cases: readonly (readonly [text: string, expected: string])[] = [
    ['{', 'cannot be read: not JSON'],
    ['[]', 'cannot be read: not a JSON object'],
    ['{"keys":{}}', 'is no JWK set'],
    ['{"keys":[]}', 'has no usable key'],
    ['{"keys":[1]}', 'has no usable key; key number 1: not an object'],
    [
      jwks(jwk(), pair.privateKey.export({ format: 'jwk' })),
      'has a key (number 2) that cannot be used: holds a secret',
    ],
    [jwks({ kty: 'oct', k: 'AAAA' }), 'has no usable key; key number 1: holds a secret'],
    [jwks({ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }), 'has no usable key; key number 1: malformed'],
    [
      jwks(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' })),
      'has no usable key; key number 1: no kind of key',
    ],
    [jwks(jwk(), { kty: 'XYZ' }), 'has a key (number 2) that cannot be used: no kind of key'],
    [jwks(rsa(1024)), 'has no usable key; key number 1: RSA with less than 2048 bits'],
    [jwks(jwk({ use: 'enc' })), 'has no usable key; key number 1: use is not sig'],
    [
      jwks(generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' })),
      'has no usable key; key number 1: no kind of key',
    ],
    [jwks({ ...rsa(2048), e: 'AQ' }), 'has no usable key; key number 1: RSA with an unsound exponent'],
    ['{"keys":[],"keys":[]}', 'cannot be read: duplicate member name'],
  ]
  for (const [text, expected] of cases) {
    await refused(t, [`14:19 jwks.json ${expected}`], { files: { 'jwks.json': text } }, expected)
  }
  const leaked = await load({ files: { 'jwks.json': jwks(pair.privateKey.export({ format: 'jwk' })) } })
  t.notMatch(
    JSON.stringify(leaked),
    pair.privateKey.export({ format: 'jwk' }).d as string,
    'a private key is not shown',
  )
  const ed = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
  await loaded({
    files: {
      'jwks.json': jwks(jwk({ kid: '1', use: 'sig', alg: 'ES256' }), ed, rsa(2048), {
        kty: 'OKP',
        crv: 'X25519',
        x: 'AA',
        use: 'enc',
      }),
    },
  })
})

t.test('bombs and other files that are no policy', async t => {
  const one = async (text: string | Buffer, expected: string) => {
    const result = await load({ text })
    const found = isLoaded(result) ? ['loaded'] : short(result)
    t.ok(
      found[0]?.startsWith(expected),
      `${expected} ← ${JSON.stringify(String(text).slice(0, 30))} (${found[0]})`,
    )
  }
  await one('', '1:1 the file is empty')
  await one('# nothing\n', '1:1 the file is empty')
  await one('text', '1:1 the policy must be a map of settings')
  await one('[]', '1:1 the policy must be a map of settings')
  await one(Buffer.from([0xff, 0xfe, 0, 1, 2]), '1:1 the file is not UTF-8 text')
  await one('a\u0000b', '1:1 the file is not UTF-8 text')
  await one(' '.repeat(1024 * 1024 + 1), '1:1 the policy file has more than 1 MiB')
  for (const opening of ['[', '{', '{a: ', '- ', '? ', 'a: ', '- - ', '[{', '!a [', '"[" : [', '- ? '])
    await one(opening.repeat(20_000), '1:')
  await one(
    Array.from({ length: 1000 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
    '65:65 nested more than 64 levels deep',
  )
  await one(`a: ${'['.repeat(65)}`, '1:67 nested more than 64 levels deep')
  await one('[ # ]\n'.repeat(20_000), '65:1 nested more than 64 levels deep')
  await one('["]",'.repeat(20_000), '1:321 nested more than 64 levels deep')
  await one(
    'a: &a [1, 2]\nb: &b [*a, *a]\nc: &c [*b, *b]\n' +
      Array.from(
        { length: 40 },
        (_, i) => `d${i}: &d${i} [${i === 0 ? '*c, *c' : `*d${i - 1}, *d${i - 1}`}]`,
      ).join('\n'),
    '4:10 more than 100 aliases',
  )
  await one('a: &a [*a]', '1:8 *a stands inside the value that it stands for')
  await one('a: *b', '1:4 nothing above is marked &b')
  await one('a: 1\nb: 2\na: 3', '3:1 "a" stands twice here, first in line 1')
  await one('__proto__: { x: 1 }', '1:1 "__proto__" cannot be a key')
  await one('"__proto__": 1', '1:1 "__proto__" cannot be a key')
  await one('constructor: 1\ntoString: 2', '1:1 "')
  await one('a: !!js/function x', '1:4 unknown tag')
  await one('a: !!binary AAAA', '1:4 unknown tag')
  await one('a: !x y', '1:4 unknown tag')
  await one('%YAML 1.1\n---\na: yes', '1:1 the file asks for another version of YAML')
  await one('a: 1\n---\nb: 2', '2:1 a second document begins here')
  await one('a:\n\tb: 1', '2:1 a tab is used for indentation')
  await one('a: "x', '1:6 something is not closed')
  await one('a: [1, 2', '1:9 wrong indentation')
  await one('a: b: c', '1:4 a second "key:" in one line')
  await one('? [a]\n: 1', '1:3 a key must be text')
  await one('? a', '1:1 "version" is missing')
  await one('1: x', '1:1 "')
  await one('<<: { a: 1 }', '1:1 "')
  await one(Array.from({ length: 20_000 }, (_, index) => `k${index}: 1`).join('\n'), '1:1 "')
  await one(`${Array.from({ length: 60_000 }, () => '- a').join('\n')}\n`, '1:1 the policy must be a map')
  const shared = POLICY.replace('{ all: [r:x] }', '&read { all: [r:x] }').replace(
    'scopes: none',
    'scopes: *read',
  )
  t.match(
    await load({ text: shared }),
    { routes: { routes: [{}, { token: { scopes: { all: ['r:x'] } } }] } },
    'anchors may be used',
  )
  const crlf = await load({ text: `\ufeff${POLICY.replaceAll('\n', '\r\n')}` })
  t.ok(isLoaded(crlf), 'a byte order mark and CR LF are no problem')
  t.match(await loadAndSend(join(directory, 'no-such.yaml'), {}), [
    { line: 1, column: 1, message: 'the policy file does not exist' },
  ])
  t.match(await loadAndSend(directory, {}), [{ message: 'the policy file is not a file' }])
})

t.test('a secret that stands where a file was meant is not repeated', async t => {
  const secret = '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA'
  for (const from of ['server.pem', 'server.key', 'jwks.json']) {
    const result = await load({ ...edit(from, '"${SECRET}"'), environment: { SECRET: secret } })
    if (isLoaded(result)) throw new Error(`${from} was not missed`)
    t.match(result[0]?.message, 'the file that is named here does not exist', from)
    t.notMatch(JSON.stringify(result), /BEGIN|MC4C/, from)
  }
})

t.test('the place of a problem is in the file, also behind what the parser cannot read', async t => {
  const result = await load({ text: ': [\n: []S\n y\n: {' })
  if (isLoaded(result)) throw new Error('it loaded')
  t.strictSame(short(result).slice(1), ['4:4 wrong indentation'])
})

t.test(
  'a file of a million mistakes is refused at once, one of thousands tells the first thousand',
  async t => {
    for (const unit of ['[]', '! ', '\ta: 1\n', '? \n', ':\n', '""', '- a\n']) {
      const result = await load({ text: unit.repeat((1024 * 1024) / unit.length) })
      t.match(result, [{ message: /^more than 200000 words, signs and line breaks/ }], JSON.stringify(unit))
      t.equal((result as readonly unknown[]).length, 1)
    }
    const many = await load({ text: Array.from({ length: 3000 }, (_, index) => `k${index}: 1`).join('\n') })
    if (isLoaded(many)) throw new Error('it loaded')
    t.equal(many.length, 1001)
    t.match(many.at(-1), {
      message: 'there are more problems than the 1000 that are told',
      hint: 'mend these and look again',
    })
  },
)

t.test('a long list of variables or of routes costs as much as it is long', async t => {
  const variables = (length: number) =>
    `issuers:\n  main:\n    algorithms:\n${'      - ${ONE}\n'.repeat(length)}`
  const routes = (length: number) =>
    POLICY.replace(
      /\napis:[\s\S]*/,
      `\napis:\n  - name: A\n    base: /a\n    security: public\n    routes:\n${Array.from({ length }, (_, index) => `      GET /${index}: {}\n`).join('')}`,
    )
  for (const [text, length] of [
    [variables, 20_000],
    [routes, 8000],
  ] as const) {
    const time = async (length: number) => {
      const start = process.cpuUsage()
      await load({ text: text(length), environment: { ONE: '1' } })
      return process.cpuUsage(start).user
    }
    await time(1000)
    const [short, long] = [await time(length / 4), await time(length)]
    t.ok(long < 9 * short, `${short} and ${long} µs`)
  }
})

t.test('random text never throws', async () => {
  const words = [
    'version: 1',
    'server:',
    'apis:',
    'a',
    ':',
    ' ',
    '\n',
    '\n  ',
    '\n    ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    ',',
    '"',
    "'",
    '#',
    '&a',
    '*a',
    '!',
    '|',
    '>',
    '?',
    '%',
    '@',
    '`',
    '\t',
    '${A}',
    '${',
    '__proto__',
    'GET /x:',
    '0x1',
    '~',
    '---',
    '...',
    '\u2028',
    '\\',
    'é',
    '<<',
  ]
  const file = join(directory, 'random.yaml')
  const property = fc.asyncProperty(
    fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 5 })), { maxLength: 40 }),
    async parts => {
      writeFileSync(file, parts.join(''))
      const result = await loadAndSend(file, { A: 'x' })
      return (
        isLoaded(result) ||
        (result.length > 0 && result.every(one => one.line > 0 && one.column > 0 && one.message !== ''))
      )
    },
  )
  await fc.assert(property, { numRuns: 400 })

  const lines = POLICY.split('\n')
  const mutation = fc.record({
    line: fc.nat(lines.length - 1),
    from: fc.nat(60),
    length: fc.nat(12),
    text: fc.constantFrom(...words),
  })
  const mutated = fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async changes => {
    const copy = [...lines]
    for (const { line, from, length, text } of changes) {
      const old = copy[line] as string
      copy[line] = old.slice(0, from) + text + old.slice(from + length)
    }
    writeFileSync(file, copy.join('\n'))
    const result = await loadAndSend(file, { A: 'x' })
    return isLoaded(result) || result.length > 0
  })
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(directory, name), text)
  await fc.assert(mutated, { numRuns: 400 })
})

t.test('presets tell the flows of sample tokens apart, and call everything else unknown', async t => {
  const flowOf = (preset: FlowPreset, claims: object, clientId = ['client_id']) => {
    const rules = {
      flow: FLOW_PRESETS[preset],
      claims: { scope: 'scope', clientId },
    } as unknown as IssuerRules
    return tokenFacts(claims as Claims, rules).flow
  }
  const code = 'authorization_code'
  const client = 'client_credentials'
  const cases: readonly (readonly [FlowPreset, object, Flow | 'unknown', string[]?])[] = [
    ['rfc9068', { sub: 'c', client_id: 'c' }, client],
    ['rfc9068', { sub: 'u', client_id: 'c' }, code],
    ['rfc9068', { client_id: 'c' }, 'unknown'],
    ['rfc9068', { sub: 'c', client_id: 'c', acr: '1' }, 'unknown'],
    ['oidc-provider', { sub: 'c', client_id: 'c' }, client],
    ['hydra', { sub: 'c', client_id: 'c' }, client],
    ['keycloak', { sub: 'uuid', azp: 'c', preferred_username: 'service-account-c', acr: '1' }, client],
    ['keycloak', { sub: 'uuid', azp: 'c', preferred_username: 'ann', sid: 's', acr: '1' }, code],
    ['keycloak', { sub: 'uuid', azp: 'c', preferred_username: 'service-account-ann', sid: 's' }, 'unknown'],
    ['keycloak', { sub: 'uuid', azp: 'c' }, 'unknown'],
    ['auth0', { sub: 'c@clients', azp: 'c', gty: 'client-credentials' }, client],
    ['auth0', { sub: 'c@clients', client_id: 'c' }, client],
    ['auth0', { sub: 'auth0|1', azp: 'c' }, code],
    ['auth0', { sub: 'auth0|1', azp: 'c', gty: 'password' }, 'unknown'],
    ['okta', { sub: 'c', cid: 'c', auth_time: 1 }, client, ['cid']],
    ['okta', { sub: 'ann', cid: 'c', uid: 'u', auth_time: 1 }, code, ['cid']],
    ['okta', { sub: 'ann', cid: 'c' }, 'unknown', ['cid']],
    ['entra', { sub: 'o', oid: 'o', idtyp: 'app', azp: 'c' }, client],
    ['entra', { sub: 'o', oid: 'o', roles: ['r'], azp: 'c' }, client],
    ['entra', { sub: 's', oid: 'o', scp: 'a b', azp: 'c' }, code],
    ['entra', { sub: 's', oid: 'o', azp: 'c' }, 'unknown'],
    ['wso2', { sub: 'c', client_id: 'c', aut: 'APPLICATION' }, client],
    ['wso2', { sub: 'ann', client_id: 'c', aut: 'APPLICATION' }, 'unknown'],
    ['wso2', { sub: 'ann', client_id: 'c', aut: 'APPLICATION_USER' }, code],
    ['forgerock', { sub: 'c', client_id: 'c', grant_type: 'client_credentials' }, client],
    ['forgerock', { sub: 'ann', client_id: 'c', grant_type: 'authorization_code' }, code],
    ['forgerock', { sub: 'ann', client_id: 'c', grant_type: 'refresh_token' }, code],
    ['forgerock', { sub: 'c', client_id: 'c', grant_type: 'refresh_token' }, 'unknown'],
    ['forgerock', { sub: 'ann', client_id: 'c' }, 'unknown'],
  ]
  for (const [preset, claims, flow, clientId] of cases)
    t.equal(flowOf(preset, claims, clientId), flow, `${preset} ${JSON.stringify(claims)}`)
  t.strictSame(
    new Set(cases.map(([preset]) => preset)),
    new Set(Object.keys(FLOW_PRESETS)),
    'every preset is tried',
  )
})

t.test('policies.yaml is the endpoint tables of api-security.md, row by row', async t => {
  const here = join(directory, 'demo')
  mkdirSync(join(here, 'certs'), { recursive: true })
  const policy = readFileSync(join(ROOT, 'policies.yaml'), 'utf8')
  const files = {
    'server.pem': rsaServer.certificatePem,
    'server.key': rsaServer.keyPem,
    'client-ca.pem': ca.certificatePem,
    'ca.pem': ca.certificatePem,
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(here, 'certs', name), text)
  writeFileSync(join(here, 'policies.yaml'), policy)
  const result = await loadAndSend(join(here, 'policies.yaml'), {})
  if (!isLoaded(result)) throw new Error(JSON.stringify(result))

  const rows = tableRows(readFileSync(join(ROOT, 'demo/api-security.md'), 'utf8'))
  t.equal(rows.length, 17)
  t.strictSame(result.routes.routes.map(rowOf), rows)
  t.ok(result.routes.routes.every(route => route.token?.binding === (route.mtls ? 'required' : 'if-present')))
  t.strictSame(
    result.warnings.map(one => one.message),
    Array(2).fill(
      '[oauth2] alone is not FAPI 1.0 Advanced: a stolen token is good for anybody, unless it is bound',
    ),
  )
})

interface Row {
  readonly method: string
  readonly template: string
  readonly mtls: boolean
  readonly scopes: object
  readonly flows: readonly string[]
}

function rowOf({ method, template, mtls, token }: Route): Row {
  return { method, template, mtls, scopes: token?.scopes ?? {}, flows: token?.flows ?? [] }
}

function tableRows(markdown: string): Row[] {
  const rows = markdown.split('\n').map(line => line.split('|').map(cell => cell.trim()))
  return rows
    .filter(cells => cells.length === 7 && /^[A-Z]+$/.test(cells[1] ?? '') && cells[1] !== 'NA')
    .map(([, method = '', endpoint = '', security = '', scopes = '', flow = '']) => {
      const named = [...scopes.matchAll(/`([^`]+)`( \(optional\))?/g)]
      const required = named.filter(match => match[2] === undefined).map(match => match[1])
      const optional = named.filter(match => match[2] !== undefined).map(match => match[1])
      const either = /`\s*or\s*`/.test(scopes)
      return {
        method,
        template: endpoint.replaceAll('`', ''),
        mtls: security === 'mTLS, OAuth 2.0',
        scopes: { any: either ? required : [], all: either ? [] : required, optional },
        flows: [flow.toLowerCase().replace(' ', '_')],
      }
    })
}

t.test('policies.schema.json is the schema of this version', async t => {
  const written = readFileSync(join(ROOT, 'policies.schema.json'), 'utf8')
  t.equal(
    written,
    `${JSON.stringify(policyJsonSchema(), null, 2)}\n`,
    'write it anew with: postern schema > policies.schema.json',
  )
  const schema = JSON.parse(written)
  t.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#')
  t.strictSame(schema.required, ['version', 'server', 'upstreams', 'apis'])
  t.equal(schema.additionalProperties, false)
  const routes = schema.properties.apis.items.properties.routes
  t.match('GET /accounts/{accountId}', new RegExp(routes.propertyNames.pattern))
  t.notMatch('get /accounts', new RegExp(routes.propertyNames.pattern))
  t.notMatch(written, 'starts_with')
  const undescribed: string[] = []
  const visit = (node: unknown, path: string): void => {
    if (typeof node !== 'object' || node === null) return
    for (const [key, value] of Object.entries((node as { properties?: object }).properties ?? {})) {
      const has = typeof value === 'object' && value !== null && ('description' in value || '$ref' in value)
      if (!has) undescribed.push(`${path}.${key}`)
    }
    for (const [key, value] of Object.entries(node)) visit(value, `${path}.${key}`)
  }
  visit(schema, '')
  t.strictSame(undescribed, [], 'every key has a hover text')
})
