import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import type { Case } from '../../src/checks/case.js'
import { audience, current, lifetime, requiredClaims } from '../../src/checks/token.js'
import { type TokenFacts, tokenFacts } from '../../src/checks/token-facts.js'
import { Denial, type Verdict } from '../../src/decision/denials.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import {
  type ClientAuthentication,
  type IntrospectionSettings,
  introspectedRules,
} from '../../src/policy/introspection.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import { createAuthenticator } from '../../src/sources/authenticate-token.js'
import { createCircuitBreaker } from '../../src/sources/circuit-breaker.js'
import type { Clock } from '../../src/sources/clock.js'
import { discoverIntrospectionUrl } from '../../src/sources/discovery.js'
import { introspectedKindProblem } from '../../src/sources/introspected-kind.js'
import { createIntrospectionSource } from '../../src/sources/introspection.js'
import {
  createIntrospectionClient,
  type Introspection,
  type IntrospectionClient,
  IntrospectionFailure,
  MAX_OUTSTANDING,
} from '../../src/sources/introspection-client.js'
import { createIssuerSource } from '../../src/sources/issuer-source.js'
import { createKeySource, type KeySource } from '../../src/sources/keys.js'
import { OutboundFailure } from '../../src/sources/outbound.js'
import { createRevocationSource } from '../../src/sources/revocation.js'
import { admitAlways, type SourceMeter, type TokenSource } from '../../src/sources/token-source.js'
import {
  type IntrospectionFailMode,
  type IntrospectionServer,
  RS_ID,
  RS_SECRET,
  startIntrospectionServer,
} from '../support/introspection-server.js'
import { createTokenIssuer, newSigningKey, type Overrides, signToken } from '../support/token-issuer.js'

const NOW = Math.floor(Date.now() / 1000)
const issuer = await createTokenIssuer({ algorithms: ['ES256'], tls: false })
const endpoint = await startIntrospectionServer(issuer)
t.teardown(() => Promise.all([issuer.close(), endpoint.close()]))

t.beforeEach(() => {
  endpoint.tokens.clear()
  endpoint.failMode = null
  endpoint.method = 'client_secret_basic'
  endpoint.signed = null
})

const BASIC: ClientAuthentication = {
  method: 'client_secret_basic',
  clientId: RS_ID,
  clientSecret: RS_SECRET,
}

const RULES: IssuerRules = {
  name: 'main',
  issuer: issuer.url,
  audience: ['https://api.bank.example'],
  algorithms: ['ES256'],
  typ: ['at+jwt'],
  clockSkewSeconds: 10,
  maxLifetimeSeconds: null,
  requiredClaims: ['sub', 'client_id', 'iat', 'jti'],
  claims: { scope: 'scope', clientId: ['client_id'] },
  flow: FLOW_PRESETS.rfc9068,
  clients: null,
}

function settingsFor(
  server: Pick<IntrospectionServer, 'url' | 'caPem'>,
  changes: Partial<IntrospectionSettings> = {},
): IntrospectionSettings {
  return {
    rules: introspectedRules(RULES, { requireAudience: true, requiredClaims: ['client_id'] }),
    url: server.url,
    ca: server.caPem,
    authentication: BASIC,
    cacheMs: 15_000,
    negativeCacheMs: 2000,
    timeoutMs: 10_000,
    response: 'json',
    ...changes,
  }
}

/** A clock that stands still unless it is told to pass. */
function fakeClock() {
  let time = 1_000_000
  const clock: Clock = { now: () => time, after: () => () => {} }
  return {
    clock,
    pass: (ms: number) => {
      time += ms
    },
  }
}

interface Meters extends SourceMeter {
  readonly results: string[]
  readonly details: string[]
}

function recordingMeter(): Meters {
  const results: string[] = []
  const details: string[] = []
  return {
    results,
    details,
    tokenCache: () => {},
    keysRefresh: () => {},
    introspection: (name, result, detail, seconds) => {
      if ((seconds === null) !== (result === 'circuit_open' || result === 'overloaded'))
        throw new Error(result)
      results.push(`${name} ${result}`)
      details.push(detail)
    },
  }
}

function bench(changes: Partial<IntrospectionSettings> = {}, keys: KeySource | null = null) {
  const meter = recordingMeter()
  const time = fakeClock()
  const source = createIntrospectionSource({
    settings: settingsFor(endpoint, changes),
    keys,
    meter,
    clock: time.clock,
  })
  t.teardown(() => source.close())
  const ask = async (token: string, now = NOW) =>
    source.authenticate({ scheme: 'bearer', token }, now, admitAlways)
  return { source, meter, pass: time.pass, ask, codeOf: async (token: string) => codeOf(await ask(token)) }
}

function codeOf(verdict: Verdict<unknown>): string {
  return verdict instanceof Denial ? verdict.code : 'ok'
}

function active(changes: Overrides = {}): Overrides {
  return {
    active: true,
    iss: issuer.url,
    sub: 'user-1',
    aud: 'https://api.bank.example',
    client_id: 'client-1',
    scope: 'a b',
    token_type: 'Bearer',
    iat: NOW,
    exp: NOW + 300,
    ...changes,
  }
}

/** What the checks of claims say of facts. */
function judged(facts: TokenFacts, now = NOW): string {
  const rule = {
    issuers: ['main'],
    flows: [],
    scopes: { all: [], any: [], optional: [] },
    binding: 'if-present',
    maxLifetimeSeconds: null,
  }
  const subject = { rule, token: facts, certificate: null, now } as unknown as Case
  for (const check of [audience, requiredClaims, current, lifetime]) {
    const denial = check.judge(subject)
    if (denial !== null) return denial.code
  }
  return 'ok'
}

