import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import { readKeySet, readKeySetText, selectKeys } from '../../src/policy/key-set.js'
import type { KeySettings } from '../../src/policy/key-settings.js'
import type { JsonObject } from '../../src/policy/strict-json.js'
import type { Clock } from '../../src/sources/clock.js'
import { discoverKeysUrl, metadataUrls } from '../../src/sources/discovery.js'
import { createKeySource, type KeySourceOptions } from '../../src/sources/keys.js'
import { createOutbound, type GetJson, OutboundFailure, urlProblem } from '../../src/sources/outbound.js'
import { createAuthority } from '../support/pki.js'
import { createTokenIssuer, type FailMode, newSigningKey, type SigningKey } from '../support/token-issuer.js'

const ISSUER = 'https://issuer.example'
const SECOND = 1000
const MINUTE = 60 * SECOND
const REMOTE = {
  from: 'url',
  url: `${ISSUER}/jwks`,
  refreshMs: 5 * MINUTE,
  cooldownMs: 30 * SECOND,
  staleForMs: 60 * MINUTE,
  ca: null,
} as const satisfies KeySettings

const KEY = newSigningKey('ES256', 'first')
const NEXT = newSigningKey('ES256', 'next')
const setOf = (...keys: readonly SigningKey[]): JsonObject => ({ keys: keys.map(({ jwk }) => jwk) })
const hintOf = ({ alg, kid }: SigningKey) => ({ alg, kid })
const unknown = (index: number) => ({ alg: 'ES256', kid: `unknown-${index}` })

/** Time that stands still unless it is told to pass; what becomes due runs, and its promises settle, in order. */
function fakeClock() {
  let time = 1_000_000
  let timers: { at: number; run: () => void }[] = []
  const clock: Clock = {
    now: () => time,
    after(ms, run) {
      const timer = { at: time + ms, run }
      timers.push(timer)
      return () => {
        timers = timers.filter(other => other !== timer)
      }
    },
  }
  return {
    clock,
    pending: () => timers.length,
    async pass(ms: number) {
      const end = time + ms
      for (;;) {
        const due = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
        if (due === undefined) break
        time = Math.max(time, due.at)
        timers = timers.filter(timer => timer !== due)
        due.run()
        await settled()
      }
      time = end
      await settled()
    },
  }
}

const settled = () => new Promise(resolve => setImmediate(resolve))

/** An issuer that answers what `answer` says at the time, and counts. */
interface FakeIssuer {
  answer: JsonObject | OutboundFailure | Promise<JsonObject | OutboundFailure>
  fetches: number
  readonly get: GetJson
}

function fakeIssuer(answer: JsonObject | OutboundFailure): FakeIssuer {
  const issuer: FakeIssuer = {
    answer,
    fetches: 0,
    async get() {
      issuer.fetches++
      return issuer.answer
    },
  }
  return issuer
}

const DOWN = new OutboundFailure('ECONNREFUSED')

function setUp(first: JsonObject | OutboundFailure, changes: Partial<KeySourceOptions> = {}) {
  const issuer = fakeIssuer(first)
  const time = fakeClock()
  const reports: string[] = []
  const source = createKeySource({
    name: 'main',
    issuer: ISSUER,
    settings: REMOTE,
    meter: { keysRefresh: (name, result, detail) => reports.push(`${name} ${result} ${detail}`) },
    clock: time.clock,
    get: issuer.get,
    ...changes,
  })
  const ask = async (hint: { alg: string; kid: string | null }) => {
    const found = await source.keysFor(hint)
    return found instanceof Denial ? found.code : found.map(({ kid }) => kid)
  }
  return { issuer, time, reports, source, ask }
}

