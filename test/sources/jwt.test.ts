import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import type { TokenFacts } from '../../src/checks/token-facts.js'
import { Denial, type Verdict } from '../../src/decision/denials.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import { readKeySet, type VerificationKey } from '../../src/policy/key-set.js'
import { createAuthenticator } from '../../src/sources/authenticate-token.js'
import { createJwtSource } from '../../src/sources/jwt.js'
import { createKeySource, type KeySource } from '../../src/sources/keys.js'
import { createTokenCache } from '../../src/sources/token-cache.js'
import { admitAlways, type TokenSource } from '../../src/sources/token-source.js'
import { KnownKeys, signatureProblem } from '../../src/sources/verify-signature.js'
import {
  createTokenIssuer,
  encode,
  newSigningKey,
  type Overrides,
  type SigningKey,
  signToken,
  type TokenAlgorithm,
  type TokenIssuer,
} from '../support/token-issuer.js'

const ALGORITHMS = ['PS256', 'ES256'] as const
const EVERY_ALGORITHM: readonly TokenAlgorithm[] = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]
const NOW = Math.floor(Date.now() / 1000)

function rulesOf(issuer: string, changes: Partial<IssuerRules> = {}): IssuerRules {
  return {
    name: 'main',
    issuer,
    audience: ['https://api.bank.example'],
    algorithms: ALGORITHMS,
    typ: ['at+jwt'],
    clockSkewSeconds: 10,
    maxLifetimeSeconds: 900,
    requiredClaims: ['sub', 'client_id', 'iat', 'jti'],
    claims: { scope: 'scope', clientId: ['client_id'] },
    clients: null,
    flow: FLOW_PRESETS.rfc9068,
    ...changes,
  }
}

interface Bench {
  readonly issuer: TokenIssuer
  readonly source: TokenSource
  readonly keys: KeySource
  readonly cache: { hit: number; miss: number }
  ask(token: string, now?: number): Promise<Verdict<TokenFacts>>
  codeOf(token: string, now?: number): Promise<string>
}

/** A source over real HTTP with the keys of an issuer. */
async function benchFor(
  issuer: TokenIssuer,
  changes: Partial<IssuerRules> = {},
  cacheBytes?: number,
): Promise<Bench> {
  const keys = createKeySource({
    name: 'main',
    issuer: issuer.url,
    settings: {
      from: 'url',
      url: issuer.jwksUrl,
      refreshMs: 300_000,
      cooldownMs: 30_000,
      staleForMs: 3_600_000,
      ca: issuer.caPem,
    },
    meter: { keysRefresh: () => {} },
  })
  const cache = { hit: 0, miss: 0 }
  const source = createJwtSource({
    rules: rulesOf(issuer.url, changes),
    keys,
    meter: { tokenCache: result => cache[result]++ },
    ...(cacheBytes !== undefined && { cacheBytes }),
  })
  await keys.start()
  const ask = async (token: string, now = NOW) =>
    source.authenticate({ scheme: 'bearer', token }, now, admitAlways)
  return {
    issuer,
    source,
    keys,
    cache,
    ask,
    async codeOf(token, now) {
      const verdict = await ask(token, now)
      return verdict instanceof Denial ? verdict.code : 'ok'
    },
  }
}

const opened: TokenIssuer[] = []
async function issuerWith(...algorithms: TokenAlgorithm[]): Promise<TokenIssuer> {
  const issuer = await createTokenIssuer({ algorithms, tls: false })
  opened.push(issuer)
  return issuer
}
t.teardown(() => Promise.all(opened.map(issuer => issuer.close())))

const main = await issuerWith('ES256', 'PS256')
const stranger = await issuerWith('ES256')
const [ec, rsa] = main.keys as readonly [SigningKey, SigningKey]

