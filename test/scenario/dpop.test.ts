import { generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { newProofKey, type ProofKey, type ProofTarget, proofFor } from '../support/dpop.js'
import {
  type Answered,
  type Ask,
  ask,
  connectRaw,
  createWorld,
  HOST,
  policyText,
  startCounting,
  startPostern,
  untilAsync,
} from '../support/postern.js'
import { encode, newSigningKey, type Overrides, signToken } from '../support/token-issuer.js'

// RFC 9449 at a resource server, against the real process: REQUIREMENTS DP-01 to DP-32, one by one, and what the
// conformance suite does to the resource endpoint (CS-17 to CS-21).

const SECOND_HOST = 'other.bank.example'
const ALGS = 'PS256 ES256 EdDSA Ed25519'
const APIS = `
  - name: Plain
    base: /plain
    security: [oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: { all: [basic] } }
      PUT /{id}: { scopes: none }
      POST /{id}: { scopes: none }
      GET /{id}/admin: { scopes: { all: [admin] } }
      GET /{id}/bound: { scopes: none, binding: required }
      GET /{id}/old: { scopes: none, dpop: { algorithms: [ES256], maxAge: 5m, futureSkew: 60s } }
  - name: Nonces
    base: /nonces
    security: [oauth2]
    flow: client_credentials
    dpop: { nonce: required }
    routes:
      GET /{id}: { scopes: none }
      GET /{id}/short: { scopes: none, dpop: { maxAge: 2s } }
      GET /{id}/brief: { scopes: none, dpop: { nonce: none, maxAge: 4s, futureSkew: 1s } }
      GET /{id}/without: { scopes: none, dpop: { nonce: none } }
  - name: Both
    base: /both
    security: [mtls, oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: none }
`

const world = await createWorld()
const counting = await startCounting()
counting.respond = (_, response) => {
  response
    .writeHead(200, {
      'Content-Type': 'application/json',
      'DPoP-Nonce': 'upstream',
      'Cache-Control': 'max-age=60',
    })
    .end('{"ok":true}')
}
const policyWith = (profile: string) =>
  policyText(world, { upstream: counting.url, profile, apis: APIS }).replace(
    `publicUrl: https://${HOST}`,
    `publicUrl: [https://${HOST}, https://${SECOND_HOST}]`,
  )
const postern = await startPostern(world, policyWith('fapi2'))
t.teardown(async () => {
  await postern.stop()
  counting.close()
  await world.close()
})

const client = newProofKey()
const tokenOf = (cnf: unknown, claims: Overrides = {}) =>
  world.issuer.token({ sub: 'client-1', scope: 'basic', cnf, ...claims })
const tokenFor = ({ jkt }: ProofKey, claims: Overrides = {}) => tokenOf({ jkt }, claims)
const TOKEN = tokenFor(client)
const URL_OF = (path: string) => `https://${HOST}${path}`
const now = () => Math.floor(Date.now() / 1000)

interface Call extends Ask {
  readonly key?: ProofKey
  readonly claims?: Overrides
  readonly header?: Overrides
  readonly target?: Partial<ProofTarget>
  readonly scheme?: string
  /** The DPoP header as it is sent; null: none. */
  readonly dpop?: string | readonly string[] | null
}

/** A request with a good proof, but for what is said. */
function call(options: Call = {}, to: { readonly port: number } = postern): Promise<Answered> {
  const { key = client, token = TOKEN, path = '/plain/1', method = 'GET', scheme = 'DPoP', ...rest } = options
  const proof =
    rest.dpop === undefined
      ? proofFor(key, { htu: URL_OF(path), htm: method, token, ...rest.target }, rest.claims, rest.header)
      : rest.dpop
  return ask(world, to, {
    ...(rest.client === undefined ? {} : { client: rest.client }),
    ...(rest.body === undefined ? {} : { body: rest.body }),
    path,
    method,
    headers: {
      Authorization: `${scheme} ${token}`,
      ...(proof === null ? {} : { DPoP: proof }),
      ...rest.headers,
    },
  })
}

const linesOf = ({ rawHeaders }: Answered, name: string) =>
  rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)
const challenges = (answered: Answered) => linesOf(answered, 'www-authenticate')

/** What the log must say of which interaction; it is written in blocks, so it is looked at once, at the end. */
const expectedInLog: { readonly id: unknown; readonly code: string; readonly words: string }[] = []