t.test('a JWK set: good keys serve, bad ones are left out and named', async t => {
  const good = (['ES256', 'ES384', 'ES512', 'RS256', 'PS256', 'EdDSA'] as const).map(alg =>
    newSigningKey(alg, alg),
  )
  const rsa = good.find(({ alg }) => alg === 'PS256') as SigningKey
  const ec = KEY.jwk
  const bad: Record<string, [unknown, RegExp]> = {
    oct: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'oct' }, /holds a secret/],
    private: [{ ...KEY.privateKey.export({ format: 'jwk' }), kid: 'private' }, /holds a secret/],
    short: [newSigningKey('PS256', 'short', 1024).jwk, /less than 2048 bits/],
    exponent: [{ ...rsa.jwk, kid: 'exponent', e: 'AQ' }, /exponent/],
    even: [{ ...rsa.jwk, kid: 'even', e: 'Ag' }, /exponent/],
    modulus: [{ ...rsa.jwk, kid: 'modulus', n: '!' }, /less than 2048/],
    enc: [{ ...ec, kid: 'enc', use: 'enc' }, /use is not sig/],
    ops: [{ ...ec, kid: 'ops', key_ops: ['encrypt'] }, /key_ops/],
    opsText: [{ ...ec, kid: 'opsText', key_ops: 'verify' }, /key_ops/],
    point: [{ ...ec, kid: 'point', y: ec.x }, /not on the curve/],
    coordinate: [{ ...ec, kid: 'coordinate', x: 'AA' }, /malformed/],
    missing: [{ kty: 'EC', crv: 'P-256', kid: 'missing' }, /malformed/],
    curve: [
      {
        ...generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' }),
        kid: 'curve',
      },
      /no kind of key/,
    ],
    x25519: [
      { ...generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' }), kid: 'x25519' },
      /no kind of key/,
    ],
    ed448: [
      { ...generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' }), kid: 'ed448' },
      /no kind of key/,
    ],
    hmacAlg: [{ ...rsa.jwk, kid: 'hmacAlg', alg: 'HS256' }, /alg is no signature algorithm/],
    encAlg: [{ ...rsa.jwk, kid: 'encAlg', alg: 'RSA-OAEP' }, /alg is no signature algorithm/],
  }
  const strangers = [null, 'text', [], 7, { ...ec, kid: 7 }, { ...ec, kid: 'k'.repeat(257) }]
  const set = readKeySet({
    keys: [...Object.values(bad).map(([jwk]) => jwk), ...strangers, ...good.map(({ jwk }) => jwk)],
  })
  t.same(
    set?.keys.map(({ kid }) => kid),
    good.map(({ kid }) => kid),
  )
  for (const [kid, [, reason]] of Object.entries(bad))
    t.match(
      set?.ignored.find(line => line.startsWith(`key "${kid}": `)),
      reason,
      kid,
    )
  t.equal(set?.ignored.length, Object.keys(bad).length + strangers.length)
  t.same(readKeySet({}), null)
  t.same(readKeySet({ keys: {} }), null)
  const many = readKeySet({ keys: Array.from({ length: 103 }, () => ec) })
  t.same([many?.keys.length, many?.ignored], [100, ['3 keys beyond the first 100']])
})

t.test('keys are chosen by kid, kind, curve and alg', async t => {
  const ec = newSigningKey('ES256', 'same')
  const rsa = newSigningKey('PS256', 'same')
  const withoutAlg = ({ jwk: { alg: _, ...rest } }: SigningKey) => rest
  const set = readKeySet({
    keys: [
      ec.jwk,
      rsa.jwk,
      withoutAlg(newSigningKey('RS256', 'free')),
      withoutAlg(newSigningKey('ES384', 'curve')),
    ],
  })
  if (set === null) throw new Error('no set')
  const chosen = (alg: string, kid: string | null) =>
    selectKeys(set, { alg, kid }).map(key => `${key.kid} ${key.kty}`)
  t.same(chosen('ES256', 'same'), ['same EC'])
  t.same(chosen('PS256', 'same'), ['same RSA'])
  t.same(chosen('RS256', 'same'), [], 'the key says PS256')
  t.same(chosen('RS256', 'free'), ['free RSA'])
  t.same(chosen('PS512', 'free'), ['free RSA'])
  t.same(chosen('ES256', 'curve'), [], 'P-384 is not for ES256')
  t.same(chosen('PS256', null), ['same RSA', 'free RSA'])
  for (const alg of ['none', 'HS256', 'toString', '__proto__', '']) t.same(chosen(alg, null), [])
  const crowd = readKeySet({ keys: Array.from({ length: 20 }, () => ec.jwk) })
  t.equal(crowd && selectKeys(crowd, hintOf(ec)).length, 8)
})