t.test('a good token becomes facts', async t => {
  const { ask, source, keys } = await benchFor(main)
  t.equal(source.issuer, main.url)
  t.equal(source.isReady(), true)
  for (const key of main.keys) {
    const token = main.token({ scope: 'a b', cnf: { 'x5t#S256': 'print' }, nbf: NOW }, {}, key)
    const facts = await ask(token)
    if (facts instanceof Denial) throw new Error(facts.detail)
    t.match(facts, { clientId: 'client-1', subject: 'user-1', notBefore: NOW, flow: 'authorization_code' })
    t.same([...facts.scopes], ['a', 'b'])
    t.same(facts.confirmation, { x5tS256: 'print', jkt: null })
    t.ok(Object.isFrozen(facts) && Object.isFrozen(facts.claims) && Object.isFrozen(facts.claims.cnf))
  }
  source.close()
  keys.close()
})

t.test('AT-01 to AT-15: what is not an access token of this issuer is refused', async t => {
  const { codeOf } = await benchFor(main)
  const [foreign] = stranger.keys as [SigningKey]
  const wrongCurve = newSigningKey('ES384', ec.kid)
  const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const publicDer = ec.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const good = main.token()
  const [header, payload, signature] = good.split('.') as [string, string, string]
  const hmac = (key: string, kid: string) =>
    signToken({ iss: main.url, exp: NOW + 60 }, { alg: 'HS256', typ: 'at+jwt', kid }, key)
  const typed = (typ: unknown) => main.token({}, { typ })
  const table: Record<string, [string, string]> = {
    'AT-01 typ at+jwt': [good, 'ok'],
    'AT-01 typ at+JWT': [typed('at+JWT'), 'ok'],
    'AT-01 typ application/at+jwt': [typed('application/at+jwt'), 'ok'],
    'AT-01 typ Application/AT+JWT': [typed('Application/AT+JWT'), 'ok'],
    'AT-01 typ JWT': [typed('JWT'), 'token_type_wrong'],
    'AT-01 no typ': [typed(undefined), 'token_type_wrong'],
    'AT-01 typ none': [typed('none'), 'token_type_wrong'],
    'AT-01 typ with a parameter': [typed('at+jwt;v=1'), 'token_type_wrong'],
    'AT-01 typ of a DPoP proof': [typed('dpop+jwt'), 'token_type_wrong'],
    'AT-02 iss with a slash': [main.token({ iss: `${main.url}/` }), 'token_issuer_unknown'],
    'AT-02 iss in capitals': [main.token({ iss: main.url.toUpperCase() }), 'token_issuer_unknown'],
    'AT-02 no iss': [main.token({ iss: undefined }), 'token_issuer_unknown'],
    'AT-02 iss in a list': [main.token({ iss: [main.url] }), 'token_issuer_unknown'],
    'AT-03 another audience is a fact, judged later': [main.token({ aud: 'https://other.example' }), 'ok'],
    'AT-04 none': [main.token({}, { alg: 'none' }), 'token_algorithm_not_allowed'],
    'AT-04 NONE': [`${encode('{"alg":"NONE","typ":"at+jwt"}')}.${payload}.`, 'token_algorithm_not_allowed'],
    'AT-04 none over a good signature': [
      `${encode('{"alg":"none","typ":"at+jwt"}')}.${payload}.${signature}`,
      'token_algorithm_not_allowed',
    ],
    'AT-04 HS256 with the RSA public key': [hmac(publicPem, rsa.kid), 'token_algorithm_not_allowed'],
    'AT-04 HS256 with the EC public key': [hmac(publicDer, ec.kid), 'token_algorithm_not_allowed'],
    'AT-04 RS256 with the key for PS256': [
      main.token({}, { alg: 'RS256' }, rsa),
      'token_algorithm_not_allowed',
    ],
    'AT-04 ES256 with the wrong curve': [
      main.token({}, { alg: 'ES256' }, wrongCurve),
      'token_signature_invalid',
    ],
    'AT-04 ES384': [main.token({}, {}, wrongCurve), 'token_algorithm_not_allowed'],
    'AT-04 PS256 that names the EC key': [main.token({}, { kid: ec.kid }, rsa), 'token_signature_invalid'],
    'AT-04 ES256 in DER': [derSigned(good), 'token_signature_invalid'],
    'AT-04 no signature': [`${header}.${payload}.`, 'token_signature_invalid'],
    'AT-04 signature of zeros': [`${header}.${payload}.${'A'.repeat(86)}`, 'token_signature_invalid'],
    'AT-05 kid of another issuer': [main.token({}, {}, foreign), 'token_signature_invalid'],
    'AT-05 key of another issuer, our kid': [
      main.token({}, { kid: ec.kid }, foreign),
      'token_signature_invalid',
    ],
    'AT-05 token of another issuer': [stranger.token(), 'token_issuer_unknown'],
    'AT-06 crit': [main.token({}, { crit: ['x'], x: 1 }), 'token_malformed'],
    'AT-06 b64': [main.token({}, { crit: ['b64'], b64: false }), 'token_malformed'],
    'AT-06 kid of 256 characters': [main.token({}, { kid: 'k'.repeat(256) }), 'token_signature_invalid'],
    'AT-06 kid of 257 characters': [main.token({}, { kid: 'k'.repeat(257) }), 'token_malformed'],
    'AT-06 kid that is a path': [main.token({}, { kid: '../../../dev/null' }), 'token_signature_invalid'],
    'AT-06 no kid': [main.token({}, { kid: undefined }), 'ok'],
    'AT-06 no kid, PS256': [main.token({}, { kid: undefined }, rsa), 'ok'],
    'AT-06 no kid, foreign key': [main.token({}, { kid: undefined }, foreign), 'token_signature_invalid'],
    'AT-06 jwk in the header': [
      main.token({}, { jwk: foreign.jwk, kid: undefined }, foreign),
      'token_signature_invalid',
    ],
    'AT-07 expired is a fact, judged later': [main.token({ exp: NOW - 30 }), 'ok'],
    'AT-12 a JWE': [`${encode('{"alg":"RSA-OAEP","enc":"A128GCM"}')}.AA.AA.AA.AA`, 'token_malformed'],
    'AT-12 opaque': ['2YotnFZFEjr1zCsicMWpAA', 'token_malformed'],
    'AT-15 100 kB': [main.token({ pad: 'x'.repeat(100_000) }), 'token_malformed'],
    'AT-15 deep': [main.token({ deep: JSON.parse(`${'['.repeat(40)}${']'.repeat(40)}`) }), 'token_malformed'],
    'AT-15 duplicate member': [
      duplicated(`{"iss":"${main.url}","exp":${NOW + 60},"sub":"a","sub":"b"}`),
      'token_malformed',
    ],
    'spelled with padding': [`${good}=`, 'token_malformed'],
    'spelled with spare bits': [withSpareBits(good), 'token_malformed'],
    'spelled with a space': [`${header}. ${payload}.${signature}`, 'token_malformed'],
    'unsecured payload': [`${header}.${encode('{}')}.${signature}`, 'token_issuer_unknown'],
  }
  for (const [name, [token, expected]] of Object.entries(table)) t.equal(await codeOf(token), expected, name)
})