/** Refused with 401, one challenge with this error, and this code in the log. */
function refused(test: Test, answered: Answered, code: string, error: string, words: string = code) {
  test.equal(answered.status, 401, words)
  const [challenge = '', ...more] = challenges(answered)
  const expected = new RegExp(`^DPoP algs="[A-Za-z0-9 ]+", error="${error}", error_description="[^"]+"$`)
  test.match(challenge, expected, words)
  test.strictSame(more, [], words)
  test.strictSame(linesOf(answered, 'cache-control'), ['no-store'])
  test.equal(answered.json().code, '603')
  expectedInLog.push({ id: answered.headers['x-fapi-interaction-id'], code, words })
}

const invalid = (test: Test, answered: Answered, words?: string) =>
  refused(test, answered, 'proof_invalid', 'invalid_dpop_proof', words)

t.test('DP-01 the scheme DPoP and the DPoP header, in any case of their names (CS-16, CS-18)', async t => {
  for (const scheme of ['DPoP', 'dpop', 'dpOp', 'DPOP']) t.equal((await call({ scheme })).status, 200, scheme)
  for (const name of ['DPOP', 'dpop']) {
    const headers = { [name]: proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN }) }
    t.equal((await call({ dpop: null, headers })).status, 200, name)
  }
})

t.test('DP-02 the scheme DPoP without a proof is refused', async t => {
  const before = counting.requests.length
  refused(t, await call({ dpop: null }), 'proof_missing', 'invalid_token')
  t.equal(counting.requests.length, before)
})

t.test('DP-03 exactly one DPoP header field', async t => {
  const proofs = [1, 2].map(() => proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN }))
  invalid(t, await call({ dpop: proofs }), 'two lines')
  invalid(t, await call({ dpop: proofs.join(', ') }), 'comma and space')
  invalid(t, await call({ dpop: proofs.join(',') }), 'comma')
  invalid(t, await call({ dpop: [proofs[0] as string, ''] }), 'an empty second line')
})

t.test('DP-04 one well-formed compact JWS of at most 8 KiB', async t => {
  const good = proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN })
  const [header, payload, signature] = good.split('.') as [string, string, string]
  const bad: Record<string, string> = {
    garbage: 'garbage',
    empty: '',
    'two parts': `${header}.${payload}`,
    'four parts': `${good}.AA`,
    'five parts': `${good}.AA.AA`,
    padding: `${header}=.${payload}.${signature}`,
    'a space': `${header} .${payload}.${signature}`,
    'header no JSON': `${encode('{')}.${payload}.${signature}`,
    'header an array': `${encode('[]')}.${payload}.${signature}`,
    'payload a string': `${header}.${encode('"x"')}.${signature}`,
    'JSON serialisation': JSON.stringify({ protected: header, payload, signature }),
  }
  for (const [words, dpop] of Object.entries(bad)) invalid(t, await call({ dpop }), words)
  invalid(t, await call({ claims: { pad: 'x'.repeat(8192) } }), 'too long')
  invalid(t, await call({ header: { crit: ['exp'], exp: 1 } }), 'crit')
  t.equal((await call({ claims: { pad: 'x'.repeat(4000) } })).status, 200)
})

t.test('DP-05 every member of header and payload that must be there, of its type', async t => {
  for (const name of ['typ', 'jwk'])
    for (const value of [undefined, null, 7])
      invalid(t, await call({ header: { [name]: value } }), `${name} ${value}`)
  for (const name of ['jti', 'htm', 'htu', 'iat', 'ath'])
    for (const value of [undefined, null, {}, ['x'], name === 'iat' ? String(now()) : 7])
      invalid(t, await call({ claims: { [name]: value } }), `${name} ${JSON.stringify(value)}`)
  const input = `${encode(JSON.stringify({ typ: 'dpop+jwt', jwk: client.jwk }))}.${encode('{}')}`
  const key = { key: client.key.privateKey, dsaEncoding: 'ieee-p1363' } as const
  const signature = sign('sha256', Buffer.from(input), key).toString('base64url')
  invalid(t, await call({ dpop: `${input}.${signature}` }), 'no alg')
})

t.test('DP-06 typ is dpop+jwt to the letter', async t => {
  for (const typ of ['JWT', 'at+jwt', 'application/dpop+jwt', 'DPoP+JWT', 'dpop+jwt ', 'dpop'])
    invalid(t, await call({ header: { typ } }), typ)
})