t.test('a key set has the same fingerprint exactly when its keys are the same', async t => {
  const print = (...keys: readonly unknown[]) => readKeySet({ keys })?.fingerprint
  t.equal(print(KEY.jwk, NEXT.jwk), print({ ...NEXT.jwk, note: 'x' }, KEY.jwk))
  t.not(print(KEY.jwk), print(KEY.jwk, NEXT.jwk))
  t.not(print(KEY.jwk), print({ ...KEY.jwk, kid: 'other' }))
  t.equal(print(KEY.jwk), print(KEY.jwk, { kty: 'oct', k: 'AA' }))
})

t.test('outgoing requests: https, or http to this machine', async t => {
  for (const url of [
    'https://a.example/x',
    'http://127.0.0.1:1/x',
    'http://localhost/',
    'http://[::1]:8/',
    'http://127.1/',
  ])
    t.equal(urlProblem(url), null, url)
  for (const url of [
    'http://a.example/',
    'http://10.0.0.1/',
    'http://127.0.0.1.example/',
    'http://localhost.example/',
    'ftp://a/',
    'file:///etc/passwd',
    'text',
    '',
  ])
    t.match(urlProblem(url), /not an? (?:https )?URL/, url)
  t.match(urlProblem('https://user:secret@a.example/'), /credentials/)
  const refused = await createOutbound({ ca: null })('http://user:secret@127.0.0.1/?secret')
  t.notMatch(refused instanceof OutboundFailure && refused.detail, /secret/)
})

t.test('outgoing requests: every way to fail is a value without secrets', async t => {
  const issuer = await createTokenIssuer({ algorithms: ['ES256'] })
  t.teardown(() => issuer.close())
  const get = createOutbound({ ca: issuer.caPem, timeoutMs: 300 })
  t.same(await get(issuer.jwksUrl), issuer.jwks)
  const expected: Record<Exclude<FailMode, 'wrong-issuer'>, RegExp> = {
    '500': /: status 500$/,
    redirect: /: status 302$/,
    hang: /: no complete answer within 300 ms$/,
    huge: /: more than 524288 bytes$/,
    'not-json': /: not JSON$/,
    'cut-off': /: ECONNRESET$/,
  }
  for (const [mode, detail] of Object.entries(expected)) {
    issuer.failMode = mode as FailMode
    const before = issuer.requests.length
    const answer = await get(issuer.jwksUrl)
    t.match(answer instanceof OutboundFailure && answer.detail, detail, mode)
    t.equal(issuer.requests.length, before + 1, `${mode}: one request, nothing followed`)
  }
  issuer.failMode = null
  const detailOf = async (client: GetJson, url = issuer.jwksUrl, signal?: AbortSignal) => {
    const answer = await client(url, signal)
    return answer instanceof OutboundFailure ? answer.detail : 'an answer'
  }
  t.match(await detailOf(get, `${issuer.jwksUrl}/none?secret=1`), /\/jwks\/none: status 404$/)
  const stranger = await createAuthority('Another CA')
  t.match(
    await detailOf(createOutbound({ ca: stranger.certificatePem })),
    /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET/,
  )
  t.match(await detailOf(createOutbound({ ca: null })), /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET/)
  t.match(await detailOf(get, issuer.jwksUrl.replace('127.0.0.1', 'localhost')), /ALTNAME|ECONNREFUSED/)
  t.type(await detailOf(createOutbound({ ca: 'no PEM' })), 'string')
  t.match(await detailOf(get, issuer.jwksUrl, AbortSignal.abort()), /ABORT_ERR/)
  await issuer.close()
  t.match(await detailOf(get), /ECONNREFUSED/)
})