/** The same signature in the encoding of X.509, which JWS does not use (RFC 7518 section 3.4). */
function derSigned(token: string): string {
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const raw = Buffer.from(signature, 'base64url')
  const integer = (bytes: Buffer) => Buffer.concat([Buffer.from([2, 33, 0]), bytes])
  const body = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))])
  return `${header}.${payload}.${Buffer.concat([Buffer.from([0x30, body.length]), body]).toString('base64url')}`
}

function duplicated(payload: string): string {
  const marker = main.sign({ marker: true })
  return `${marker.split('.')[0]}.${encode(payload)}.${marker.split('.')[2]}`
}

/** The last of 86 characters carries four spare bits: 15 more spellings of the same signature. */
function withSpareBits(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(token.at(-1) as string)
  return token.slice(0, -1) + alphabet[last + 1]
}

t.test('facts state what the token states, for the checks to judge', async t => {
  const { ask } = await benchFor(main, { claims: { scope: 'scp', clientId: ['client_id', 'azp', 'cid'] } })
  const facts = async (claims: Overrides) => {
    const verdict = await ask(main.token(claims))
    if (verdict instanceof Denial) throw new Error(verdict.detail)
    return verdict
  }
  t.same((await facts({ aud: ['a', 'b'] })).audience, ['a', 'b'], 'AT-03')
  t.same((await facts({ aud: undefined })).audience, [], 'AT-03')
  t.equal((await facts({ exp: String(NOW + 60) })).expiresAt, null, 'AT-07')
  t.equal((await facts({ exp: undefined })).expiresAt, null, 'AT-08')
  t.equal((await facts({ client_id: undefined, cid: 'mapped' })).clientId, 'mapped', 'AT-08')
  t.equal((await facts({ sub: undefined })).subject, null, 'AT-08')
  t.same([...(await facts({ scp: ['a', 'b'] })).scopes], ['a', 'b'], 'AT-10')
  const machine = await facts({ sub: 'client-1', acr: 'high' })
  t.equal(machine.flow, 'unknown', 'AT-11')
})