t.test('DP-07 asymmetric algorithms that are allowed, and no others', async t => {
  for (const alg of ['ES256', 'PS256', 'EdDSA', 'Ed25519'] as const) {
    const key = newProofKey(alg)
    t.equal((await call({ key, token: tokenFor(key) })).status, 200, alg)
  }
  for (const alg of ['RS256', 'PS384', 'ES384', 'ES512'] as const) {
    const key = newProofKey(alg)
    invalid(t, await call({ key, token: tokenFor(key) }), alg)
  }
  const claims = { jti: randomUUID(), htm: 'GET', htu: URL_OF('/plain/1'), iat: now(), ath: 'x' }
  for (const alg of ['none', 'HS256'])
    invalid(
      t,
      await call({ dpop: signToken(claims, { typ: 'dpop+jwt', alg, jwk: client.jwk }, 'secret') }),
      alg,
    )
  for (const alg of ['ES256K', '', 'es256']) {
    const header = encode(JSON.stringify({ typ: 'dpop+jwt', alg, jwk: client.jwk }))
    invalid(t, await call({ dpop: `${header}.${encode(JSON.stringify(claims))}.AAAA` }), alg)
  }
  const key = newProofKey('PS256')
  const answered = await call({ key, token: tokenFor(key), path: '/plain/1/old' })
  t.equal(answered.status, 401, 'the route allows ES256 alone')
  t.match(challenges(answered), [/^DPoP algs="ES256", /])
})

t.test('DP-08 the signature is that of the embedded key, whose size and kind suffice', async t => {
  const good = proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN })
  const end = good.lastIndexOf('.')
  const bytes = Buffer.from(good.slice(end + 1), 'base64url')
  for (const at of [0, 31, 32, 63]) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (flipped[at] as number) ^ 1
    invalid(
      t,
      await call({ dpop: `${good.slice(0, end)}.${flipped.toString('base64url')}` }),
      `a bit of byte ${at}`,
    )
  }
  invalid(t, await call({ header: { jwk: newProofKey().jwk } }), 'the key of somebody else')
  invalid(t, await call({ header: { jwk: newProofKey('PS256').jwk } }), 'a key of another kind')
  const weak = newProofKey('PS256', 1024)
  invalid(t, await call({ key: weak, token: tokenFor(weak) }), 'RSA with 1024 bits (F2-10)')
  const { kty, crv, x } = client.jwk
  invalid(t, await call({ header: { jwk: { kty, crv, x, y: x } } }), 'a point off the curve')
})

t.test('DP-09 a private or symmetric key is no public key', async t => {
  const privateJwk = client.key.privateKey.export({ format: 'jwk' })
  invalid(t, await call({ header: { jwk: privateJwk } }), 'private')
  const rsa = newProofKey('PS256')
  for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
    const jwk = { ...rsa.jwk, [member]: 'AA' }
    invalid(t, await call({ key: rsa, token: tokenFor(rsa), header: { jwk } }), member)
  }
  invalid(t, await call({ header: { jwk: { kty: 'oct', k: 'AA' } } }), 'oct')
})

t.test('DP-10 htm is the method to the letter', async t => {
  for (const htm of ['PUT', 'get', 'Get', '', 'GET ']) invalid(t, await call({ target: { htm } }), htm)
  t.equal((await call({ method: 'PUT', body: '{}' })).status, 200)
})

t.test('DP-11 htu is the target, compared as RFC 3986 says, without query and fragment', async t => {
  const path = '/plain/a%C3%A9~b'
  for (const htu of [
    URL_OF(path),
    `HTTPS://${HOST.toUpperCase()}${path}`,
    `https://${HOST}:443${path}`,
    `https://${HOST}:${path}`,
    `${URL_OF(path)}?q=1`,
    `${URL_OF(path)}#f`,
    `${URL_OF(path)}?q#f`,
    URL_OF('/plain/%61%c3%a9%7Eb'),
    URL_OF('/x/../plain/./a%C3%A9~b'),
  ])
    t.equal((await call({ path, target: { htu } })).status, 200, htu)
  const withQuery = await call({ path: `${path}?q=1&r=2`, target: { htu: URL_OF(path) } })
  t.equal(withQuery.status, 200, 'the query of the request does not count')
  for (const htu of [
    URL_OF('/plain/2'),
    URL_OF('/plain/A%C3%A9~b'),
    URL_OF(`${path}/`),
    URL_OF('/plain/a%C3%A9~b%2F'),
    `http://${HOST}${path}`,
    `https://${HOST}:444${path}`,
    `https://evil.example${path}`,
    `https://user@${HOST}${path}`,
    `https://${HOST}\\${path}`,
    `https://${HOST}`,
    path,
    `//${HOST}${path}`,
    `https:${path}`,
    ` ${URL_OF(path)}`,
    '',
  ])
    invalid(t, await call({ path, target: { htu } }), htu)
})