t.test('discovery asks both forms of metadata and insists on the issuer', async t => {
  t.same(metadataUrls('https://a.example'), [
    'https://a.example/.well-known/oauth-authorization-server',
    'https://a.example/.well-known/openid-configuration',
  ])
  t.same(metadataUrls('https://a.example/realms/bank/'), [
    'https://a.example/.well-known/oauth-authorization-server/realms/bank',
    'https://a.example/realms/bank/.well-known/openid-configuration',
  ])
  for (const discovery of ['both', 'oauth', 'openid'] as const)
    for (const path of ['', '/tenant', '/tenant/']) {
      const issuer = await createTokenIssuer({ algorithms: ['ES256'], tls: false, discovery, path })
      const get = createOutbound({ ca: null })
      t.equal(await discoverKeysUrl(issuer.url, get), issuer.jwksUrl, `${discovery} ${path}`)
      await issuer.close()
    }
  const issuer = await createTokenIssuer({ algorithms: ['ES256'] })
  t.teardown(() => issuer.close())
  const failure = async (url = issuer.url) => {
    const found = await discoverKeysUrl(url, createOutbound({ ca: issuer.caPem }))
    return found instanceof OutboundFailure ? found.detail : 'found'
  }
  t.equal(await failure(), 'found')
  t.match(await failure(`${issuer.url}/`), /issuer is "https:/, 'no tolerance for a slash')
  issuer.failMode = 'wrong-issuer'
  t.match(await failure(), /oauth-authorization-server: issuer is .*; .*openid-configuration: issuer is /)
  issuer.failMode = null
  for (const [jwks_uri, reason] of [
    ['http://a.example/jwks', /jwks_uri is not an https URL/],
    ['file:///etc/passwd', /jwks_uri is not an https URL/],
    [7, /jwks_uri is absent/],
  ] as const) {
    issuer.metadata = { jwks_uri }
    t.match(await failure(), reason)
  }
  t.match(await failure('urn:issuer'), /not an https URL/)
})

t.test('the text of a key set is read by one rule, at load and at work', async t => {
  const text = (set: unknown) => readKeySetText(JSON.stringify(set))
  t.type(text(setOf(KEY)), 'object')
  t.equal(readKeySetText('{'), 'cannot be read: not JSON')
  t.match(text({}), /no JWK set/)
  t.equal(text({ keys: [] }), 'has no usable key')
  t.match(text({ keys: [{ kty: 'oct', kid: 'x', k: 'AA' }] }), /no usable key; key "x": holds a secret/)
  t.match(text({ keys: [{ ...KEY.jwk, use: 'enc' }] }), /no usable key; key "first": use is not sig/)
  const mixed = text({ keys: [{ ...KEY.jwk, use: 'enc' }, { kty: 'oct', k: 'AA' }, KEY.jwk] })
  t.same(typeof mixed === 'string' ? mixed : mixed.faulty, [
    { number: 2, reason: 'holds a secret, which has no place in a public set' },
  ])
})

t.test('keys from a file serve at once and for ever', async t => {
  const { source, ask, time } = setUp(DOWN, { settings: { from: 'file', text: JSON.stringify(setOf(KEY)) } })
  await source.start()
  t.equal(source.isReady(), true)
  await time.pass(24 * 60 * MINUTE)
  t.same(await ask(hintOf(KEY)), ['first'])
  t.same(await ask(unknown(1)), [])
  for (const text of ['x', '{"keys":[]}']) {
    const broken = setUp(DOWN, { settings: { from: 'file', text } })
    t.equal(broken.source.isReady(), false)
    t.equal(await broken.ask(hintOf(KEY)), 'issuer_unavailable')
    t.equal(broken.source.unavailable()?.code, 'issuer_unavailable')
  }
})

t.test('keys are refreshed in the background, and a change is told', async t => {
  const { source, issuer, time, ask, reports } = setUp(setOf(KEY))
  let changes = 0
  source.onChange(() => changes++)
  t.equal(source.isReady(), false)
  await source.start()
  t.equal(source.isReady(), true)
  t.same(await ask(hintOf(KEY)), ['first'])
  await time.pass(5 * MINUTE)
  t.equal(issuer.fetches, 2)
  t.equal(changes, 0, 'the same keys are no change')
  issuer.answer = setOf(NEXT)
  await time.pass(5 * MINUTE)
  t.equal(changes, 1)
  t.same(await ask(hintOf(NEXT)), ['next'])
  t.same(await ask(hintOf(KEY)), [], 'a withdrawn key is gone')
  t.match(reports.at(-1), /main success 1 keys/)
  source.close()
  const { fetches } = issuer
  await time.pass(60 * MINUTE)
  t.equal(issuer.fetches, fetches, 'closed is closed')
  t.equal(time.pending(), 0)
})

t.test('a new kid is had within the request that brings it', async t => {
  const { source, issuer, ask } = setUp(setOf(KEY))
  await source.start()
  issuer.answer = setOf(KEY, NEXT)
  t.same(await ask(hintOf(NEXT)), ['next'])
  t.equal(issuer.fetches, 2)
})

t.test('a thousand unknown kids cost one fetch per cooldown, waiting together', async t => {
  const { source, issuer, time, ask } = setUp(setOf(KEY))
  await source.start()
  const burst = async () => {
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, index) => ask(unknown(index))))
    t.ok(answers.every(answer => Array.isArray(answer) && answer.length === 0))
  }
  await burst()
  t.equal(issuer.fetches, 2)
  await time.pass(29 * SECOND)
  await burst()
  t.equal(issuer.fetches, 2, 'not before the cooldown is over')
  await time.pass(SECOND)
  await burst()
  t.equal(issuer.fetches, 3)
})