t.test('AT-01: relaxed typ lets access tokens pass and ID tokens not', async t => {
  const relaxed = await benchFor(main, { typ: ['at+jwt', 'jwt', 'none', 'dpop+jwt', 'logout+jwt'] })
  const codeOf = (claims: Overrides, typ: unknown) => relaxed.codeOf(main.token(claims, { typ }))
  for (const typ of ['JWT', 'jwt', 'application/jwt', undefined]) {
    t.equal(await codeOf({}, typ), 'ok')
    for (const claim of ['nonce', 'at_hash', 'c_hash'])
      t.equal(await codeOf({ [claim]: 'x' }, typ), 'token_type_wrong', claim)
    t.equal(await codeOf({ aud: 'client-1' }, typ), 'token_type_wrong')
    t.equal(await codeOf({ aud: ['client-1'] }, typ), 'token_type_wrong')
    t.equal(await codeOf({ aud: ['client-1', 'https://api.bank.example'] }, typ), 'ok')
    t.equal(await codeOf({ aud: [], client_id: undefined }, typ), 'ok')
  }
  t.equal(await codeOf({ nonce: 'x' }, 'at+jwt'), 'ok', 'typed as an access token by its issuer')
  for (const typ of [
    'dpop+jwt',
    'logout+jwt',
    'DPoP+JWT',
    'application/logout+jwt',
    'secevent+jwt',
    'none',
    '',
  ])
    t.equal(await codeOf({}, typ), 'token_type_wrong', `typ ${typ}, whatever is listed`)
})

t.test('every supported algorithm verifies, and EdDSA with Ed25519 alone', async t => {
  const issuer = await issuerWith(...EVERY_ALGORITHM)
  const all = await benchFor(issuer, { algorithms: EVERY_ALGORITHM })
  for (const key of issuer.keys) {
    for (const time of ['first', 'second'])
      t.equal(await all.codeOf(issuer.token({ jti: time }, {}, key)), 'ok', `${key.alg}, ${time} token`)
    const other = newSigningKey(key.alg, key.kid)
    t.equal(await all.codeOf(issuer.token({}, {}, other)), 'token_signature_invalid', `${key.alg}, other key`)
  }
  const careless = await benchFor(main, { algorithms: ['none', 'HS256', 'ES256K', 'ES256'] })
  for (const alg of ['none', 'ES256K'])
    t.equal(
      await careless.codeOf(
        `${encode(JSON.stringify({ alg, typ: 'at+jwt' }))}.${encode(`{"iss":"${main.url}"}`)}.`,
      ),
      'token_algorithm_not_allowed',
      alg,
    )
})

t.test('F1-20: RS256, HS256 and none are refused', async t => {
  const issuer = await issuerWith('RS256')
  const { codeOf } = await benchFor(issuer)
  t.equal(await codeOf(issuer.token()), 'token_algorithm_not_allowed')
  t.equal(await codeOf(issuer.token({}, { alg: 'none' })), 'token_algorithm_not_allowed')
  t.equal(await codeOf(signToken({}, { alg: 'HS256' }, 'secret')), 'token_algorithm_not_allowed')
})