t.test('IN-01, IN-05, IN-06: the exact question, and facts from the answer', async t => {
  const { ask, meter } = bench()
  const details = [{ type: 'fdx_v1.0' }]
  endpoint.tokens.set('good', active({ cnf: { 'x5t#S256': 'print' }, authorization_details: details }))
  const before = endpoint.asked.length
  const facts = await ask('good')
  if (facts instanceof Denial) throw new Error(facts.detail)
  const [asked] = endpoint.asked.slice(before)
  t.equal(asked?.method, 'POST')
  t.equal(asked?.target, '/introspect', 'no token in the address')
  t.equal(asked?.headers['content-type'], 'application/x-www-form-urlencoded')
  t.equal(asked?.headers.accept, 'application/json')
  t.same(
    [...(asked?.form ?? [])],
    [
      ['token', 'good'],
      ['token_type_hint', 'access_token'],
    ],
  )
  t.match(facts, {
    clientId: 'client-1',
    subject: 'user-1',
    flow: 'authorization_code',
    expiresAt: NOW + 300,
  })
  t.same([...facts.scopes], ['a', 'b'])
  t.same(facts.confirmation, { x5tS256: 'print', jkt: null })
  t.same(facts.claims.authorization_details, details)
  t.ok(Object.isFrozen(facts) && Object.isFrozen(facts.claims.cnf))
  t.equal(judged(facts), 'ok')
  t.same(meter.results, ['main active'])
})

t.test('IN-02: each way to authenticate, and what happens when the issuer refuses', async t => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  endpoint.assertionKey = publicKey
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const strangerKey = stranger.export({ type: 'pkcs8', format: 'pem' }).toString()
  const secret = { clientId: RS_ID, clientSecret: RS_SECRET }
  const assertion = {
    method: 'private_key_jwt',
    clientId: RS_ID,
    key,
    keyId: 'k1',
    algorithm: 'ES256',
    audience: issuer.url,
  } as const
  const certificate = (who: 'client' | 'otherClient') =>
    ({
      method: 'tls_client_auth',
      clientId: RS_ID,
      cert: endpoint[who].certificatePem,
      key: endpoint[who].keyPem,
    }) as const
  const table: readonly (readonly [string, ClientAuthentication, string])[] = [
    ['basic', { method: 'client_secret_basic', ...secret }, 'ok'],
    ['post', { method: 'client_secret_post', ...secret }, 'ok'],
    ['assertion', assertion, 'ok'],
    ['assertion without kid', { ...assertion, keyId: null }, 'ok'],
    ['certificate', certificate('client'), 'ok'],
    [
      'wrong secret',
      { method: 'client_secret_basic', ...secret, clientSecret: 'wrong' },
      'issuer_unavailable',
    ],
    [
      'wrong posted secret',
      { method: 'client_secret_post', ...secret, clientSecret: 'x' },
      'issuer_unavailable',
    ],
    ['another key', { ...assertion, key: strangerKey }, 'issuer_unavailable'],
    ['another aud', { ...assertion, audience: 'https://other.example' }, 'issuer_unavailable'],
    ['another certificate', certificate('otherClient'), 'issuer_unavailable'],
  ]
  endpoint.tokens.set('good', active())
  for (const [name, authentication, expected] of table) {
    endpoint.method = authentication.method
    const { ask, meter, source } = bench({ authentication })
    const verdict = await ask('good')
    t.equal(codeOf(verdict), expected, name)
    t.same(meter.results, [expected === 'ok' ? 'main active' : 'main unauthorized'], name)
    if (verdict instanceof Denial)
      t.match(verdict.detail, /refuses the credentials of Postern: status 401/, name)
    t.notMatch(`${meter.details}`, /s3cret|wrong|good/, 'neither secret nor token in what is logged')
    source.close()
  }
  endpoint.method = 'private_key_jwt'
  const { codeOf: again } = bench({ authentication: assertion, cacheMs: 0 })
  t.same([await again('good'), await again('good')], ['ok', 'ok'], 'each assertion is used once')
})

t.test('IN-03: only a true active is active', async t => {
  for (const value of [false, 'true', 'false', 1, 0, null, {}, []]) {
    const { codeOf, meter } = bench()
    endpoint.tokens.set('token', active({ active: value }))
    t.equal(await codeOf('token'), 'token_inactive', JSON.stringify(value))
    t.same(meter.results, ['main inactive'])
  }
  t.equal(await bench().codeOf('nobody-knows-it'), 'token_inactive')
})