t.test('a thousand unknown kids cost one fetch per cooldown also when the issuer fails', async t => {
  const settings = { ...REMOTE, refreshMs: 100 * MINUTE, staleForMs: 100 * MINUTE }
  const { source, issuer, time, ask } = setUp(setOf(KEY), { settings })
  await source.start()
  issuer.answer = DOWN
  const burst = () => Promise.all(Array.from({ length: 1000 }, (_, index) => ask(unknown(index))))
  const answers = await burst()
  t.equal(issuer.fetches, 2)
  t.ok(
    answers.every(answer => answer === 'issuer_unavailable'),
    'an outage is never the fault of the client',
  )
  await burst()
  await burst()
  t.equal(issuer.fetches, 2)
  const before = issuer.fetches
  for (let second = 0; second < 300; second++) {
    await time.pass(SECOND)
    await Promise.all([ask(unknown(second)), ask(unknown(second + 1000))])
  }
  const perCooldown = 300 / 30
  const background = 5 + 300 / 27 // the backoff: 1, 2, 4, 8, 16, then every 30 s less a tenth
  t.ok(
    issuer.fetches - before <= perCooldown + background,
    `${issuer.fetches - before} fetches in five minutes`,
  )
  t.same(await ask(hintOf(KEY)), ['first'], 'known keys serve on')
})

t.test('requests with known kids do not wait for a fetch', async t => {
  const { source, issuer } = setUp(setOf(KEY))
  await source.start()
  issuer.answer = new Promise(() => {})
  const waiting = source.keysFor(unknown(1))
  t.ok(waiting instanceof Promise)
  t.notOk(source.keysFor(hintOf(KEY)) instanceof Promise)
})