t.test('F1-21 and AT-13: a short RSA key and a malformed EC point are as good as none', async t => {
  const issuer = await issuerWith('ES256')
  const short = newSigningKey('PS256', 'short', 1024)
  const broken = newSigningKey('ES256', 'broken')
  issuer.jwks = {
    keys: [short.jwk, { ...broken.jwk, y: broken.jwk.x }, ...issuer.keys.map(({ jwk }) => jwk)],
  }
  const { codeOf } = await benchFor(issuer)
  t.equal(await codeOf(issuer.token({}, {}, short)), 'token_signature_invalid')
  t.equal(await codeOf(issuer.token({}, {}, broken)), 'token_signature_invalid')
  t.equal(await codeOf(issuer.token()), 'ok', 'the others serve')
})

t.test('F1-22: keys that share a kid are told apart, or tried in turn', async t => {
  const issuer = await issuerWith('ES256')
  const twins = [
    newSigningKey('ES256', 'same'),
    newSigningKey('PS256', 'same'),
    newSigningKey('ES256', 'same'),
  ]
  issuer.jwks = { keys: twins.map(({ jwk }) => jwk) }
  const { codeOf } = await benchFor(issuer)
  for (const key of twins) t.equal(await codeOf(issuer.token({}, {}, key)), 'ok', key.alg)
  t.equal(await codeOf(issuer.token({}, { kid: 'same' })), 'token_signature_invalid')
})

t.test('F1-22: jku and x5u are never fetched', async t => {
  const asked: string[] = []
  const [foreign] = stranger.keys as [SigningKey]
  const attacker = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end(JSON.stringify({ keys: [foreign.jwk] }))
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => attacker.once('listening', resolve))
  const url = `http://127.0.0.1:${(attacker.address() as AddressInfo).port}/jwks`
  const { codeOf } = await benchFor(main)
  for (const header of [{ jku: url }, { x5u: url }, { jku: url, kid: ec.kid }, { jku: url, kid: undefined }])
    t.equal(await codeOf(main.token({}, header, foreign)), 'token_signature_invalid')
  t.equal(await codeOf(main.token({}, { jku: url, x5u: url, x5c: ['AA'] })), 'ok', 'and not minded')
  t.same(asked, [])
  attacker.close()
})

t.test('no change of a good token is accepted', async t => {
  const { codeOf } = await benchFor(main)
  const alphabet = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ~\n\0é']
  for (const key of main.keys) {
    const good = main.token({ scope: 'a' }, {}, key)
    t.equal(await codeOf(good), 'ok')
    const place = fc.nat({ max: good.length - 1 })
    const character = fc.constantFrom(...alphabet)
    const changed = fc.oneof(
      fc.tuple(place, character).map(([at, next]) => good.slice(0, at) + next + good.slice(at + 1)),
      fc.tuple(place, character).map(([at, next]) => good.slice(0, at) + next + good.slice(at)),
      place.map(at => good.slice(0, at) + good.slice(at + 1)),
      place.map(at => good.slice(0, at)),
      character.map(next => good + next),
    )
    await fc.assert(
      fc.asyncProperty(changed, async token => {
        fc.pre(token !== good)
        return (await codeOf(token)) !== 'ok'
      }),
      { numRuns: 600 },
    )
    for (const last of alphabet)
      if (last !== good.at(-1))
        t.not(await codeOf(good.slice(0, -1) + last), 'ok', `last character ${JSON.stringify(last)}`)
  }
})