t.test('IN-04: what an answer says of the token is judged like claims', async t => {
  const limited = { ...RULES, maxLifetimeSeconds: 900 }
  const rulesWith = (rules: IssuerRules, requireAudience: boolean) => ({
    rules: introspectedRules(rules, { requireAudience, requiredClaims: ['client_id'] }),
  })
  const relaxed = rulesWith(RULES, false)
  const table: readonly (readonly [string, Overrides, Partial<IntrospectionSettings>, string])[] = [
    ['usual', {}, {}, 'ok'],
    ['expired although active', { exp: NOW - 11 }, {}, 'token_expired'],
    ['within the skew', { exp: NOW - 9 }, {}, 'ok'],
    ['not yet', { nbf: NOW + 60 }, {}, 'token_not_yet_valid'],
    ['no exp', { exp: undefined }, {}, 'ok'],
    ['no exp, but a longest lifetime', { exp: undefined }, rulesWith(limited, true), 'token_claim_missing'],
    ['exp in quotes', { exp: '9999999999' }, {}, 'token_claim_missing'],
    ['exp null', { exp: null }, {}, 'token_claim_missing'],
    ['nbf in quotes', { nbf: '1' }, {}, 'token_claim_missing'],
    ['lives too long', { exp: NOW + 901 }, rulesWith(limited, true), 'token_lifetime_too_long'],
    ['another aud', { aud: 'https://other.example' }, {}, 'token_audience_wrong'],
    ['another aud, relaxed', { aud: 'https://other.example' }, relaxed, 'token_audience_wrong'],
    ['one of several aud', { aud: ['x', 'https://api.bank.example'] }, {}, 'ok'],
    ['no aud', { aud: undefined }, {}, 'token_audience_wrong'],
    ['no aud, relaxed', { aud: undefined }, relaxed, 'ok'],
    ['aud null, relaxed', { aud: null }, relaxed, 'token_audience_wrong'],
    ['no iss', { iss: undefined }, {}, 'ok'],
    ['another iss', { iss: `${issuer.url}/` }, {}, 'token_issuer_unknown'],
    ['iss in a list', { iss: [issuer.url] }, {}, 'token_issuer_unknown'],
    ['no client', { client_id: undefined }, {}, 'token_claim_missing'],
    ['no sub, jti, iat', { sub: undefined, jti: undefined, iat: undefined }, {}, 'ok'],
    ['DPoP', { token_type: 'DPoP' }, {}, 'ok'],
    ['no type', { token_type: undefined }, {}, 'ok'],
    ['a refresh token by its type', { token_type: 'refresh_token' }, {}, 'token_type_wrong'],
    ['a refresh token by its use', { token_use: 'refresh_token' }, {}, 'token_type_wrong'],
    ['a refresh token of Keycloak', { typ: 'Refresh' }, {}, 'token_type_wrong'],
    ['neither type nor aud', { token_type: undefined, aud: undefined }, relaxed, 'token_type_wrong'],
    ['a type that is no text', { token_type: ['Bearer'] }, {}, 'token_type_wrong'],
  ]
  for (const [name, changes, settings, expected] of table) {
    const { ask } = bench(settings)
    endpoint.tokens.set('token', active(changes))
    const verdict = await ask('token')
    t.equal(verdict instanceof Denial ? verdict.code : judged(verdict), expected, name)
  }
})

const FAILURES: readonly (readonly [IntrospectionFailMode, string])[] = [
  ['500', 'unavailable'],
  ['401', 'unauthorized'],
  ['403', 'unauthorized'],
  ['400', 'malformed'],
  ['hang', 'unavailable'],
  ['huge', 'unavailable'],
  ['redirect', 'malformed'],
  ['html', 'malformed'],
  ['cut-off', 'unavailable'],
  ['malformed', 'malformed'],
  ['duplicate', 'malformed'],
  ['array', 'malformed'],
  ['no-active', 'malformed'],
]