t.test('an older answer never replaces a newer one', async t => {
  const { source, issuer, time, ask } = setUp(setOf(KEY))
  await source.start()
  let answerOld: (answer: JsonObject | OutboundFailure) => void = () => {}
  issuer.answer = new Promise(resolve => {
    answerOld = resolve
  })
  await time.pass(5 * MINUTE) // the background refresh is on its way and slow
  issuer.answer = setOf(NEXT)
  t.same(await ask(hintOf(NEXT)), ['next'])
  answerOld(setOf(KEY))
  await settled()
  t.same(await ask(hintOf(NEXT)), ['next'])
  t.same(await ask(hintOf(KEY)), [])
})

t.test('an older failure says nothing about newer keys', async t => {
  const { source, issuer, time, ask } = setUp(setOf(KEY), { settings: { ...REMOTE, staleForMs: 0 } })
  await source.start()
  let failOld: (answer: JsonObject | OutboundFailure) => void = () => {}
  issuer.answer = new Promise(resolve => {
    failOld = resolve
  })
  await time.pass(5 * MINUTE)
  issuer.answer = setOf(KEY, NEXT)
  t.same(await ask(hintOf(NEXT)), ['next'])
  failOld(DOWN)
  await settled()
  t.same(await ask(hintOf(NEXT)), ['next'])
})

const METADATA = { issuer: ISSUER, jwks_uri: REMOTE.url }

/** A source with discovery whose questions wait until the test answers them, in any order. */
function setUpSlow(changes: { readonly staleForMs?: number } = {}) {
  const asked: { url: string; resolve: (answer: JsonObject | OutboundFailure) => void }[] = []
  const [metadataUrl, otherUrl] = metadataUrls(ISSUER)
  const get: GetJson = async url =>
    url === otherUrl ? DOWN : new Promise(resolve => asked.push({ url, resolve }))
  /** Answers the question that was asked as the nth for this address. */
  const answer = async (url: string, nth: number, content: JsonObject | OutboundFailure) => {
    const question = asked.filter(other => other.url === url)[nth - 1]
    if (question === undefined) throw new Error(`${url} was not asked for ${nth} times`)
    question.resolve(content)
    await settled()
  }
  return {
    ...setUp(DOWN, { get, settings: { ...REMOTE, ...changes, from: 'discovery' } }),
    metadata: (nth: number, content: JsonObject | OutboundFailure) => answer(metadataUrl, nth, content),
    keys: (nth: number, content: JsonObject | OutboundFailure) => answer(REMOTE.url, nth, content),
  }
}

t.test('keys are as old as the question for them, however long the discovery took', async t => {
  const { source, time, ask, metadata, keys } = setUpSlow()
  source.start()
  await metadata(1, METADATA)
  await keys(1, setOf(KEY, NEXT))
  await time.pass(5 * MINUTE) // the background refresh waits for its metadata
  const waiting = ask(unknown(1))
  await metadata(3, METADATA) // and the one for the unknown kid, which began later, asks for the keys before it
  await metadata(2, METADATA)
  await keys(3, setOf(KEY))
  t.same(await ask(hintOf(KEY)), ['first'])
  await keys(2, setOf(KEY, NEXT))
  t.same(await waiting, [])
  t.same(await ask(hintOf(NEXT)), [], 'a withdrawn key does not come back')
})

t.test('a discovery that fails says nothing about keys that were asked for after it began', async t => {
  const { source, time, ask, metadata, keys } = setUpSlow({ staleForMs: 0 })
  source.start()
  await metadata(1, METADATA)
  await keys(1, setOf(KEY))
  await time.pass(5 * MINUTE)
  const waiting = ask(hintOf(NEXT))
  await metadata(3, METADATA)
  await keys(2, setOf(KEY, NEXT))
  t.same(await waiting, ['next'])
  await metadata(2, DOWN)
  t.same(await ask(hintOf(NEXT)), ['next'])
  await time.pass(5 * MINUTE)
  await metadata(4, DOWN)
  t.equal(await ask(hintOf(NEXT)), 'issuer_unavailable', 'a later one does')
})