t.test(
  'a key that has verified a token goes on exactly as jose judges it, whatever the signature',
  async t => {
    const issuer = await issuerWith(...EVERY_ALGORITHM)
    const set = readKeySet({ keys: issuer.keys.map(({ jwk }) => jwk) })
    for (const signing of issuer.keys) {
      const { alg } = signing
      const keys = (set?.keys ?? []).filter(({ kid }) => kid === signing.kid)
      const known = new KnownKeys()
      const good = issuer.token({}, {}, signing)
      t.ok(known.problem(good, alg, keys) instanceof Promise, `${alg}: the first token is for jose`)
      t.equal(await signatureProblem(good, alg, keys), null)
      while (known.problem(good, alg, keys) instanceof Promise) await new Promise(setImmediate)
      t.equal(known.problem(good, alg, keys), null, `${alg}: the second one is not`)
      const [header, payload, signature] = good.split('.') as [string, string, string]
      const bytes = Buffer.from(signature, 'base64url')
      const others = fc.oneof(
        fc.uint8Array({ maxLength: bytes.length + 2 }).map(other => Buffer.from(other)),
        fc.constantFrom(0, 0xff).map(byte => Buffer.alloc(bytes.length, byte)),
        fc.nat({ max: bytes.length }).map(length => bytes.subarray(0, length)),
        fc.nat({ max: bytes.length }).map(at => Buffer.concat([bytes.subarray(0, at), bytes])),
        fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 7 })).map(([at, bit]) => {
          const changed = Buffer.from(bytes)
          changed[at] = (changed[at] as number) ^ (1 << bit)
          return changed
        }),
      )
      await fc.assert(
        fc.asyncProperty(others, async other => {
          const token = `${header}.${payload}.${other.toString('base64url')}`
          const byJose = await signatureProblem(token, alg, keys)
          const byKnown = await known.problem(token, alg, keys)
          return byJose?.code === byKnown?.code
        }),
        { numRuns: 60 },
      )
      const other = newSigningKey(alg, signing.kid)
      const forged = known.problem(issuer.token({}, {}, other), alg, keys)
      t.ok(forged instanceof Denial && forged.code === 'token_signature_invalid', `${alg}: another key`)
    }
  },
)

t.test('a key is known with one algorithm at a time', async t => {
  const issuer = await issuerWith('PS256')
  const [signing] = issuer.keys as [SigningKey]
  const { alg: _, ...jwk } = signing.jwk
  const keys = readKeySet({ keys: [jwk] })?.keys ?? []
  const known = new KnownKeys()
  t.equal(await known.problem(issuer.token(), 'PS256', keys), null)
  const asRs256 = known.problem(issuer.token(), 'RS256', keys)
  t.ok(asRs256 instanceof Promise, 'jose is asked again')
  t.equal((await asRs256)?.code, 'token_algorithm_not_allowed')
})

t.test('the cache holds facts and no verdicts, and answers without a promise', async t => {
  const { source, cache, ask } = await benchFor(main)
  const token = main.token({ exp: NOW + 100 })
  const credentials = { scheme: 'bearer', token } as const
  t.ok(source.authenticate(credentials, NOW, admitAlways) instanceof Promise)
  await ask(token)
  t.same(cache, { hit: 0, miss: 2 })
  await new Promise(resolve => setImmediate(resolve))
  const hit = source.authenticate(credentials, NOW, admitAlways)
  t.notOk(hit instanceof Promise || hit instanceof Denial)
  t.same(cache, { hit: 1, miss: 2 })
  t.notOk(
    source.authenticate(credentials, NOW + 159, admitAlways) instanceof Promise,
    'expiry is judged elsewhere, on these facts',
  )
  t.ok(
    source.authenticate(credentials, NOW + 160, admitAlways) instanceof Promise,
    'nothing is kept longer than exp + 60 s',
  )
  const bad = main.token({}, { typ: 'JWT' })
  await ask(bad)
  await ask(bad)
  t.equal(cache.hit, 2, 'refusals are not kept')
  const endless = main.token({ exp: undefined })
  await ask(endless)
  await ask(endless)
  t.equal(cache.hit, 2, 'nor tokens without an end')
})