t.test('DP-12 the target is that of server.publicUrl; no header of the request has a say', async t => {
  t.equal((await call({ headers: { Host: SECOND_HOST } })).status, 200)
  t.equal((await call({ target: { htu: `https://${SECOND_HOST}/plain/1` } })).status, 200)
  const htu = 'https://evil.example/plain/1'
  t.equal((await call({ target: { htu }, headers: { Host: 'evil.example' } })).status, 400, 'host_unknown')
  const headers = {
    'X-Forwarded-Host': 'evil.example',
    'X-Forwarded-Proto': 'https',
    Forwarded: 'host=evil.example;proto=https',
  }
  invalid(t, await call({ target: { htu }, headers }))
})

t.test('DP-13 iat: 10 s ago and 8 s ahead pass, an hour does not (CS-20)', async t => {
  for (const offset of [-55, -10, 0, 8, 13])
    t.equal((await call({ claims: { iat: now() + offset } })).status, 200, `${offset} s`)
  for (const offset of [-3600, -65, 20, 3600])
    invalid(t, await call({ claims: { iat: now() + offset } }), `${offset} s`)
  const path = '/plain/1/old'
  for (const offset of [-290, 55])
    t.equal((await call({ path, claims: { iat: now() + offset } })).status, 200, `${offset} s, as set`)
  for (const offset of [-310, 70])
    invalid(t, await call({ path, claims: { iat: now() + offset } }), `${offset} s, as set`)
})

t.test('DP-14 nbf and exp count when they are there, unknown members do not (CS-19)', async t => {
  const claims = { nbf: now(), exp: now() + 300, other: { a: [1] }, iss: 'me' }
  t.equal((await call({ claims, header: { kid: 'k', other: 1, 'x5t#S256': 'x' } })).status, 200)
  t.equal((await call({ claims: { nbf: now() + 8 } })).status, 200)
  for (const wrong of [{ nbf: now() + 3600 }, { exp: now() - 3600 }, { nbf: '0' }, { exp: '9999999999' }])
    invalid(t, await call({ claims: wrong }), JSON.stringify(wrong))
})

t.test('DP-15 a proof is good once, whatever comes between, reloads included', async t => {
  const replayed = async (options: Call, words: string) =>
    refused(t, await call(options), 'proof_replayed', 'invalid_dpop_proof', words)
  const dpop = proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN })
  t.equal((await call({ dpop })).status, 200)
  await replayed({ dpop }, 'again')
  await replayed({ dpop, path: '/plain/1?other=query' }, 'another query')
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  await replayed({ dpop }, 'after a reload')
  world.write('policies.yaml', `${policyWith('fapi2')}\n# changed\n`)
  await postern.logged(line => line.msg === 'reloaded' && line.changed === true)
  await replayed({ dpop }, 'after a reload of another policy')
  const jti = randomUUID()
  t.equal((await call({ claims: { jti } })).status, 200)
  await replayed({ claims: { jti } }, 'the jti counts, not the bytes')
  const htu = `https://${HOST.toUpperCase()}:443/plain/1?x`
  await replayed({ claims: { jti }, target: { htu } }, 'another spelling of the URL')
  t.equal((await call({ claims: { jti }, path: '/plain/2' })).status, 200, 'another URL')
  const other = newProofKey()
  t.equal((await call({ claims: { jti }, key: other, token: tokenFor(other) })).status, 200, 'another key')
})

t.test(
  'DP-15 a proof is used up before its request has arrived: a slow form does not keep it young',
  async t => {
    const dpop = proofFor(client, { htu: URL_OF('/plain/1'), htm: 'POST', token: TOKEN })
    const head = [
      ...['POST /plain/1 HTTP/1.1', `Host: ${HOST}`, `Authorization: DPoP ${TOKEN}`, `DPoP: ${dpop}`],
      ...['Content-Type: application/x-www-form-urlencoded', 'Content-Length: 3', '', 'a='],
    ]
    const slow = await connectRaw(world, postern)
    slow.write(head.join('\r\n'))
    await untilAsync(
      async () => (await call({ dpop, method: 'POST', headers: { 'Content-Length': '0' } })).status === 401,
      () => 'the proof of a form that is still arriving is good for another request',
    )
    slow.write('b')
    t.equal((await slow.answer()).status, 200)
    slow.destroy()
  },
)