t.test('a refresh that is overtaken is followed by others', async t => {
  const slowRefresh = async (changes: { readonly refreshMs?: number; readonly cooldownMs?: number }) => {
    const all = setUp(setOf(KEY), { settings: { ...REMOTE, ...changes } })
    const { source, issuer, time, ask } = all
    await source.start()
    let answerOld: (answer: JsonObject) => void = () => {}
    issuer.answer = new Promise(resolve => {
      answerOld = resolve
    })
    await time.pass(changes.refreshMs ?? REMOTE.refreshMs)
    issuer.answer = setOf(KEY, NEXT)
    t.same(await ask(hintOf(NEXT)), ['next'], 'it is overtaken')
    const endRefresh = () => {
      answerOld(setOf(KEY))
      return settled()
    }
    return { ...all, endRefresh }
  }

  await t.test('when the next one was due before it ended', async t => {
    const { issuer, time, endRefresh } = await slowRefresh({ refreshMs: 10 * SECOND })
    await time.pass(10 * SECOND)
    t.equal(issuer.fetches, 3, 'one refresh at a time')
    await endRefresh()
    await time.pass(10 * SECOND)
    t.equal(issuer.fetches, 4)
  })

  await t.test('when the next one was due after a failure, before it ended', async t => {
    const { issuer, time, ask, endRefresh } = await slowRefresh({ cooldownMs: 5 * SECOND })
    await time.pass(5 * SECOND)
    issuer.answer = DOWN
    t.equal(await ask(unknown(1)), 'issuer_unavailable')
    await time.pass(SECOND)
    t.equal(issuer.fetches, 4, 'one refresh at a time')
    issuer.answer = setOf(KEY, NEXT)
    await endRefresh()
    await time.pass(SECOND)
    t.equal(issuer.fetches, 5)
    t.same(await ask(unknown(1)), [], 'the issuer can be asked again')
  })
})

t.test(
  'keys serve on while the issuer is down, until they are too old; then they recover by themselves',
  async t => {
    const settings = { ...REMOTE, staleForMs: 10 * MINUTE }
    const { source, issuer, time, ask, reports } = setUp(setOf(KEY), { settings })
    await source.start()
    issuer.answer = DOWN
    await time.pass(5 * MINUTE)
    t.match(reports.at(-1), /main failure ECONNREFUSED/)
    await time.pass(9 * MINUTE)
    t.same(await ask(hintOf(KEY)), ['first'])
    t.equal(source.unavailable(), null)
    await time.pass(MINUTE)
    t.equal(await ask(hintOf(KEY)), 'issuer_unavailable')
    t.equal(source.unavailable()?.code, 'issuer_unavailable')
    t.equal(source.isReady(), true, 'keys were had: other routes go on')
    issuer.answer = setOf(KEY)
    await time.pass(30 * SECOND)
    t.same(await ask(hintOf(KEY)), ['first'])
  },
)

t.test('a cold start without the issuer is not ready, refuses with 503, and recovers by itself', async t => {
  const { source, issuer, time, ask } = setUp(DOWN)
  await source.start()
  t.equal(source.isReady(), false)
  t.equal(await ask(hintOf(KEY)), 'issuer_unavailable')
  const { fetches } = issuer
  await Promise.all(Array.from({ length: 1000 }, (_, index) => ask(unknown(index))))
  t.equal(issuer.fetches, fetches, 'requests fetch nothing')
  await time.pass(10 * MINUTE)
  t.ok(issuer.fetches > 20 && issuer.fetches < 32, `${issuer.fetches} attempts in ten minutes`)
  issuer.answer = setOf(KEY)
  await time.pass(30 * SECOND)
  t.equal(source.isReady(), true)
  t.same(await ask(hintOf(KEY)), ['first'])
})