t.test('the cache is bounded in bytes', async t => {
  const rules = rulesOf(main.url)
  const cache = createTokenCache(rules, 100_000)
  const { ask } = await benchFor(main)
  const facts = await ask(main.token())
  if (facts instanceof Denial) throw new Error(facts.detail)
  for (let index = 0; index < 1000; index++) cache.set(cache.keyOf(`token-${index}`), facts, 600, NOW)
  t.ok(cache.bytes() <= 100_000 && cache.bytes() > 90_000, `${cache.bytes()} bytes`)
  t.equal(cache.get(cache.keyOf('token-0'), NOW), undefined)
  t.equal(cache.get(cache.keyOf('token-999'), NOW), facts)
  t.not(
    cache.keyOf('a'),
    createTokenCache({ ...rules, audience: ['other'] }, 1000).keyOf('a'),
    'other rules, other facts',
  )
  t.not(cache.keyOf('a'), createTokenCache({ ...rules, name: 'other' }, 1000).keyOf('a'))
  t.notMatch(cache.keyOf('secret'), /secret/)
})

t.test('the cache counts what claims are made of, not only their text', async t => {
  const { ask } = await benchFor(main)
  const bytesFor = async (claims: Record<string, unknown>) => {
    const token = main.token(claims)
    const facts = await ask(token)
    if (facts instanceof Denial) throw new Error(facts.detail)
    const cache = createTokenCache(rulesOf(main.url), 1_000_000)
    cache.set(cache.keyOf(token), facts, token.length, NOW)
    return { bytes: cache.bytes(), length: token.length }
  }
  const usual = await bytesFor({ cnf: { 'x5t#S256': 'A'.repeat(43) }, jti: 'b'.repeat(36), scope: 'a b' })
  t.ok(usual.bytes > usual.length + 500 && usual.bytes < usual.length + 1000, `${usual.bytes} bytes`)
  const odd = await bytesFor({ n: Array.from({ length: 1000 }, () => ({})) })
  t.ok(odd.bytes > odd.length + 60_000, `${odd.bytes} bytes for ${odd.length} characters`)
  const scopes = await bytesFor({ scope: Array.from({ length: 500 }, (_, i) => `s${i}`).join(' ') })
  t.ok(scopes.bytes > scopes.length + 30_000, `${scopes.bytes} bytes for ${scopes.length} characters`)
})

t.test('the cache is emptied when the keys change', async t => {
  const issuer = await issuerWith('ES256')
  const { codeOf, cache } = await benchFor(issuer)
  const before = issuer.token()
  t.equal(await codeOf(before), 'ok')
  t.equal(await codeOf(before), 'ok')
  t.equal(cache.hit, 1)
  issuer.rotate()
  const after = issuer.token()
  t.equal(await codeOf(after), 'ok', 'AT-18: accepted within one request')
  t.equal(issuer.fetches, 2)
  t.equal(await codeOf(before), 'token_signature_invalid', 'the withdrawn key verifies nothing any more')
})

/** Keys that are simply there, but for the changes. */
function givenKeys(key: SigningKey, changes: Partial<KeySource>): KeySource {
  const found = keysOf(key)
  return {
    start: async () => {},
    keysFor: () => found,
    unavailable: () => null,
    isReady: () => true,
    onChange: () => {},
    handover: () => null,
    close: () => {},
    ...changes,
  }
}

function keysOf({ jwk }: SigningKey): readonly VerificationKey[] {
  const set = readKeySet({ keys: [jwk] })
  if (set === null) throw new Error('no key set')
  return set.keys
}

t.test('keys that change while a signature is checked leave no facts behind', async t => {
  let changed = () => {}
  const results: string[] = []
  const source = createJwtSource({
    rules: rulesOf(main.url),
    keys: givenKeys(ec, {
      async keysFor() {
        queueMicrotask(() => changed())
        return keysOf(ec)
      },
      onChange: listener => {
        changed = listener
      },
    }),
    meter: { tokenCache: result => results.push(result) },
  })
  const credentials = { scheme: 'bearer', token: main.token() } as const
  t.notOk((await source.authenticate(credentials, NOW, admitAlways)) instanceof Denial)
  await source.authenticate(credentials, NOW, admitAlways)
  t.same(results, ['miss', 'miss'])
})