t.test('DP-15 of many requests with one proof at the same time, one passes', async t => {
  const dpop = proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN })
  const before = counting.requests.length
  const answers = await Promise.all(Array.from({ length: 20 }, () => call({ dpop })))
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  t.equal(answers.filter(({ status }) => status === 401).length, 19)
  t.equal(counting.requests.length, before + 1)
})

t.test('DP-16 a jti of at most 256 characters', async t => {
  t.equal((await call({ claims: { jti: `${randomUUID()}${'x'.repeat(220)}` } })).status, 200)
  for (const length of [0, 257, 10 * 1024])
    invalid(t, await call({ claims: { jti: 'x'.repeat(length) } }), `${length}`)
})

t.test('DP-17 ath is the hash of this token', async t => {
  invalid(t, await call({ target: { token: tokenFor(client, { jti: 'other' }) } }), 'another token')
  for (const ath of ['', 'x'.repeat(43), `${'x'.repeat(43)}=`])
    invalid(t, await call({ claims: { ath } }), ath)
})

t.test('DP-18 the key of the proof is the one that the token is bound to', async t => {
  refused(t, await call({ key: newProofKey() }), 'binding_mismatch', 'invalid_token')
  for (const jkt of ['', `${client.jkt}=`, client.jkt.slice(1), 7, [client.jkt]])
    refused(t, await call({ token: tokenOf({ jkt }) }), 'binding_mismatch', 'invalid_token', `${jkt}`)
})

t.test('DP-19 the scheme DPoP with a token that is bound to no DPoP key', async t => {
  refused(t, await call({ token: tokenOf(undefined) }), 'binding_missing', 'invalid_token')
  const token = tokenOf({ 'x5t#S256': world.client.thumbprint })
  refused(t, await call({ token, client: world.client }), 'binding_missing', 'invalid_token')
})

t.test(
  'DP-20 a DPoP-bound token is refused with the scheme Bearer, with a proof as well (ForceBearer)',
  async t => {
    for (const proof of [{ dpop: null }, {}]) {
      const answered = await call({ scheme: 'Bearer', ...proof })
      t.equal(answered.status, 401)
      t.strictSame(challenges(answered), [
        'Bearer error="invalid_token", error_description="The access token needs a proof of possession"',
        `DPoP algs="${ALGS}"`,
      ])
    }
    const unbound = await call({ scheme: 'Bearer', token: tokenOf(undefined), dpop: 'nonsense' })
    t.equal(unbound.status, 200, 'with the scheme Bearer nobody reads the DPoP header')
  },
)

t.test('DP-21 challenges have the scheme, the algorithms, the error and the scope', async t => {
  const answered = await call({ path: '/plain/1/admin' })
  t.equal(answered.status, 403)
  t.strictSame(challenges(answered), [
    `DPoP algs="${ALGS}", error="insufficient_scope", error_description="The access token lacks a required scope", scope="admin"`,
  ])
  const expired = tokenFor(client, { exp: now() - 60 })
  refused(t, await call({ token: expired }), 'token_expired', 'invalid_token')
  refused(t, await call({ token: 'x.y.z' }), 'token_malformed', 'invalid_token')
})