t.test(
  'IN-07: what is no verdict on the token is 503, is not remembered, and says nothing it should not',
  async t => {
    endpoint.tokens.set('very-secret-token', active())
    for (const [mode, result] of FAILURES) {
      const { ask, codeOf, meter } = bench({ timeoutMs: mode === 'hang' ? 1500 : 10_000 })
      endpoint.failMode = mode
      const before = endpoint.asked.length
      const verdict = await ask('very-secret-token')
      t.equal(verdict instanceof Denial && verdict.code, 'issuer_unavailable', mode)
      t.same(meter.results, [`main ${result}`], mode)
      t.notMatch(JSON.stringify([verdict, meter.details]), /very-secret|s3cret|active":/, mode)
      t.equal(endpoint.asked.length, before + 1, `${mode}: asked once, no redirect followed`)
      endpoint.failMode = null
      t.equal(await codeOf('very-secret-token'), 'ok', `after ${mode}`)
    }
  },
)

t.test('TLS-11: an endpoint that is not who it should be', async t => {
  endpoint.tokens.set('good', active())
  for (const [name, changes] of Object.entries({
    'another authority': { ca: endpoint.client.certificatePem },
    'another name': { url: endpoint.url.replace('127.0.0.1', 'localhost') },
    'nobody there': { url: 'https://127.0.0.1:1/introspect' },
    'no TLS': { url: 'http://192.0.2.1/introspect' },
  })) {
    const before = endpoint.asked.length
    const verdict = await bench(changes).ask('good')
    t.equal(codeOf(verdict), 'issuer_unavailable', name)
    t.equal(endpoint.asked.length, before, 'nothing was sent')
  }
})

t.test('IN-08: an answer serves for its time and no longer, however often it is read', async t => {
  const { codeOf, source, pass } = bench({ cacheMs: 15_000 })
  endpoint.tokens.set('token', active())
  const before = endpoint.asked.length
  t.equal(await codeOf('token'), 'ok')
  endpoint.tokens.delete('token')
  for (let second = 1; second < 15; second++) {
    pass(1000)
    t.equal(await codeOf('token'), 'ok')
  }
  t.notOk(
    source.authenticate({ scheme: 'bearer', token: 'token' }, NOW, admitAlways) instanceof Promise,
    'no promise on a hit',
  )
  t.equal(endpoint.asked.length, before + 1)
  pass(1000)
  t.equal(await codeOf('token'), 'token_inactive', 'reading it did not prolong it')
  t.equal(endpoint.asked.length, before + 2)
  endpoint.tokens.set('token', active())
  pass(1999)
  t.equal(await codeOf('token'), 'token_inactive', 'the answer no serves too')
  pass(1)
  t.equal(await codeOf('token'), 'ok', 'for two seconds')
  t.equal(endpoint.asked.length, before + 3)
})

t.test('IN-08: an answer serves no longer than the token lives', async t => {
  const { codeOf, pass } = bench()
  endpoint.tokens.set('token', active({ exp: NOW + 3 }))
  const before = endpoint.asked.length
  await codeOf('token')
  pass(2999)
  await codeOf('token')
  t.equal(endpoint.asked.length, before + 1)
  pass(1)
  await codeOf('token')
  t.equal(endpoint.asked.length, before + 2)
})

t.test('IN-08: the time of an answer counts from the question', async t => {
  const { codeOf, pass } = bench()
  endpoint.tokens.set('token', active())
  endpoint.failMode = 'stall'
  const before = endpoint.asked.length
  const first = codeOf('token')
  while (endpoint.asked.length === before) await new Promise(setImmediate)
  pass(14_999)
  endpoint.release()
  t.equal(await first, 'ok')
  t.equal(await codeOf('token'), 'ok')
  pass(1)
  await codeOf('token')
  t.equal(endpoint.asked.length, before + 2)
})

t.test('IN-08: a question that was asked longer ago than an answer counts is not shared', async t => {
  const { clock, pass } = fakeClock()
  const answers: ((isActive: boolean) => void)[] = []
  const client: IntrospectionClient = {
    introspect: () =>
      new Promise(resolve => {
        answers.push(isActive => resolve({ claims: active({ active: isActive }), bytes: 100 }))
      }),
    close: () => {},
  }
  const settings = settingsFor(endpoint, { cacheMs: 1000, negativeCacheMs: 0, timeoutMs: 30_000 })
  const source = createIntrospectionSource({
    ...{ settings, clock, client },
    ...{ keys: null, meter: recordingMeter() },
  })
  const ask = async () => {
    const verdict = source.authenticate({ scheme: 'bearer', token: 'token' }, NOW, admitAlways)
    await new Promise(setImmediate) // the question is out
    return { verdict }
  }
  const first = await ask()
  pass(999)
  const joined = await ask()
  t.equal(answers.length, 1)
  pass(1)
  const late = await ask()
  t.equal(answers.length, 2, 'it may have been revoked since')
  answers[0]?.(true)
  for (const { verdict } of [first, joined]) t.equal(codeOf(await verdict), 'ok')
  const later = await ask()
  t.equal(answers.length, 2, 'the end of the first leaves the second to be shared')
  answers[1]?.(false)
  for (const { verdict } of [late, later]) t.equal(codeOf(await verdict), 'token_inactive')
})

t.test('IN-08: 100 requests with one new token ask once; without a cache each asks', async t => {
  endpoint.tokens.set('token', active())
  const hundred = Array.from({ length: 100 })
  const { codeOf } = bench()
  let before = endpoint.asked.length
  t.same(new Set(await Promise.all(hundred.map(() => codeOf('token')))), new Set(['ok']))
  t.equal(endpoint.asked.length, before + 1)
  const uncached = bench({ cacheMs: 0 })
  before = endpoint.asked.length
  t.same(await Promise.all(Array.from({ length: 5 }, () => uncached.codeOf('token'))), Array(5).fill('ok'))
  t.equal(endpoint.asked.length, before + 5)
})

t.test('connections are kept, and one that the server has closed is no failure', async t => {
  const { codeOf } = bench({ cacheMs: 0 })
  endpoint.tokens.set('token', active())
  const before = endpoint.connections
  for (let round = 0; round < 5; round++) t.equal(await codeOf('token'), 'ok')
  t.equal(endpoint.connections, before + 1)
  await endpoint.stop()
  await endpoint.reopen()
  t.equal(await codeOf('token'), 'ok')
})

t.test('IN-07: the circuit opens after five failures in a row, and one call tries again', async t => {
  const { ask, codeOf, meter, pass } = bench()
  endpoint.tokens.set('token', active())
  endpoint.failMode = '500'
  for (let round = 0; round < 5; round++) t.equal(await codeOf(`t${round}`), 'issuer_unavailable')
  const before = endpoint.asked.length
  const refused = await ask('token')
  t.match(refused, { code: 'issuer_unavailable', detail: /failed a moment ago/ })
  t.equal(endpoint.asked.length, before, 'nobody is asked')
  t.equal(meter.results.at(-1), 'main circuit_open')
  pass(5000)
  t.same(await Promise.all(['a', 'b', 'c'].map(codeOf)), Array(3).fill('issuer_unavailable'))
  t.equal(endpoint.asked.length, before + 1, 'one probe')
  endpoint.failMode = null
  t.equal(await codeOf('token'), 'issuer_unavailable', 'the probe failed: open for as long again')
  pass(5000)
  t.equal(await codeOf('token'), 'ok')
  t.equal(await codeOf('other'), 'token_inactive')
})

t.test('tokens that the endpoint cannot digest open no circuit', async t => {
  for (const mode of ['400', '403', 'html'] as const) {
    const { codeOf } = bench()
    endpoint.tokens.set('token', active())
    endpoint.failMode = mode
    for (let round = 0; round < 20; round++) t.equal(await codeOf(`odd${round}`), 'issuer_unavailable')
    endpoint.failMode = null
    t.equal(await codeOf('token'), 'ok')
  }
})

t.test('a circuit breaker: late ends of old calls neither open, prolong nor close', async t => {
  const { clock, pass } = fakeClock()
  const breaker = createCircuitBreaker({ failures: 2, cooldownMs: 100, clock })
  const old = Array.from({ length: 8 }, () => breaker.begin())
  old[0]?.('failed')
  old[1]?.('failed')
  t.equal(breaker.begin(), null)
  old[2]?.('succeeded')
  t.equal(breaker.begin(), null, 'a server that shuts down answers what it has begun')
  pass(60)
  old[3]?.('failed')
  pass(40)
  const probe = breaker.begin()
  t.ok(probe, 'the late failure prolonged nothing')
  t.equal(breaker.begin(), null)
  probe?.('indifferent')
  const second = breaker.begin()
  t.ok(second, 'a probe that says nothing is followed by another')
  second?.('failed')
  t.equal(breaker.begin(), null)
  pass(100)
  breaker.begin()?.('succeeded')
  old[4]?.('failed')
  old[5]?.('failed')
  const present = breaker.begin()
  t.ok(present, 'the probe knows better')
  present?.('failed')
  old[6]?.('succeeded')
  breaker.begin()?.('failed')
  t.equal(breaker.begin(), null, 'two of the present in a row, whatever ended between them')
})

t.test('more calls than are allowed at a time are refused', async t => {
  const waiting: ServerResponse[] = []
  const server = createServer((request, response) => {
    request.resume().on('end', () => waiting.push(response))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const { codeOf, meter, source } = bench({ timeoutMs: 30_000, url: `http://127.0.0.1:${port}/` })
  const answers = Array.from({ length: MAX_OUTSTANDING }, (_, index) => codeOf(`t${index}`))
  t.equal(await codeOf('one-more'), 'issuer_unavailable')
  t.same(meter.results, ['main overloaded'])
  while (waiting.length < MAX_OUTSTANDING) await new Promise(resolve => setTimeout(resolve, 10))
  for (const response of waiting) response.end('{"active":false}')
  t.same(new Set(await Promise.all(answers)), new Set(['token_inactive']))
  const late = codeOf('one-more')
  while (waiting.length === MAX_OUTSTANDING) await new Promise(resolve => setTimeout(resolve, 10))
  waiting.at(-1)?.end('{"active":false}')
  t.equal(await late, 'token_inactive')
  source.close()
})

/** The present: replies are signed with the time of this machine. */
const present = () => Date.now() / 1000

async function keysOfIssuer(): Promise<KeySource> {
  const keys = createKeySource({
    name: 'main',
    issuer: issuer.url,
    settings: {
      ...{ from: 'url', url: issuer.jwksUrl, ca: issuer.caPem },
      ...{ refreshMs: 300_000, cooldownMs: 30_000, staleForMs: 3_600_000 },
    },
    meter: { keysRefresh: () => {} },
  })
  await keys.start()
  t.teardown(() => keys.close())
  return keys
}

t.test('IN-12, IN-13: signed replies, and nothing else', async t => {
  const keys = await keysOfIssuer()
  endpoint.tokens.set('token', active())
  const other = newSigningKey('ES256', issuer.keys[0]?.kid)
  const table: readonly (readonly [string, IntrospectionServer['signed'], string])[] = [
    ['good', {}, 'ok'],
    ['typ with application/', { header: { typ: 'application/Token-Introspection+JWT' } }, 'ok'],
    ['aud in a list', { claims: { aud: ['x', RS_ID] } }, 'ok'],
    ['plain', null, 'issuer_unavailable'],
    ['typ of an access token', { header: { typ: 'at+jwt' } }, 'issuer_unavailable'],
    ['typ JWT', { header: { typ: 'JWT' } }, 'issuer_unavailable'],
    ['no typ', { header: { typ: undefined } }, 'issuer_unavailable'],
    ['another iss', { claims: { iss: 'https://other.example' } }, 'issuer_unavailable'],
    ['no iss', { claims: { iss: undefined } }, 'issuer_unavailable'],
    ['for another resource server', { claims: { aud: 'other' } }, 'issuer_unavailable'],
    ['no aud', { claims: { aud: undefined } }, 'issuer_unavailable'],
    ['no iat', { claims: { iat: undefined } }, 'issuer_unavailable'],
    ['old', { claims: { iat: NOW - 400 } }, 'issuer_unavailable'],
    ['from the future', { claims: { iat: NOW + 400 } }, 'issuer_unavailable'],
    ['expired', { claims: { exp: NOW - 60 } }, 'issuer_unavailable'],
    ['alg none', { header: { alg: 'none' } }, 'issuer_unavailable'],
    ['alg that is not allowed', { header: { alg: 'PS256' } }, 'issuer_unavailable'],
    ['crit', { header: { crit: ['x'] } }, 'issuer_unavailable'],
    ['unknown kid', { header: { kid: 'unknown' } }, 'issuer_unavailable'],
    ['another media type', { mediaType: 'application/jwt' }, 'issuer_unavailable'],
    ['members outside', { claims: { active: true, token_introspection: undefined } }, 'issuer_unavailable'],
    ['members in a list', { claims: { token_introspection: [active()] } }, 'issuer_unavailable'],
    [
      'not active inside, active outside',
      { claims: { active: true, token_introspection: { active: false } } },
      'token_inactive',
    ],
  ]
  for (const [name, signed, expected] of table) {
    endpoint.signed = signed
    const { ask, meter } = bench({ response: 'jwt' }, keys)
    t.equal(codeOf(await ask('token', present())), expected, name)
    if (expected === 'issuer_unavailable') t.same(meter.results, ['main malformed'], name)
  }
  t.equal(endpoint.asked.at(-1)?.headers.accept, 'application/token-introspection+jwt')

  endpoint.signed = {}
  const others = introspectedRules(
    { ...RULES, algorithms: ['PS256'] },
    { requireAudience: true, requiredClaims: [] },
  )
  const allowed = bench({ response: 'jwt', rules: others }, keys)
  t.equal(codeOf(await allowed.ask('token', present())), 'issuer_unavailable', 'an algorithm of no rule')

  const sign = issuer.sign
  endpoint.signed = {}
  issuer.sign = (claims, header) => sign(claims, { ...header, kid: other.kid }, other)
  const fooled = bench({ response: 'jwt' }, keys)
  t.equal(codeOf(await fooled.ask('token', present())), 'issuer_unavailable', 'signed by somebody else')
  issuer.sign = sign
})

t.test('what waits before it needs the time gets that of then', async t => {
  await t.test('a question that had to be admitted', async t => {
    const { clock, pass } = fakeClock()
    const times: number[] = []
    const client: IntrospectionClient = {
      introspect: async (_, now) => {
        times.push(now)
        return { claims: active(), bytes: 100 }
      },
      close: () => {},
    }
    const settings = settingsFor(endpoint)
    const source = createIntrospectionSource({
      ...{ settings, clock, client },
      ...{ keys: null, meter: recordingMeter() },
    })
    await source.authenticate({ scheme: 'bearer', token: 'token' }, NOW, async () => {
      pass(3000)
      return null
    })
    t.same(times, [NOW + 3])
  })

  await t.test(
    'an assertion after the endpoint was looked up, and a signed reply that took long',
    async t => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      endpoint.assertionKey = publicKey
      endpoint.method = 'private_key_jwt'
      endpoint.tokens.set('token', active())
      endpoint.failMode = 'stall'
      const authentication: ClientAuthentication = {
        ...{
          method: 'private_key_jwt',
          clientId: RS_ID,
          keyId: null,
          algorithm: 'ES256',
          audience: issuer.url,
        },
        key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      }
      const rules = introspectedRules(
        { ...RULES, clockSkewSeconds: 0 },
        { requireAudience: true, requiredClaims: [] },
      )
      const { codeOf, pass } = bench(
        { url: null, ca: endpoint.caPem, authentication, rules, response: 'jwt' },
        await keysOfIssuer(),
      )
      issuer.metadata = {
        /** Read for each of the two forms of metadata. */
        get introspection_endpoint() {
          pass(20_000)
          return endpoint.url
        },
      }
      t.teardown(() => {
        issuer.metadata = {}
      })
      const before = endpoint.asked.length
      const answer = codeOf('token')
      while (endpoint.asked.length === before) await new Promise(setImmediate)
      const [, claims = ''] = endpoint.asked.at(-1)?.form.get('client_assertion')?.split('.') ?? []
      t.match(JSON.parse(Buffer.from(claims, 'base64url').toString()), { iat: NOW + 40, exp: NOW + 100 })
      pass(3000)
      endpoint.signed = { claims: { iat: NOW + 43 } }
      endpoint.release()
      t.equal(await answer, 'ok')
    },
  )

  await t.test('the question whether a JWT still counts, after its keys were fetched', async t => {
    const { clock, pass } = fakeClock()
    const facts = tokenFacts({ exp: NOW + 5 }, RULES)
    const times: number[] = []
    const verified: TokenSource = {
      issuer: issuer.url,
      takesOpaque: false,
      async authenticate() {
        pass(3000)
        return facts
      },
      isReady: () => true,
      close: () => {},
    }
    const asked: TokenSource = {
      ...verified,
      authenticate(_, now) {
        times.push(now)
        return facts
      },
    }
    const source = createRevocationSource(verified, asked, clock)
    const ask = async (now: number) =>
      codeOf(await source.authenticate({ scheme: 'bearer', token: 'jwt' }, now, admitAlways))
    t.equal(await ask(NOW), 'ok')
    t.same(times, [NOW + 3])
    t.equal(await ask(NOW + 5 + RULES.clockSkewSeconds - 3), 'token_expired')
    t.equal(times.length, 1, 'it expired meanwhile')
  })
})

t.test('IN-14: a signed reply is no access token', async t => {
  const { codeOf } = bench()
  const claims = { iss: issuer.url, aud: RS_ID, iat: NOW, token_introspection: active() }
  const reply = issuer.sign(claims, { typ: 'token-introspection+jwt' })
  endpoint.tokens.set(reply, active())
  const before = endpoint.asked.length
  t.equal(await codeOf(reply), 'token_type_wrong')
  t.equal(endpoint.asked.length, before)
})

/** Sources of an issuer whose JWTs verify. */
async function issuerBench(tokens: 'jwt' | 'auto', revocation: 'none' | 'introspect', cacheMs = 15_000) {
  const source = createIssuerSource({
    ...{ tokens, revocation, rules: RULES, keys: await keysOfIssuer(), meter: recordingMeter() },
    introspection: settingsFor(endpoint, { cacheMs, negativeCacheMs: 0 }),
  })
  const ask = async (token: string, now = NOW) =>
    source.authenticate({ scheme: 'bearer', token }, now, admitAlways)
  return { source, ask, codeOf: async (token: string, now?: number) => codeOf(await ask(token, now)) }
}

t.test(
  'AT-19: a JWT that verifies counts only while the issuer calls it active, and as the same token',
  async t => {
    const { ask, codeOf } = await issuerBench('jwt', 'introspect', 0)
    const cnf = { 'x5t#S256': 'print' }
    const token = issuer.token({ cnf, scope: 'from the jwt' })
    const table: readonly (readonly [string, Overrides, string])[] = [
      ['all the same', active({ cnf }), 'ok'],
      ['only active', { active: true, token_type: 'Bearer' }, 'ok'],
      ['not active', { active: false }, 'token_revoked'],
      ['"true"', { active: 'true' }, 'token_revoked'],
      ['another client', active({ client_id: 'other' }), 'token_revoked'],
      ['another sub', active({ sub: 'other' }), 'token_revoked'],
      ['another cnf', active({ cnf: { 'x5t#S256': 'other' } }), 'token_revoked'],
      ['another iss', active({ iss: 'https://other.example' }), 'token_revoked'],
    ]
    for (const [name, reply, expected] of table) {
      endpoint.tokens.set(token, reply)
      t.equal(await codeOf(token), expected, name)
    }
    endpoint.tokens.set(token, active({ scope: 'from the endpoint' }))
    const facts = await ask(token)
    t.same(facts instanceof Denial ? facts : [...facts.scopes], ['from', 'the', 'jwt'])

    const unbound = issuer.token()
    endpoint.tokens.set(unbound, active({ cnf }))
    t.equal(await codeOf(unbound), 'token_revoked', 'a binding that only the endpoint knows')

    endpoint.failMode = '500'
    t.equal(await codeOf(token), 'issuer_unavailable', 'an outage is no revocation')
    endpoint.failMode = null
    const before = endpoint.asked.length
    t.equal(await codeOf(issuer.token({ exp: NOW - 60 })), 'token_expired')
    t.equal(await codeOf(`${token.slice(0, -3)}AAA`), 'token_signature_invalid')
    t.equal(await codeOf('opaque'), 'token_malformed')
    t.equal(endpoint.asked.length, before, 'nobody is asked about what does not verify')
  },
)

t.test('IN-10: auto verifies JWTs of the issuer, and never asks about one that fails', async t => {
  const { ask, codeOf } = await issuerBench('auto', 'none')
  const stranger = newSigningKey('ES256', issuer.keys[0]?.kid)
  const forged = signToken(
    { ...active(), jti: '1' },
    { alg: 'ES256', typ: 'at+jwt', kid: stranger.kid },
    stranger.privateKey,
  )
  const wrong = {
    forged,
    'alg none': signToken(active(), { alg: 'none', typ: 'at+jwt' }, ''),
    'an ID token': issuer.token({}, { typ: 'JWT' }),
    'a signed reply': issuer.token({}, { typ: 'token-introspection+jwt' }),
    'a cut JWT': issuer.token().split('.').slice(0, 2).join('.'),
  }
  for (const token of Object.values(wrong)) endpoint.tokens.set(token, active())
  const before = endpoint.asked.length
  for (const [name, token] of Object.entries(wrong)) t.match(await codeOf(token), /^token_/, name)
  t.equal(await codeOf(forged), 'token_signature_invalid')
  t.equal(await codeOf(issuer.token()), 'ok')
  t.equal(endpoint.asked.length, before)

  const foreign = issuer.token({ iss: 'https://other.example' })
  endpoint.tokens.set('opaque', active())
  t.equal(await codeOf('opaque'), 'ok')
  t.equal(await codeOf(foreign), 'token_inactive', 'what names another issuer is opaque here')
  t.equal(endpoint.asked.length, before + 2)
  const [jwt, opaque] = [await ask(issuer.token()), await ask('opaque')] as TokenFacts[]
  t.same([jwt?.rules.requiredClaims.length, opaque?.rules.requiredClaims.length], [4, 1], 'each by its rules')
})

t.test('IN-11: of several issuers one takes opaque tokens, and sees no others', async t => {
  const seen: string[] = []
  const source = (name: string, takesOpaque: boolean): TokenSource => ({
    issuer: `https://${name}.example`,
    takesOpaque,
    authenticate: ({ token }) => {
      seen.push(`${name} ${token === 'opaque' ? token : 'jwt'}`)
      return new Denial('token_inactive', name)
    },
    isReady: () => true,
    close: () => {},
  })
  const sources = new Map(
    [source('one', false), source('two', true), source('three', false)].map((one, index) => [
      `${index}`,
      one,
    ]),
  )
  const authenticate = createAuthenticator(sources)
  const ask = async (token: string, names: readonly string[]) =>
    codeOf(await authenticate({ scheme: 'bearer', token }, names, NOW, admitAlways))
  const jwtOf = (name: string) => issuer.token({ iss: `https://${name}.example` })
  await ask('opaque', ['0', '1', '2'])
  await ask(jwtOf('one'), ['0', '1', '2'])
  await ask(jwtOf('nobody'), ['0', '1', '2'])
  t.same(seen, ['two opaque', 'one jwt', 'two jwt'])
  t.equal(await ask('opaque', ['0', '2']), 'token_malformed')
  t.equal(await ask(jwtOf('nobody'), ['0', '2']), 'token_issuer_unknown')
  t.equal(seen.length, 3)
})

t.test('AT-17: the endpoint through the metadata of the issuer', async t => {
  const { caPem, url } = endpoint
  const get = (document: Overrides) => async (asked: string) =>
    asked.includes('oauth-authorization-server')
      ? { issuer: 'https://issuer.example', ...document }
      : new OutboundFailure('status 404')
  const find = (mutualTls: boolean, document: Overrides) =>
    discoverIntrospectionUrl('https://issuer.example', mutualTls, get(document))
  const plain = { introspection_endpoint: 'https://a.example/i' }
  const both = { ...plain, mtls_endpoint_aliases: { introspection_endpoint: 'https://mtls.a.example/i' } }
  t.equal(await find(false, both), 'https://a.example/i')
  t.equal(await find(true, both), 'https://mtls.a.example/i')
  t.equal(await find(true, plain), 'https://a.example/i')
  t.equal(await find(true, { ...plain, mtls_endpoint_aliases: null }), 'https://a.example/i')
  t.match(await find(false, {}), { detail: /introspection_endpoint is absent/ })
  t.match(await find(false, { introspection_endpoint: 'http://a.example/i' }), { detail: /not an https URL/ })
  t.match(await find(false, { ...plain, issuer: 'https://other.example' }), { detail: /issuer is/ })

  issuer.metadata = { introspection_endpoint: url }
  endpoint.tokens.set('a', active()).set('b', active())
  const { codeOf } = bench({ url: null, ca: caPem })
  const before = issuer.discoveryFetches
  t.same(await Promise.all(['a', 'b'].map(codeOf)), ['ok', 'ok'])
  t.equal(issuer.discoveryFetches, before + 2, 'both forms, once')
  issuer.metadata = {}
  t.equal(await bench({ url: null, ca: caPem }).codeOf('a'), 'issuer_unavailable')
})

t.test('closing lets calls under way end', async t => {
  const client = createIntrospectionClient({
    settings: settingsFor(endpoint),
    keys: null,
    meter: recordingMeter(),
  })
  endpoint.tokens.set('token', active())
  endpoint.failMode = 'stall'
  const before = endpoint.asked.length
  const answer = client.introspect('token', NOW)
  while (endpoint.asked.length === before) await new Promise(setImmediate)
  client.close()
  endpoint.release()
  t.match(await answer, { claims: { active: true } })
})

t.test(
  'property: facts only ever come from an answer that is younger than the cache time and says true',
  async () => {
    const kinds = fc.constantFrom('ask', 'pass', 'revoke', 'issue', 'fail', 'heal')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(kinds, fc.nat(3), fc.nat(20_000)), { maxLength: 60 }),
        async steps => {
          const { clock, pass } = fakeClock()
          const state = new Map<string, boolean>()
          /** When each token was last seen active by the endpoint. */
          const seen = new Map<string, number>()
          let failing = false
          const client = {
            async introspect(token: string): Promise<Introspection | IntrospectionFailure> {
              if (failing) return new IntrospectionFailure('unavailable', 'down', true)
              const isActive = state.get(token) ?? false
              if (isActive) seen.set(token, clock.now())
              return { claims: active({ active: isActive, exp: NOW + 3600 }), bytes: 100 }
            },
            close: () => {},
          }
          const settings = settingsFor(endpoint, { cacheMs: 5000 })
          const source = createIntrospectionSource({
            settings,
            keys: null,
            meter: recordingMeter(),
            clock,
            client,
          })
          for (const [kind, token, ms] of steps) {
            const name = `token-${token}`
            if (kind === 'pass') pass(ms)
            else if (kind === 'revoke') state.set(name, false)
            else if (kind === 'issue') state.set(name, true)
            else if (kind === 'fail') failing = true
            else if (kind === 'heal') failing = false
            else {
              const verdict = await source.authenticate({ scheme: 'bearer', token: name }, NOW, admitAlways)
              const lastSeen = seen.get(name) ?? Number.NEGATIVE_INFINITY
              if (!(verdict instanceof Denial)) {
                if (clock.now() - lastSeen >= 5000) return false
              } else if (verdict.code === 'issuer_unavailable' && !failing) return false
              else if (
                verdict.code === 'token_inactive' &&
                lastSeen === clock.now() &&
                state.get(name) === true
              )
                return false
            }
          }
          return true
        },
      ),
      { numRuns: 150 },
    )
  },
)

t.test('property: no reply makes the reader throw, and none but a true active passes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(
        fc.constantFrom(
          'active',
          'iss',
          'aud',
          'exp',
          'cnf',
          'scope',
          'typ',
          'token_type',
          'client_id',
          'sub',
          '__proto__',
        ),
        fc.jsonValue(),
      ),
      async reply => {
        const client = { introspect: async () => ({ claims: reply, bytes: 10 }), close: () => {} }
        const settings = settingsFor(endpoint)
        const source = createIntrospectionSource({ settings, keys: null, meter: recordingMeter(), client })
        const verdict = await source.authenticate({ scheme: 'bearer', token: 'x' }, NOW, admitAlways)
        if (verdict instanceof Denial) return true
        judged(verdict)
        return reply.active === true && introspectedKindProblem(reply) === null
      },
    ),
  )
})