t.test('facts are withheld once the keys are too old to have verified them', async t => {
  let tooOld = false
  const source = createJwtSource({
    rules: rulesOf(main.url),
    keys: givenKeys(ec, {
      unavailable: () => (tooOld ? new Denial('issuer_unavailable', 'too old') : null),
    }),
    meter: { tokenCache: () => {} },
  })
  const credentials = { scheme: 'bearer', token: main.token() } as const
  t.notOk((await source.authenticate(credentials, NOW, admitAlways)) instanceof Denial)
  t.notOk((await source.authenticate(credentials, NOW, admitAlways)) instanceof Denial)
  tooOld = true
  t.match(await source.authenticate(credentials, NOW, admitAlways), { code: 'issuer_unavailable' })
})

t.test('AT-18: an issuer that was never reached is answered with issuer_unavailable', async t => {
  const issuer = await createTokenIssuer({ algorithms: ['ES256'], tls: false })
  issuer.failMode = '500'
  opened.push(issuer)
  const { source, codeOf, keys } = await benchFor(issuer)
  t.equal(source.isReady(), false)
  t.equal(await codeOf(issuer.token()), 'issuer_unavailable')
  t.equal(await codeOf('garbage'), 'token_malformed', 'what is no token is refused without keys')
  issuer.failMode = null
  await new Promise(resolve => setTimeout(resolve, 1100))
  await keys.start()
  t.equal(await codeOf(issuer.token()), 'ok', 'and recovers by itself')
})

t.test('an unexpected failure of the library is a fault that names no claims', async t => {
  const [key] = keysOf(ec).map(usable => ({ ...usable, key: ec.privateKey })) // a mistake of ours, not of the client
  if (key === undefined) throw new Error('no key')
  const token = main.token({ sub: 'very-private' })
  await t.rejects(signatureProblem(token, 'ES256', [key]), {
    message: /^signature verification failed unexpectedly: \w+$/,
  })
  const fault = await signatureProblem(token, 'ES256', [key]).catch((error: Error) => error)
  t.notMatch(`${(fault as Error).stack} ${JSON.stringify(fault)}`, /very-private/)
  t.equal((fault as Error).cause, undefined)
})

t.test('the issuer of a token is chosen among those of the route', async t => {
  const one = await benchFor(main)
  const two = await benchFor(stranger)
  const authenticate = createAuthenticator(
    new Map([
      ['one', one.source],
      ['two', two.source],
    ]),
  )
  const codeOf = async (token: string, names: readonly string[]) => {
    const verdict = await authenticate({ scheme: 'bearer', token }, names, NOW, admitAlways)
    return verdict instanceof Denial ? verdict.code : verdict.rules.issuer
  }
  t.equal(await codeOf(main.token(), ['one']), main.url)
  t.equal(await codeOf(stranger.token(), ['one']), 'token_issuer_unknown')
  t.equal(await codeOf(main.token(), ['one', 'two']), main.url)
  t.equal(await codeOf(stranger.token(), ['one', 'two']), stranger.url)
  t.equal(await codeOf(main.token({ iss: 'https://third.example' }), ['one', 'two']), 'token_issuer_unknown')
  t.equal(await codeOf(main.token({ iss: undefined }), ['one', 'two']), 'token_issuer_unknown')
  t.equal(await codeOf(main.token(), []), 'token_issuer_unknown')
  t.equal(await codeOf('garbage', ['one', 'two']), 'token_malformed')
  t.equal(await codeOf(main.token({ iss: stranger.url }), ['one', 'two']), 'token_signature_invalid', 'AT-05')
  const twoIssuers = `{"iss":"${main.url}","iss":"${stranger.url}"}`
  t.equal(await codeOf(duplicated(twoIssuers), ['one', 'two']), 'token_malformed')
  const token = main.token()
  await authenticate({ scheme: 'bearer', token }, ['one', 'two'], NOW, admitAlways)
  t.notOk(
    authenticate({ scheme: 'bearer', token }, ['one', 'two'], NOW, admitAlways) instanceof Promise,
    'a hit is synchronous',
  )
  t.throws(() => authenticate({ scheme: 'bearer', token }, ['three'], NOW, admitAlways), {
    message: 'no source for issuer three',
  })
})