t.test(
  'DP-22 who tried nothing hears of both without error, who tried one of its error, who tried both of both',
  async t => {
    const none = await ask(world, postern, { path: '/plain/1' })
    t.equal(none.status, 401)
    t.strictSame(challenges(none), ['Bearer', `DPoP algs="${ALGS}"`])
    const bearer = await ask(world, postern, { path: '/plain/1', token: 'x.y.z' })
    t.strictSame(challenges(bearer), [
      'Bearer error="invalid_token", error_description="The access token is not valid"',
      `DPoP algs="${ALGS}"`,
    ])
    const both = await ask(world, postern, {
      path: '/plain/1',
      headers: { Authorization: [`Bearer ${TOKEN}`, `DPoP ${TOKEN}`] },
    })
    t.equal(both.status, 400)
    const error = 'error="invalid_request", error_description="More than one set of credentials"'
    t.strictSame(challenges(both), [`Bearer ${error}`, `DPoP algs="${ALGS}", ${error}`])
    const malformed = await call({ token: `${TOKEN} x` })
    t.equal(malformed.status, 400)
    t.match(challenges(malformed), [/^DPoP algs="[^"]+", error="invalid_request"/])
    t.strictSame(challenges(await ask(world, postern, { path: '/nowhere' })), [])
  },
)

t.test('DP-23, DP-26 a route with nonces asks for one and names a fresh one (CS-21)', async t => {
  const path = '/nonces/1'
  const asked = await call({ path })
  refused(t, asked, 'proof_nonce_required', 'use_dpop_nonce')
  const [nonce = '', ...more] = linesOf(asked, 'dpop-nonce')
  t.strictSame(more, [])
  t.match(nonce, /^[\x21\x23-\x5b\x5d-\x7e]+$/, 'NQCHAR')
  const first = await call({ path, claims: { nonce } })
  t.equal(first.status, 200)
  t.equal((await call({ path, claims: { nonce } })).status, 200, 'the same nonce with a new jti')
  refused(t, await call({ path }), 'proof_nonce_required', 'use_dpop_nonce', 'downgrade')
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.equal((await call({ path, claims: { nonce } })).status, 200, 'after a reload')
  t.equal((await call({ path: '/nonces/1/without' })).status, 200)
  t.equal((await call({ claims: { nonce: 'of somebody else' } })).status, 200, 'a route without nonces')
})

t.test('DP-24 a nonce that is not ours is refused, with a fresh one', async t => {
  const path = '/nonces/1'
  const [nonce = ''] = linesOf(await call({ path }), 'dpop-nonce')
  const forged = Buffer.from(nonce, 'base64url')
  forged.writeUIntBE(forged.readUIntBE(0, 6) + 60_000, 0, 6)
  for (const wrong of [
    '',
    'x',
    'x'.repeat(30),
    forged.toString('base64url'),
    `${nonce}=`,
    7,
    null,
    [nonce],
  ]) {
    const answered = await call({ path, claims: { nonce: wrong } })
    refused(t, answered, 'proof_nonce_required', 'use_dpop_nonce', JSON.stringify(wrong))
    t.equal(linesOf(answered, 'dpop-nonce').length, 1)
  }
})

t.test('DP-13 with a nonce the clock of the client does not matter', async t => {
  const path = '/nonces/1'
  const [nonce = ''] = linesOf(await call({ path }), 'dpop-nonce')
  for (const offset of [-3600, 3600])
    t.equal((await call({ path, claims: { nonce, iat: now() + offset } })).status, 200, `${offset} s`)
  invalid(t, await call({ path, claims: { nonce, iat: 'x' } }), 'iat is still a number')
  invalid(t, await call({ path, claims: { nonce, exp: now() - 3600 } }), 'exp still counts')
})

t.test(
  'DP-25 the next nonce comes before the old one is stale, with an answer that no cache keeps',
  async t => {
    const path = '/nonces/1/short'
    const [nonce = ''] = linesOf(await call({ path }), 'dpop-nonce')
    const renewed = new Set<string>()
    const deadline = Date.now() + 15_000
    let last = await call({ path, claims: { nonce } })
    while (last.status === 200 && Date.now() < deadline) {
      const nonces = linesOf(last, 'dpop-nonce')
      t.ok(nonces.length <= 1)
      t.strictSame(linesOf(last, 'cache-control'), [nonces.length === 0 ? 'max-age=60' : 'no-store'])
      for (const next of nonces) renewed.add(next)
      await new Promise(resolve => setTimeout(resolve, 100))
      last = await call({ path, claims: { nonce } })
    }
    t.ok(renewed.size > 0)
    t.notOk(renewed.has(nonce))
    refused(t, last, 'proof_nonce_required', 'use_dpop_nonce', 'stale')
    const [fresh = ''] = linesOf(last, 'dpop-nonce')
    t.equal((await call({ path, claims: { nonce: fresh } })).status, 200)
  },
)

t.test('DP-27 Proxy-Authorization is no credential', async t => {
  const DPoP = proofFor(client, { htu: URL_OF('/plain/1'), token: TOKEN })
  const headers = { 'Proxy-Authorization': `DPoP ${TOKEN}`, DPoP }
  const answered = await ask(world, postern, { path: '/plain/1', headers })
  t.equal(answered.status, 401)
  t.strictSame(challenges(answered), ['Bearer', `DPoP algs="${ALGS}"`])
  t.strictSame(linesOf(answered, 'proxy-authenticate'), [])
})

t.test('DP-28 without CORS nothing is exposed to other origins', async t => {
  const answered = await call({ path: '/nonces/1', headers: { Origin: 'https://app.example' } })
  t.strictSame(linesOf(answered, 'access-control-expose-headers'), [])
})

t.test('DP-29 a proof says nothing of the body (RFC 9449 section 11.7)', async t => {
  t.equal((await call({ method: 'PUT', body: 'anything' })).status, 200)
})

t.test('DP-30 the upstream sees no proof, and its nonce reaches no client', async t => {
  const answered = await call()
  t.equal(answered.status, 200)
  t.strictSame(linesOf(answered, 'dpop-nonce'), [])
  const seen = counting.requests.at(-1)
  t.equal(seen?.headers.dpop, undefined)
  t.equal(seen?.headers.authorization, `DPoP ${TOKEN}`)
  t.equal((await call({ scheme: 'Bearer', token: tokenOf(undefined) })).status, 200)
  t.equal(counting.requests.at(-1)?.headers.dpop, undefined, 'with the scheme Bearer')
})

t.test('DP-32 a proof that is refused for a nonce, or for any other reason, is not used up', async t => {
  const path = '/nonces/1'
  const jti = randomUUID()
  const [nonce = ''] = linesOf(await call({ path, claims: { jti } }), 'dpop-nonce')
  invalid(t, await call({ path, claims: { jti, nonce }, target: { htm: 'PUT' } }))
  t.equal((await call({ path, claims: { jti, nonce } })).status, 200)
  const again = await call({ path, claims: { jti, nonce } })
  refused(t, again, 'proof_replayed', 'invalid_dpop_proof')
  const dpop = proofFor(client, { htu: URL_OF('/plain/1/admin'), token: TOKEN })
  for (const _ of [1, 2]) t.equal((await call({ path: '/plain/1/admin', dpop })).status, 403)
})

t.test(
  'MT-07 a token with both bindings needs both, and a route with mTLS the certificate in any case',
  async t => {
    const token = tokenOf({ jkt: client.jkt, 'x5t#S256': world.client.thumbprint })
    const path = '/both/1'
    const mismatch = async (options: Call, words: string) =>
      refused(t, await call({ token, ...options }), 'binding_mismatch', 'invalid_token', words)
    t.equal((await call({ path, token, client: world.client })).status, 200)
    await mismatch({ path, client: world.otherClient }, 'another certificate')
    await mismatch({ path, client: world.client, key: newProofKey() }, 'another key')
    await mismatch({}, 'no certificate, on a route that asks for none')
    const bearer = await call({ path, token, client: world.client, scheme: 'Bearer' })
    t.equal(bearer.status, 401)
    t.match(challenges(bearer), [/^Bearer error="invalid_token"/, /^DPoP algs="[^"]+"$/])
    t.equal((await call({ path, client: world.client })).status, 200, 'jkt only, with a certificate')
    refused(t, await call({ path }), 'certificate_missing', 'invalid_token')
  },
)

t.test('F2-08 binding: required is satisfied by a DPoP key', async t => {
  const path = '/plain/1/bound'
  t.equal((await call({ path })).status, 200)
  const unbound = await ask(world, postern, { path, token: tokenOf(undefined) })
  t.equal(unbound.status, 401)
  t.match(challenges(unbound), [/^Bearer error="invalid_token"/, `DPoP algs="${ALGS}"`])
})

t.test('F1-19 on mTLS routes in profile fapi1-advanced only the certificate binds', async t => {
  const write = (_: string, text: string) => world.write('fapi1.yaml', text)
  const profiled = await startPostern({ write }, policyWith('fapi1-advanced'))
  t.teardown(() => profiled.stop())
  const path = '/both/1'
  const jktOnly = await call({ path, client: world.client }, profiled)
  t.equal(jktOnly.status, 401)
  const id = jktOnly.headers['x-fapi-interaction-id']
  t.match(await profiled.logged(line => line.interactionId === id), { code: 'binding_missing' })
  const none = await ask(world, profiled, { path, client: world.client })
  t.strictSame(challenges(none), ['Bearer'])
  const token = tokenOf({ jkt: client.jkt, 'x5t#S256': world.client.thumbprint })
  t.equal((await call({ path, token, client: world.client }, profiled)).status, 200, 'both bindings')
  t.equal((await call({}, profiled)).status, 200, 'a route without mTLS')
})

t.test('a full memory of used proofs is an outage, and forgets none of them', async t => {
  const write = (_: string, text: string) => world.write('small.yaml', text)
  const policy = policyWith('fapi2').replace('limits: {', 'limits: { proofs: 2,')
  const small = await startPostern({ write }, policy)
  t.teardown(() => small.stop())
  const path = '/nonces/1/brief'
  const dpop = proofFor(client, { htu: URL_OF(path), token: TOKEN })
  t.equal((await call({ path, dpop }, small)).status, 200)
  t.equal((await call({ path }, small)).status, 200)
  const full = await call({ path }, small)
  t.equal(full.status, 503)
  t.strictSame(challenges(full), [])
  const id = full.headers['x-fapi-interaction-id']
  t.match(await small.logged(line => line.interactionId === id), {
    code: 'store_unavailable',
    outcome: 'failed',
  })
  const replayed = await call({ path, dpop }, small)
  const replayedId = replayed.headers['x-fapi-interaction-id']
  t.equal(replayed.status, 401)
  t.match(await small.logged(line => line.interactionId === replayedId), { code: 'proof_replayed' })
  t.equal((await call({ path, scheme: 'Bearer', token: tokenOf(undefined) }, small)).status, 200)
  await untilAsync(
    async () => (await call({ path }, small)).status === 200,
    () => 'the memory never had room again',
    20_000,
  )
})

t.test('a proof as jose makes it', async t => {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = await exportJWK(publicKey)
  const token = tokenOf({ jkt: await calculateJwkThumbprint(jwk) })
  const digest = await crypto.subtle.digest('SHA-256', Buffer.from(token))
  const ath = Buffer.from(digest).toString('base64url')
  const dpop = await new SignJWT({ htm: 'GET', htu: URL_OF('/plain/1'), ath })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
    .setIssuedAt()
    .setJti(randomUUID())
    .sign(privateKey)
  t.equal((await call({ token, dpop })).status, 200)
})

t.test('keys that a client made up are refused like any other, and never a fault', async t => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 4096 }).publicKey.export({ format: 'jwk' })
  const zeros = Buffer.alloc(32).toString('base64url')
  const strange: Record<string, unknown> = {
    'RSA with a long exponent': { ...rsa, e: Buffer.alloc(200, 255).toString('base64url') },
    'RSA with exponent 1': { ...rsa, e: 'AQ' },
    'RSA with an even modulus': { ...rsa, n: Buffer.alloc(256, 254).toString('base64url') },
    'RSA with exponent 3': { ...rsa, e: 'Aw' },
    'Ed25519 of zeros': { kty: 'OKP', crv: 'Ed25519', x: zeros },
    'Ed25519 off the curve': { kty: 'OKP', crv: 'Ed25519', x: Buffer.alloc(32, 255).toString('base64url') },
    'Ed25519 too short': { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' },
    'EC at infinity': { kty: 'EC', crv: 'P-256', x: zeros, y: zeros },
    X25519: generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' }),
    Ed448: generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' }),
    secp256k1: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' }),
    'a number': 1,
    'an array': [rsa],
    null: null,
  }
  const claims = { jti: randomUUID(), htm: 'GET', htu: URL_OF('/plain/1'), iat: now(), ath: 'x' }
  for (const alg of ['ES256', 'PS256', 'EdDSA'] as const) {
    const { privateKey } = newSigningKey(alg)
    for (const [words, jwk] of Object.entries(strange)) {
      const dpop = signToken(claims, { typ: 'dpop+jwt', alg, jwk }, privateKey)
      invalid(t, await call({ dpop }), `${words}, ${alg}`)
    }
  }
})

t.test('DP-31 after all that a valid proof works', async t => {
  const last = await call()
  t.equal(last.status, 200)
  await postern.logged(line => line.interactionId === last.headers['x-fapi-interaction-id'])
  const lines = new Map(postern.log().map(line => [line.interactionId, line]))
  for (const { id, code, words } of expectedInLog)
    t.match(lines.get(id), { code, status: 401, outcome: 'denied' }, words)
  t.ok(expectedInLog.length > 150)
  t.strictSame(
    postern.log().filter(line => line.msg === 'fault' || Number(line.status) >= 500),
    [],
  )
  t.notMatch(postern.output(), /eyJ/, 'no proof and no token is in what the process wrote')
})