const NO_KEYS: JsonObject = { keys: [] }
const UNUSABLE: JsonObject = { keys: [{ ...KEY.jwk, y: KEY.jwk.x }] }

t.test(
  'a set without a usable key is an outage: 503 at a cold start, and it is asked again soon',
  async t => {
    for (const empty of [NO_KEYS, UNUSABLE]) {
      const { source, issuer, time, ask, reports } = setUp(empty)
      await source.start()
      t.equal(source.isReady(), false)
      t.equal(await ask(hintOf(KEY)), 'issuer_unavailable')
      t.match(reports[0], /main failure no usable key/)
      issuer.answer = setOf(KEY)
      await time.pass(2 * SECOND)
      t.equal(source.isReady(), true)
      t.same(await ask(hintOf(KEY)), ['first'])
    }
  },
)

t.test('a set without a usable key takes no key away until the keys are stale; other sets do', async t => {
  for (const empty of [NO_KEYS, UNUSABLE]) {
    const settings = { ...REMOTE, staleForMs: 10 * MINUTE }
    const { source, issuer, time, ask } = setUp(setOf(KEY), { settings })
    let changes = 0
    source.onChange(() => changes++)
    await source.start()
    issuer.answer = empty
    await time.pass(5 * MINUTE)
    t.same(await ask(hintOf(KEY)), ['first'], 'the keys of before serve on')
    t.equal(await ask(unknown(1)), 'issuer_unavailable', 'nobody can say that the key is not its own')
    t.equal(changes, 0)
    await time.pass(10 * MINUTE)
    t.equal(await ask(hintOf(KEY)), 'issuer_unavailable')
    issuer.answer = setOf(NEXT)
    await time.pass(30 * SECOND)
    t.same(await ask(hintOf(KEY)), [], 'a rotation that removes the key takes effect')
    t.same(await ask(hintOf(NEXT)), ['next'])
  }
})

t.test('a source takes over the keys of its predecessor, if it is the same issuer', async t => {
  const before = setUp(setOf(KEY))
  t.equal(before.source.handover(), null)
  await before.source.start()
  const previous = before.source.handover
  const after = setUp(DOWN, { previous })
  // It is made before it is used: what its predecessor learns meanwhile counts.
  before.issuer.answer = setOf(NEXT)
  await before.time.pass(10 * MINUTE)
  const starting = after.source.start()
  before.source.close()
  t.equal(after.source.isReady(), true)
  await starting
  t.same(await after.ask(hintOf(NEXT)), ['next'])
  t.equal(await after.ask(hintOf(KEY)), 'issuer_unavailable', 'withdrawn before it began')
  for (const other of [
    { issuer: 'https://other.example' },
    { settings: { ...REMOTE, url: `${ISSUER}/other` } },
  ]) {
    const { source } = setUp(DOWN, { previous, ...other })
    await source.start()
    t.equal(source.isReady(), false)
  }
})

t.test('against a real server: discovery, rotation, and closing while it hangs', async t => {
  const server = await createTokenIssuer({ algorithms: ['ES256'], path: '/tenant' })
  t.teardown(() => server.close())
  const reports: string[] = []
  const source = createKeySource({
    name: 'main',
    issuer: server.url,
    settings: { ...REMOTE, from: 'discovery', ca: server.caPem },
    meter: { keysRefresh: (_name, result) => reports.push(result) },
  })
  await source.start()
  t.same(reports, ['success'])
  server.rotate()
  const [key] = server.keys as [SigningKey]
  const found = await source.keysFor(hintOf(key))
  t.equal(!(found instanceof Denial) && found[0]?.kid, key.kid)
  t.equal(server.fetches, 2)
  server.failMode = 'hang'
  const began = performance.now()
  const waiting = source.start()
  source.close()
  await waiting
  t.ok(performance.now() - began < 1000, 'closing ends what is under way')
  t.match(await source.keysFor({ alg: 'ES256', kid: 'new' }), { code: 'issuer_unavailable' })
})
