import { createHash, createPublicKey, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { DENIALS, type DenialCode } from '../../src/decision/denials.js'
import {
  type Answered,
  type Ask,
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  policyText,
  startCounting,
  startPostern,
  untilAsync,
} from '../support/postern.js'
import type { RawMessage } from '../support/raw-client.js'
import {
  createTokenIssuer,
  encode,
  newSigningKey,
  type Overrides,
  type SigningKey,
  signToken,
} from '../support/token-issuer.js'

// REQUIREMENTS sections 6 (BT), 7 (AT), 16 (FD) and F1-19 to F1-22, over TLS against the real process.

const world = await createWorld()
const AUDIENCE = `https://${HOST}`
const [counting, other, turning, odd] = await Promise.all([
  startCounting(),
  createTokenIssuer({ audience: AUDIENCE }),
  createTokenIssuer({ audience: AUDIENCE, algorithms: ['ES256'] }),
  createTokenIssuer({ audience: AUDIENCE, algorithms: ['ES256'] }),
])
const issuers = { other, turning, odd }
for (const [name, { caPem }] of Object.entries(issuers)) world.write(`${name}-ca.pem`, caPem ?? '')

/** An issuer with a key server of its own. */
const separate = (name: keyof typeof issuers, cooldown: string) => `  ${name}:
    issuer: ${issuers[name].url}
    audience: [${AUDIENCE}]
    algorithms: [PS256, ES256]
    keys: { url: ${issuers[name].jwksUrl}, cooldown: ${cooldown}, ca: ${name}-ca.pem }
    flow: { preset: rfc9068 }`

/** An issuer that is the main one by its keys, with rules of its own. */
const variant = (name: string, rules: string) => `  ${name}:
    issuer: https://${name}.example
    audience: [${AUDIENCE}, client-1]
    algorithms: [PS256, ES256]
    keys: { url: ${world.issuer.jwksUrl}, cooldown: 1h, ca: issuer-ca.pem }
    ${rules}`

const api = (base: string, settings: string) => `
  - name: ${base}
    base: /${base}
    security: [mtls, oauth2]
    ${settings}
    routes:
      GET /{id}: {}`

const postern = await startPostern(
  world,
  policyText(world, {
    upstream: counting.url,
    issuer: 'maxLifetime: 15m',
    moreIssuers: [
      separate('other', '1h'),
      separate('turning', '1s'),
      separate('odd', '1s'),
      variant(
        'relaxed',
        'typ: [jwt, none]\n    claims: { scope: scp, clientId: [client_id, azp, cid] }\n    requiredClaims: []\n    flow: { preset: rfc9068 }',
      ),
      variant(
        'ruled',
        'flow:\n      - { when: { claim: gty, equals: client-credentials }, is: client_credentials }\n      - { when: { all: [{ claim: gty, exists: false }, { claim: sub, prefix: "user-" }] }, is: authorization_code }',
      ),
    ].join('\n'),
    moreUpstreams: `  discreet: { url: ${counting.url}, authorization: strip }`,
    apis: [
      api('user', 'flow: authorization_code\n    scopes: { all: [basic] }'),
      api('contact', 'flow: authorization_code\n    scopes: { all: [contact] }'),
      api('machine', 'flow: client_credentials\n    scopes: { all: [basic] }'),
      api('either', 'flow: [authorization_code, client_credentials]\n    scopes: { all: [basic] }'),
      api('noscope', 'flow: authorization_code\n    scopes: none'),
      api('discreet', 'flow: authorization_code\n    scopes: none\n    upstream: discreet'),
      api('shared', 'flow: authorization_code\n    issuer: [main, other]\n    scopes: { all: [basic] }'),
      ...['other', 'turning', 'odd', 'relaxed', 'ruled'].map(name =>
        api(name, `flow: authorization_code\n    issuer: ${name}\n    scopes: { all: [basic] }`),
      ),
      api('ruled-machine', 'flow: client_credentials\n    issuer: ruled\n    scopes: { all: [basic] }'),
      `
  - name: posts
    base: /posts
    security: [mtls, oauth2]
    flow: authorization_code
    scopes: none
    routes:
      POST /{id}: {}
  - name: loose
    base: /loose
    security: [oauth2]
    flow: authorization_code
    scopes: none
    routes:
      GET /{id}: {}
`,
    ].join(''),
  }),
)
t.teardown(async () => {
  await postern.stop()
  counting.close()
  await Promise.all([...Object.values(issuers).map(issuer => issuer.close()), world.close()])
})

const seconds = () => Math.floor(Date.now() / 1000)
const cnf = { 'x5t#S256': world.client.thumbprint }
/** Claims of a good token of the main issuer for the client of this file. */
const goodClaims = (claims: Overrides = {}): Overrides => ({
  iss: world.issuer.url,
  sub: 'user-1',
  aud: AUDIENCE,
  client_id: 'client-1',
  iat: seconds(),
  exp: seconds() + 300,
  jti: randomUUID(),
  scope: 'basic',
  cnf,
  ...claims,
})
const good = (claims: Overrides = {}, header: Overrides = {}, key?: SigningKey) =>
  world.issuer.sign(goodClaims(claims), header, key)
const [ES, PS] = world.issuer.keys as [SigningKey, SigningKey]

/** A request of the client with its certificate: with a token, or as described. */
type Request = string | Ask
const send = (request: Request, interactionId: string = randomUUID()): Promise<Answered> => {
  const options = typeof request === 'string' ? { token: request } : request
  return ask(world, postern, {
    client: world.client,
    path: '/user/1',
    ...options,
    headers: { 'x-fapi-interaction-id': interactionId, ...options.headers },
  })
}

const CHALLENGE =
  /^Bearer(?: error="(?<error>[a-z_]+)", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]+"(?:, scope="[\x20-\x21\x23-\x5b\x5d-\x7e]+")?)?(?:, DPoP algs="[A-Za-z0-9 ]+"(?:, error="[a-z_]+", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]+")?)?$/

/** Each is refused with its code, by status, challenge and log; and the API behind sees none of them. */
async function refuses(t: Test, cases: Readonly<Record<string, readonly [Request, DenialCode]>>) {
  const before = counting.requests.length
  await Promise.all(
    Object.entries(cases).map(async ([what, [request, code]]) => {
      const interactionId = randomUUID()
      const { status, headers } = await send(request, interactionId)
      const { status: expected, challenge } = DENIALS[code]
      const line = await postern.logged(line => line.interactionId === interactionId)
      t.equal(line.code, code, `${what}: ${String(line.detail)}`)
      t.equal(status, expected, what)
      // BT-05, BT-07, BT-08, AT-09
      const written = String(headers['www-authenticate'])
      t.match(written, CHALLENGE, what)
      t.equal(CHALLENGE.exec(written)?.groups?.error, challenge === 'bare' ? undefined : challenge, what)
    }),
  )
  t.equal(counting.requests.length, before, 'nothing reached the API')
}

async function allows(t: Test, cases: Readonly<Record<string, Request>>) {
  await Promise.all(
    Object.entries(cases).map(async ([what, request]) => {
      const { status, headers } = await send(request)
      t.equal(status, 200, `${what} ${headers['www-authenticate'] ?? ''}`)
    }),
  )
}

/** Signs texts that `JSON.stringify` would not write. */
function signTexts(header: string, payload: string | Buffer, { privateKey }: SigningKey = ES): string {
  const input = `${encode(header)}.${Buffer.from(payload).toString('base64url')}`
  return `${input}.${ecdsa(input, privateKey)}`
}

function ecdsa(input: string, key: KeyObject, dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363'): string {
  return sign('sha256', Buffer.from(input), { key, dsaEncoding }).toString('base64url')
}

const HEADER = JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid: ES.kid })

// BT

t.test('the scheme may be written in any case, with more than one blank', async t => {
  const authorization = (value: string) => ({ headers: { Authorization: value } })
  // BT-01, F1-02
  await allows(t, {
    Bearer: authorization(`Bearer ${good()}`),
    bearer: authorization(`bearer ${good()}`),
    BEARER: authorization(`BEARER ${good()}`),
    bEARER: authorization(`bEARER ${good()}`),
    blanks: authorization(`Bearer   ${good()}`),
  })
})

t.test('what is not one scheme and one token is a malformed request', async t => {
  const values = [
    'Bearer',
    'Bearer ',
    'Bearer a b',
    'Bearer a,b',
    'Bearer =',
    'Bearer "a"',
    `Bearer ${good()}, x`,
  ]
  // BT-01, BT-07
  await refuses(
    t,
    Object.fromEntries(
      values.map(value => [value, [{ headers: { Authorization: value } }, 'credentials_malformed']]),
    ),
  )
})

t.test('no token, or another scheme, asks for a token without naming an error', async t => {
  // BT-06, BT-09
  await refuses(t, {
    nothing: [{}, 'credentials_missing'],
    Basic: [{ headers: { Authorization: 'Basic dXNlcjpwYXNz' } }, 'credentials_missing'],
    MAC: [{ headers: { Authorization: 'MAC id="1", nonce="2", mac="3"' } }, 'credentials_missing'],
    Bearertoken: [{ headers: { Authorization: `Bearer${good()}` } }, 'credentials_missing'],
  })
})

t.test('two sets of credentials are refused, even two good ones', async t => {
  const token = good()
  const twice = (...values: string[]): Ask => ({ headers: { Authorization: values } })
  // BT-02
  await refuses(t, {
    'the same twice': [twice(`Bearer ${token}`, `Bearer ${token}`), 'credentials_multiple'],
    'Bearer and DPoP': [twice(`Bearer ${token}`, `DPoP ${token}`), 'credentials_multiple'],
    'Basic and Bearer': [twice('Basic dXNlcjpwYXNz', `Bearer ${token}`), 'credentials_multiple'],
    'header and query': [{ token, path: `/user/1?access_token=${token}` }, 'credentials_multiple'],
  })
})

t.test('a token in the query is refused however its name is spelled, and is not logged', async t => {
  const token = good()
  const queries = [
    `access_token=${token}`,
    `%61ccess_token=${token}`,
    `access%5Ftoken=${token}`,
    `a=1&access_token=${token}`,
    `a=1;access_token=${token}`,
    'access_token=',
    'access_token',
  ]
  // BT-04, F1-03, CS-13
  await refuses(
    t,
    Object.fromEntries(
      queries.flatMap((query, index) => [
        [`${index} alone`, [{ path: `/user/1?${query}` }, 'credentials_malformed']],
        [`${index} beside a header`, [{ token, path: `/user/1?${query}` }, 'credentials_multiple']],
      ]),
    ),
  )
  await allows(t, {
    'other names': { token, path: '/user/1?a=access_token&my_access_token=1&ACCESS_TOKEN=1&access_token2=x' },
  })
  t.notMatch(postern.output(), /eyJ/)
  t.notMatch(postern.output(), /access_token=/)
})

t.test('a token in a form is no credential, neither alone nor in place of a bad one', async t => {
  const form = (token: string | undefined): Ask => ({
    method: 'POST',
    path: '/posts/1',
    body: `access_token=${good()}`,
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded',
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
    },
  })
  // BT-03
  await refuses(t, {
    alone: [form(undefined), 'credentials_missing'],
    'beside an expired one': [form(good({ iat: seconds() - 600, exp: seconds() - 300 })), 'token_expired'],
  })
})

const FORM = 'application/x-www-form-urlencoded'

/** A form beside a token that is good, in so many pieces. */
async function postForm(pieces: readonly string[], headers: readonly string[]): Promise<RawMessage> {
  const connection = await connectRaw(world, postern, world.client)
  const head = [`POST /posts/1 HTTP/1.1`, `Host: ${HOST}`, `Authorization: Bearer ${good()}`, ...headers]
  connection.write(`${head.join('\r\n')}\r\n\r\n`)
  for (const piece of pieces) {
    await delay(20)
    connection.write(piece)
  }
  const answer = await connection.answer()
  connection.destroy()
  return answer
}

t.test('a token in a form beside a good one is refused, however the form is written', async t => {
  const before = counting.requests.length
  const form = (body: string, type = FORM): Ask => ({
    method: 'POST',
    path: '/posts/1',
    token: good(),
    body,
    headers: { 'Content-Type': type },
  })
  // BT-03
  await refuses(t, {
    first: [form(`access_token=${good()}&a=b`), 'credentials_multiple'],
    last: [form('a=b&access_token=x'), 'credentials_multiple'],
    'without a value': [form('access_token'), 'credentials_multiple'],
    encoded: [form('%61ccess%5Ftoken=x'), 'credentials_multiple'],
    'with a charset': [form('access_token=x', `${FORM}; charset=utf-8`), 'credentials_multiple'],
    'in another case': [form('access_token=x', FORM.toUpperCase()), 'credentials_multiple'],
  })
  for (const [charset, body] of [
    ['ibm037', '%81%83%83%85%a2%a2%6d%a3%96%92%85%95=second'],
    ['utf-16le', Buffer.from('access_token=x', 'utf16le').toString()],
    ['"UTF-7"', 'access+AF8-token=x'],
  ] as const)
    t.equal((await send(form(body, `${FORM}; charset=${charset}`))).status, 400, charset)
  t.equal((await send(form('a\0c=x'))).status, 400, 'NUL')
  const unreadable = { ...form('x'), headers: { 'Content-Type': FORM, 'Content-Encoding': 'gzip' } }
  t.equal((await send(unreadable)).status, 400, 'compressed')
  t.equal((await send(form(`a=${'x'.repeat(64 * 1024)}`))).status, 413, 'too long to look through')
  const chunked = ['3\r\na=b\r\n', '7\r\n&access\r\n', '7\r\n_token=\r\n0\r\n\r\n']
  t.equal((await postForm(chunked, [`Content-Type: ${FORM}`, 'Transfer-Encoding: chunked'])).status, 400)
  const endless = Array.from({ length: 9 }, () => `2000\r\n${'x'.repeat(8192)}\r\n`)
  t.equal((await postForm(endless, [`Content-Type: ${FORM}`, 'Transfer-Encoding: chunked'])).status, 413)
  t.equal(counting.requests.length, before, 'the API was not asked')
})

t.test('a form without a token arrives as it was sent, and what is no form is not looked into', async t => {
  const sent = async (pieces: readonly string[], headers: readonly string[]) => {
    t.equal((await postForm(pieces, headers)).status, 200)
    return counting.bodyOf(counting.requests.at(-1) as never)
  }
  const type = `Content-Type: ${FORM}`
  t.equal(await sent(['a=b&my_access', '_token=c'], [type, 'Content-Length: 21']), 'a=b&my_access_token=c')
  const long = `a=${'x'.repeat(64 * 1024 - 2)}`
  t.equal(
    await sent([long.slice(0, 40_000), long.slice(40_000)], [type, `Content-Length: ${long.length}`]),
    long,
  )
  t.equal(
    await sent(['3\r\na=b\r\n', '2\r\n&c\r\n', '0\r\n\r\n'], [type, 'Transfer-Encoding: chunked']),
    'a=b&c',
  )
  t.equal(await sent([], [type, 'Content-Length: 0']), '')
  t.equal(await sent(['0\r\n\r\n'], [type, 'Transfer-Encoding: chunked']), '')
  t.equal(
    await sent(['{"access_token":1}'], ['Content-Type: application/json', 'Content-Length: 18']),
    '{"access_token":1}',
  )
  t.equal(
    await sent(['access_token=1'], ['Content-Type: text/plain', 'Content-Length: 14']),
    'access_token=1',
  )
  const expecting = await connectRaw(world, postern, world.client)
  expecting.write(
    `POST /posts/1 HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${good()}\r\n${type}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n`,
  )
  t.equal((await expecting.answer()).status, 100)
  expecting.write('a=b')
  let last = await expecting.answer()
  while (last.status === 100) last = await expecting.answer()
  t.equal(last.status, 200)
  t.equal(counting.bodyOf(counting.requests.at(-1) as never), 'a=b')
  expecting.destroy()
})

t.test('nothing that a token says can break out of the answer or of the log line', async t => {
  const nasty = '"\r\nX-Injected: 1\r\n\r\n, error="none'
  const interactionId = randomUUID()
  const { rawHeaders, text } = await send(good({ iss: nasty, scope: nasty }), interactionId)
  // BT-08
  t.notMatch(rawHeaders.join('\n'), /injected|none/i)
  t.notMatch(text, /injected|none/i)
  const line = await postern.logged(line => line.interactionId === interactionId)
  t.equal(line.code, 'token_issuer_unknown')
})

t.test('shared caches keep no answer that a token opened, unless the API says how', async t => {
  // BT-10
  t.equal((await send(good())).headers['cache-control'], 'no-store')
  const usual = counting.respond
  counting.respond = (_, response) => response.writeHead(200, { 'Cache-Control': 'private, max-age=5' }).end()
  t.equal((await send(good())).headers['cache-control'], 'private, max-age=5')
  counting.respond = usual
})

t.test(
  'the API gets the Authorization header as it came, or not at all where the policy says strip',
  async t => {
    const token = good()
    // BT-11
    await send({ headers: { Authorization: `bEARER ${token}` } })
    t.equal(counting.requests.at(-1)?.headers.authorization, `bEARER ${token}`)
    t.equal((await send({ token, path: '/discreet/1' })).status, 200)
    t.equal(counting.requests.at(-1)?.url, '/discreet/1')
    t.equal(counting.requests.at(-1)?.headers.authorization, undefined)
  },
)

// AT

t.test(
  'only access tokens open the API: the type must say so, in any case, with or without application/',
  async t => {
    const typ = (value: unknown) => good({}, { typ: value })
    // AT-01
    await allows(t, {
      'at+jwt': typ('at+jwt'),
      'at+JWT': typ('at+JWT'),
      'application/at+jwt': typ('application/at+jwt'),
      'Application/AT+JWT': typ('Application/AT+JWT'),
    })
    const wrong = [
      'JWT',
      'jwt',
      undefined,
      '',
      'at',
      'at+jwt ',
      'text/at+jwt',
      'application/application/at+jwt',
    ]
    // AT-14: JWTs of other kinds by the same issuer
    const kinds = ['dpop+jwt', 'logout+jwt', 'secevent+jwt', 'token-introspection+jwt', 'oauth-authz-req+jwt']
    await refuses(
      t,
      Object.fromEntries(
        [...wrong, ...kinds, ...kinds.map(kind => `application/${kind}`)].map(value => [
          `typ ${JSON.stringify(value)}`,
          [typ(value), 'token_type_wrong'],
        ]),
      ),
    )
    await refuses(t, { 'typ 5': [typ(5), 'token_malformed'], 'typ null': [typ(null), 'token_malformed'] })
  },
)

t.test(
  'an issuer that writes JWT or no type is served when the policy says so; its ID tokens never are',
  async t => {
    const relaxed = (claims: Overrides, typ: unknown) => ({
      path: '/relaxed/1',
      token: good({ iss: 'https://relaxed.example', scope: undefined, scp: ['basic'], ...claims }, { typ }),
    })
    const idToken = { nonce: 'n', at_hash: 'h' }
    // AT-01, AT-10: scopes as a list, under another name
    await allows(t, { JWT: relaxed({}, 'JWT'), none: relaxed({}, undefined) })
    await refuses(t, {
      'at+jwt is not what this issuer writes': [relaxed({}, 'at+jwt'), 'token_type_wrong'],
      nonce: [relaxed({ nonce: 'n' }, 'JWT'), 'token_type_wrong'],
      at_hash: [relaxed(idToken, undefined), 'token_type_wrong'],
      c_hash: [relaxed({ c_hash: 'h' }, 'JWT'), 'token_type_wrong'],
      'for the client': [relaxed({ aud: 'client-1' }, 'JWT'), 'token_type_wrong'],
      'for the client, as a list': [relaxed({ aud: ['client-1'] }, 'JWT'), 'token_type_wrong'],
      dpop: [relaxed({}, 'dpop+jwt'), 'token_type_wrong'],
      logout: [relaxed({}, 'logout+jwt'), 'token_type_wrong'],
      'the word none': [relaxed({}, 'none'), 'token_type_wrong'],
    })
    // AT-08: another name of the client id counts; FD-04: the flow is judged after that
    await allows(t, {
      azp: relaxed({ client_id: undefined, azp: 'client-1' }, 'JWT'),
      'without jti and iat': relaxed({ jti: undefined, iat: undefined }, 'JWT'),
    })
    await refuses(t, {
      'cid is sub': [
        relaxed({ client_id: undefined, cid: 'client-9', sub: 'client-9' }, 'JWT'),
        'flow_not_allowed',
      ],
    })
  },
)

t.test('the issuer is compared to the letter', async t => {
  const { url } = world.issuer
  const variants = [
    `${url}/`,
    url.toUpperCase(),
    `${url}?`,
    ` ${url}`,
    url.replace('https', 'http'),
    '',
    5,
    [url],
    null,
    undefined,
  ]
  // AT-02
  await refuses(
    t,
    Object.fromEntries(
      variants.map(iss => [`iss ${JSON.stringify(iss)}`, [good({ iss }), 'token_issuer_unknown']]),
    ),
  )
})

t.test('the token must be meant for this server', async t => {
  // AT-03
  await allows(t, { text: good({ aud: AUDIENCE }), list: good({ aud: ['https://else.example', AUDIENCE] }) })
  const others = [
    'https://else.example',
    `${AUDIENCE}/`,
    AUDIENCE.toUpperCase(),
    `${AUDIENCE} x`,
    ['https://else.example'],
    [],
    [[AUDIENCE]],
    { [AUDIENCE]: 1 },
    true,
    null,
    undefined,
  ]
  await refuses(
    t,
    Object.fromEntries(
      others.map(aud => [`aud ${JSON.stringify(aud)}`, [good({ aud }), 'token_audience_wrong']]),
    ),
  )
})

t.test('algorithms that the policy does not name are refused, whatever the signature', async t => {
  const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }) as string
  const hs256 = (secret: string, kid: string) =>
    signToken(goodClaims(), { alg: 'HS256', typ: 'at+jwt', kid }, secret)
  const named = (alg: string) =>
    `${encode(JSON.stringify({ alg, typ: 'at+jwt', kid: ES.kid }))}.${encode(JSON.stringify(goodClaims()))}`
  // AT-04, F1-20
  await refuses(t, {
    none: [good({}, { alg: 'none' }), 'token_algorithm_not_allowed'],
    'none with a signature': [`${named('none')}.${ecdsa('x', ES.privateKey)}`, 'token_algorithm_not_allowed'],
    None: [`${named('None')}.`, 'token_algorithm_not_allowed'],
    'HS256 with the public RSA key': [hs256(pem(PS.publicKey), PS.kid), 'token_algorithm_not_allowed'],
    'HS256 with the public EC key': [hs256(pem(ES.publicKey), ES.kid), 'token_algorithm_not_allowed'],
    'RS256 by the right key': [good({}, { alg: 'RS256' }, PS), 'token_algorithm_not_allowed'],
    'PS512 by the right key': [good({}, { alg: 'PS512' }, PS), 'token_algorithm_not_allowed'],
    es256: [`${named('es256')}.${ecdsa(named('es256'), ES.privateKey)}`, 'token_algorithm_not_allowed'],
    ES256K: [`${named('ES256K')}.${ecdsa(named('ES256K'), ES.privateKey)}`, 'token_algorithm_not_allowed'],
    'the name of a method': [`${named('toString')}.AA`, 'token_algorithm_not_allowed'],
  })
  await allows(t, { ES256: good({}, {}, ES), PS256: good({}, {}, PS) })
})

t.test('a signature that is not the issuer’s own over these very bytes is refused', async t => {
  const token = good()
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const altered = encode(JSON.stringify(goodClaims({ scope: 'basic contact' })))
  const flipped = Buffer.from(signature, 'base64url')
  flipped[5] = (flipped[5] as number) ^ 1
  const p384 = newSigningKey('ES384')
  const input = `${header}.${payload}`
  // AT-04
  await refuses(t, {
    'another payload': [`${header}.${altered}.${signature}`, 'token_signature_invalid'],
    'one bit': [`${input}.${flipped.toString('base64url')}`, 'token_signature_invalid'],
    'no signature': [`${input}.`, 'token_signature_invalid'],
    'zeros (CVE-2022-21449)': [
      `${input}.${Buffer.alloc(64).toString('base64url')}`,
      'token_signature_invalid',
    ],
    'DER instead of two numbers': [
      `${input}.${ecdsa(input, ES.privateKey, 'der')}`,
      'token_signature_invalid',
    ],
    'another key with this kid': [
      good({}, { kid: ES.kid }, newSigningKey('ES256')),
      'token_signature_invalid',
    ],
    'another curve': [good({}, { alg: 'ES256', kid: ES.kid }, { ...p384 }), 'token_signature_invalid'],
    'PS256 with the kid of the EC key': [good({}, { kid: ES.kid }, PS), 'token_signature_invalid'],
    'an unknown kid': [good({}, { kid: 'unknown' }), 'token_signature_invalid'],
  })
  await allows(t, { 'no kid': good({}, { kid: undefined }) })
})

t.test('a key vouches for the tokens of its own issuer only', async t => {
  const [otherKey] = other.keys as [SigningKey]
  const otherToken = other.token({ scope: 'basic', cnf })
  const shared = (token: string): Ask => ({ path: '/shared/1', token })
  // AT-05
  await allows(t, {
    'the other issuer on its route': { path: '/other/1', token: otherToken },
    'the main issuer on the route of both': shared(good()),
    'the other issuer on the route of both': shared(otherToken),
  })
  await refuses(t, {
    'the other issuer on the route of the main one': [otherToken, 'token_issuer_unknown'],
    'the main issuer on the route of the other one': [
      { path: '/other/1', token: good() },
      'token_issuer_unknown',
    ],
    'a third one on the route of both': [
      shared(good({ iss: 'https://ruled.example' })),
      'token_issuer_unknown',
    ],
    'iss of the main one, key of the other': [good({}, {}, otherKey), 'token_signature_invalid'],
    'the same on the route of both': [shared(good({}, {}, otherKey)), 'token_signature_invalid'],
    'iss of the main one, its kid, key of the other': [
      good({}, { kid: ES.kid }, otherKey),
      'token_signature_invalid',
    ],
    'iss of the other, key of the main one': [shared(good({ iss: other.url })), 'token_signature_invalid'],
  })
})

t.test('keys that a token brings along are never used, and addresses in it never fetched', async t => {
  let visits = 0
  const attacker = newSigningKey('ES256')
  const server = createServer((_, response) => {
    visits++
    response.end(JSON.stringify({ keys: [attacker.jwk] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
  const x5c = [world.client.certificate.raw.toString('base64')]
  const lures = { jku: url, x5u: url, jwk: attacker.jwk, x5c }
  // AT-06, F1-22
  await refuses(t, {
    'the key of the attacker': [good({}, lures, attacker), 'token_signature_invalid'],
    'the same under a kid of the issuer': [
      good({}, { ...lures, kid: ES.kid }, attacker),
      'token_signature_invalid',
    ],
    'the same without kid': [good({}, { ...lures, kid: undefined }, attacker), 'token_signature_invalid'],
    crit: [good({}, { crit: ['exp'], exp: 1 }), 'token_malformed'],
    'crit with an extension': [good({}, { crit: ['b64'], b64: true }), 'token_malformed'],
    'crit, empty': [good({}, { crit: [] }), 'token_malformed'],
    'a long kid': [good({}, { kid: 'k'.repeat(257) }), 'token_malformed'],
    'a kid that is no text': [good({}, { kid: 1 }), 'token_malformed'],
  })
  await allows(t, { 'a good signature beside them': good({}, lures) })
  t.equal(visits, 0)
})

t.test(
  'a token counts from nbf and iat to exp, with the tolerance of the policy and not a second more',
  async t => {
    const now = seconds()
    // AT-07; clockSkew is 10 s
    await allows(t, {
      'expired, within the tolerance': good({ iat: now - 100, exp: now - 4 }),
      'nbf ahead, within the tolerance': good({ nbf: now + 8 }),
      'iat ahead, within the tolerance': good({ iat: now + 8 }),
      'exp with a fraction': good({ exp: now + 60.5 }),
    })
    await refuses(t, {
      'expired, beyond the tolerance': [good({ iat: now - 100, exp: now - 11 }), 'token_expired'],
      'exp 0': [good({ iat: 0, exp: 0 }), 'token_expired'],
      'exp negative': [good({ iat: -5, exp: -1 }), 'token_expired'],
      'nbf beyond the tolerance': [good({ nbf: now + 40 }), 'token_not_yet_valid'],
      'iat beyond the tolerance': [good({ iat: now + 40 }), 'token_not_yet_valid'],
      'exp in milliseconds': [good({ exp: (now + 300) * 1000 }), 'token_lifetime_too_long'],
    })
    const missing: Overrides[] = [
      { exp: String(now + 300) },
      { exp: true },
      { exp: null },
      { exp: [now + 300] },
      { nbf: String(now) },
      { iat: String(now) },
      { nbf: null },
    ]
    await refuses(
      t,
      Object.fromEntries(
        missing.map(claims => [JSON.stringify(claims), [good(claims), 'token_claim_missing']]),
      ),
    )
    const endless = JSON.stringify(goodClaims({ exp: 1 })).replace('"exp":1', '"exp":1e999')
    await refuses(t, { 'exp that is no number': [signTexts(HEADER, endless), 'token_claim_missing'] })
  },
)

t.test('a token that lives longer than the policy allows is refused from its first second', async t => {
  const now = seconds()
  // AT-07, FX-05
  await allows(t, { '900 s': good({ iat: now, exp: now + 900 }) })
  await refuses(t, {
    '901 s': [good({ iat: now, exp: now + 901 }), 'token_lifetime_too_long'],
    'an hour': [good({ iat: now - 3500, exp: now + 100 }), 'token_lifetime_too_long'],
  })
})

t.test('every claim of RFC 9068 must be there', async t => {
  // AT-08
  const codes: Record<string, DenialCode> = { iss: 'token_issuer_unknown', aud: 'token_audience_wrong' }
  const claims = ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti']
  await refuses(
    t,
    Object.fromEntries(
      claims.map(claim => [claim, [good({ [claim]: undefined }), codes[claim] ?? 'token_claim_missing']]),
    ),
  )
  await refuses(t, {
    'sub, empty': [good({ sub: '' }), 'token_claim_missing'],
    'sub, a number': [good({ sub: 5 }), 'token_claim_missing'],
    'client_id, a list': [good({ client_id: ['client-1'] }), 'token_claim_missing'],
  })
})

t.test('an encrypted token is refused, and so is all that is no plain signed JWT', async t => {
  const token = good()
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const part = (bytes: number) => randomBytes(bytes).toString('base64url')
  const jwe = encode(JSON.stringify({ alg: 'RSA-OAEP-256', enc: 'A256GCM', cty: 'at+jwt' }))
  // AT-12, AT-15
  await refuses(t, {
    'five parts': [`${jwe}.${part(256)}.${part(12)}.${part(200)}.${part(16)}`, 'token_malformed'],
    'two parts': [`${header}.${payload}`, 'token_malformed'],
    'four parts': [`${token}.${signature}`, 'token_malformed'],
    opaque: ['2YotnFZFEjr1zCsicMWpAA', 'token_malformed'],
    dots: ['..', 'token_malformed'],
    'no header': [`.${payload}.${signature}`, 'token_malformed'],
    'a list': [signTexts(HEADER, '[1]'), 'token_malformed'],
    text: [signTexts(HEADER, '"a"'), 'token_malformed'],
    null: [signTexts(HEADER, 'null'), 'token_malformed'],
    'no JSON': [signTexts(HEADER, '{'), 'token_malformed'],
    'no UTF-8': [signTexts(HEADER, Buffer.from('{"a":"\xff"}', 'latin1')), 'token_malformed'],
    'a byte order mark': [signTexts(HEADER, `\ufeff${JSON.stringify(goodClaims())}`), 'token_malformed'],
  })
})

t.test('a token has one spelling: padding, spare bits and other alphabets are refused', async t => {
  const token = good()
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const spare = (part: string) => {
    // 64 bytes end in four spare bits: the next letter of the alphabet decodes to the same bytes.
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    return part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1) as string) + 1]
  }
  t.ok(Buffer.from(spare(signature), 'base64url').equals(Buffer.from(signature, 'base64url')))
  const plain = Buffer.from(`{"a":"${'\u00ff\u00fe?>'.repeat(30)}"}`)
  t.match(plain.toString('base64'), /[+/]/)
  // AT-15
  await refuses(t, {
    'spare bits': [`${header}.${payload}.${spare(signature)}`, 'token_malformed'],
    padding: [`${token}==`, 'token_malformed'],
    'a single padding': [`${token}=`, 'token_malformed'],
    'the other alphabet': [
      `${header}.${plain.toString('base64').replaceAll('=', '')}.${signature}`,
      'token_malformed',
    ],
  })
  await allows(t, { 'as it was issued': token })
})

t.test('a claim that occurs twice is refused, because two readers might read two tokens', async t => {
  const twice = (text: string) => signTexts(HEADER, JSON.stringify(goodClaims()).replace(/^\{/, `{${text},`))
  // AT-15
  await refuses(t, {
    scope: [twice('"scope":"contact"'), 'token_malformed'],
    'another spelling of the name': [twice('"\\u0073cope":"contact"'), 'token_malformed'],
    'deep inside': [twice('"extra":{"a":[{"b":1,"b":2}]}'), 'token_malformed'],
    'in the header': [
      signTexts(HEADER.replace('{', '{"alg":"none",'), JSON.stringify(goodClaims())),
      'token_malformed',
    ],
    'deeper than any token': [twice(`"extra":${'['.repeat(40)}${']'.repeat(40)}`), 'token_malformed'],
  })
  await allows(t, { 'the same name at two levels': twice('"extra":{"scope":"contact"}') })
})

t.test('a token is at most 16 KiB', async t => {
  // AT-15
  await refuses(t, { '17 KiB': [good({ pad: 'x'.repeat(13_000) }), 'token_malformed'] })
  await allows(t, { '8 KiB': good({ pad: 'x'.repeat(6000) }) })
  const { status } = await send({ headers: { Authorization: `Bearer ${'x'.repeat(100_000)}` } })
  t.equal(status, 431)
})

t.test('a token that is not bound to a certificate, or to another one, is refused', async t => {
  const bound = (confirmation: unknown) => good({ cnf: confirmation })
  const { thumbprint } = world.client
  // F1-19, MT
  await refuses(t, {
    'no cnf': [bound(undefined), 'binding_missing'],
    'cnf is nothing': [bound({}), 'binding_mismatch'],
    'cnf is null': [bound(null), 'binding_mismatch'],
    'cnf is text': [bound(thumbprint), 'binding_mismatch'],
    'another certificate': [bound({ 'x5t#S256': world.otherClient.thumbprint }), 'binding_mismatch'],
    'another case': [bound({ 'x5t#S256': swapCase(thumbprint) }), 'binding_mismatch'],
    padding: [bound({ 'x5t#S256': `${thumbprint}=` }), 'binding_mismatch'],
    hexadecimal: [
      bound({ 'x5t#S256': Buffer.from(thumbprint, 'base64url').toString('hex') }),
      'binding_mismatch',
    ],
    'a list': [bound({ 'x5t#S256': [thumbprint] }), 'binding_mismatch'],
    'SHA-1': [
      bound({ x5t: createHash('sha1').update(world.client.certificate.raw).digest('base64url') }),
      'binding_mismatch',
    ],
    'a DPoP key as well': [bound({ ...cnf, jkt: thumbprint }), 'proof_missing'],
    'bound, without a certificate on the connection': [withoutCertificate('/loose/1'), 'binding_mismatch'],
    'bound to one, shown by the other': [{ token: good(), client: world.otherClient }, 'binding_mismatch'],
  })
  await allows(t, {
    'unbound where the policy does not ask': { ...withoutCertificate('/loose/1'), token: bound(undefined) },
  })
})

function swapCase(text: string): string {
  return text.replace(/[a-z]/gi, letter =>
    letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase(),
  )
}

function withoutCertificate(path: string): Ask {
  return { path, token: good(), client: undefined } as unknown as Ask
}

// Keys

t.test('new keys of the issuer count from the first request, and tokens of the old ones end', async t => {
  const path = '/turning/1'
  const old = turning.token({ scope: 'basic', cnf })
  await allows(t, { 'before the change': { path, token: old } })
  const { fetches } = turning
  turning.rotate()
  // AT-18: one request, no waiting
  await allows(t, { 'after the change': { path, token: turning.token({ scope: 'basic', cnf }) } })
  t.equal(turning.fetches, fetches + 1)
  await refuses(t, { 'the old token, known as it was': [{ path, token: old }, 'token_signature_invalid'] })
})

t.test('many unknown key ids are one question to the issuer', async t => {
  const path = '/other/1'
  // AT-18; the cooldown of this issuer is an hour
  const unknown = () => ({ path, token: other.token({ scope: 'basic', cnf }, { kid: randomUUID() }) })
  await send(unknown())
  const { fetches } = other
  await refuses(
    t,
    Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`kid ${index}`, [unknown(), 'token_signature_invalid']]),
    ),
  )
  t.equal(other.fetches, fetches)
  await allows(t, { 'the known key': { path, token: other.token({ scope: 'basic', cnf }) } })
})

t.test('weak and broken keys of an issuer are as if they were not there; the others serve', async t => {
  const path = '/odd/1'
  const [first] = odd.keys as [SigningKey]
  const weak = newSigningKey('PS256', 'weak', 1024)
  const encrypting = newSigningKey('ES256', 'encrypting')
  const rsa = newSigningKey('PS256', 'twin')
  const ec = newSigningKey('ES256', 'twin')
  const ecToo = newSigningKey('ES256', 'twin')
  const offCurve = {
    ...newSigningKey('ES256', 'off-curve').jwk,
    x: Buffer.alloc(32, 1).toString('base64url'),
  }
  odd.jwks = {
    keys: [
      null,
      { kty: 'EC', kid: 'half', crv: 'P-256', x: 'AA' },
      { kty: 'oct', kid: 'secret', k: encode('secret') },
      offCurve,
      weak.jwk,
      { ...encrypting.jwk, use: 'enc' },
      first.jwk,
      rsa.jwk,
      ec.jwk,
      ecToo.jwk,
    ],
  }
  const token = (key: SigningKey, header: Overrides = {}) => ({
    path,
    token: odd.token({ scope: 'basic', cnf }, header, key),
  })
  await untilAsync(
    async () => (await send(token(ec))).status === 200,
    () => 'the new keys never came',
  )
  // F1-22: one kid, several keys
  await allows(t, {
    first: token(first),
    'twin RSA': token(rsa),
    'twin EC': token(ec),
    'twin EC, second': token(ecToo),
  })
  // F1-21, AT-13
  await refuses(t, {
    '1024 bits': [token(weak), 'token_signature_invalid'],
    'a point off the curve': [token(first, { kid: 'off-curve' }), 'token_signature_invalid'],
    'half a key': [token(first, { kid: 'half' }), 'token_signature_invalid'],
    'a key for encryption': [token(encrypting), 'token_signature_invalid'],
    'the shared secret': [
      {
        path,
        token: signToken(
          goodClaims({ iss: odd.url }),
          { alg: 'HS256', typ: 'at+jwt', kid: 'secret' },
          'secret',
        ),
      },
      'token_algorithm_not_allowed',
    ],
  })
  t.equal(createPublicKey({ key: rsa.jwk, format: 'jwk' }).asymmetricKeyType, 'rsa')
})

// Facts are remembered, verdicts are not

t.test('a token that is known is judged again on every request', async t => {
  const token = good()
  const hits = async () => {
    const { text } = await postern.admin('/metrics')
    return Number(/postern_token_cache_total\{result="hit"\} (\d+)/.exec(text)?.[1] ?? 0)
  }
  await allows(t, { 'the first time': token })
  const before = await hits()
  await refuses(t, {
    'a route with another scope': [{ token, path: '/contact/1' }, 'scope_insufficient'],
    'a route with another flow': [{ token, path: '/machine/1' }, 'flow_not_allowed'],
    'another certificate': [{ token, client: world.otherClient }, 'binding_mismatch'],
    'no certificate': [{ ...withoutCertificate('/user/1'), token }, 'certificate_missing'],
    'a route of another issuer': [{ token, path: '/other/1' }, 'token_issuer_unknown'],
  })
  t.equal(await hits(), before + 3, 'it was known')
  await allows(t, { 'its own route': token })
})

t.test('a refusal is not remembered either: the same token opens the route that it is for', async t => {
  const token = good({ scope: 'contact' })
  await refuses(t, { 'the wrong route': [token, 'scope_insufficient'] })
  await allows(t, { 'the right route': { token, path: '/contact/1' } })
})

t.test('a token that is known ends when it expires', async t => {
  // The tolerance is 10 s: for some seconds more it is good.
  const token = good({ iat: seconds() - 100, exp: seconds() - 6 })
  await allows(t, { 'at first': token })
  await untilAsync(
    async () => (await send(token)).status !== 200,
    () => 'it never ended',
  )
  await refuses(t, { 'in the end': [token, 'token_expired'] })
})

// Flow

t.test('a token of one flow does not open the routes of the other', async t => {
  const user = boundToken(world, world.client, 'authorization_code', { scope: 'basic' })
  const machine = boundToken(world, world.client, 'client_credentials', { scope: 'basic' })
  // FD-03, FD-08
  await refuses(t, {
    'client credentials on a route for users': [machine, 'flow_not_allowed'],
    'a user on a route for machines': [{ path: '/machine/1', token: user }, 'flow_not_allowed'],
  })
  await allows(t, {
    'a user': user,
    'a machine': { path: '/machine/1', token: machine },
    'a user where both may': { path: '/either/1', token: user },
    'a machine where both may': { path: '/either/1', token: machine },
  })
})

t.test('a token of client credentials that shows a user is nobody’s', async t => {
  const evidence = {
    auth_time: seconds(),
    acr: '1',
    amr: ['pwd'],
    uid: 'u',
    username: 'u',
    sid: 's',
    fdxConsentId: 'c',
  }
  // FD-05
  await refuses(
    t,
    Object.fromEntries(
      Object.entries(evidence).flatMap(([claim, value]) => {
        const token = good({ sub: 'client-1', [claim]: value })
        return [
          [`${claim} for machines`, [{ path: '/machine/1', token }, 'flow_unknown']],
          [`${claim} for users`, [token, 'flow_unknown']],
          [`${claim} where both may`, [{ path: '/either/1', token }, 'flow_unknown']],
        ]
      }),
    ),
  )
})

t.test('a user who is called like another client is a user, and a client is never one', async t => {
  // FD-04, AT-11
  await allows(t, {
    'sub is some other client': good({ sub: 'client-2' }),
    'sub differs by case': good({ sub: 'CLIENT-1' }),
  })
  // FD-02: of an exchanged token sub may be another client; only what shows a user tells them apart
  await allows(t, { 'on behalf of a user': good({ act: { sub: 'client-7' }, auth_time: seconds() }) })
  await refuses(t, {
    'on behalf of somebody': [good({ act: { sub: 'client-7' } }), 'flow_unknown'],
    'on behalf of nobody': [good({ sub: 'client-1', act: { sub: 'user-1' } }), 'flow_not_allowed'],
  })
})

t.test('the rules of the policy decide the flow, and no rule means no access', async t => {
  const ruled = (claims: Overrides, path = '/ruled/1') => ({
    path,
    token: good({ iss: 'https://ruled.example', ...claims }),
  })
  const gty = 'client-credentials'
  await allows(t, {
    'a user': ruled({}),
    'a machine with the sub of a user': ruled({ gty, sub: 'user-1' }, '/ruled-machine/1'),
  })
  t.equal(
    counting.requests.find(({ url }) => url === '/ruled-machine/1')?.headers['postern-flow'],
    'client_credentials',
  )
  await refuses(t, {
    // AT-11: the sub of the victim does not make a user of it
    'a machine with the sub of a user on a route for users': [
      ruled({ gty, sub: 'user-1' }),
      'flow_not_allowed',
    ],
    // FD-01
    'another grant': [ruled({ gty: 'password' }), 'flow_unknown'],
    'no rule for this sub': [ruled({ sub: 'robot-1' }), 'flow_unknown'],
    'no rule, on a route for machines': [ruled({ sub: 'robot-1' }, '/ruled-machine/1'), 'flow_unknown'],
    'gty as a list': [ruled({ gty: [gty] }, '/ruled-machine/1'), 'flow_unknown'],
    'gty in another case': [ruled({ gty: 'CLIENT-CREDENTIALS' }, '/ruled-machine/1'), 'flow_unknown'],
  })
})

t.test('the log says which rule told the flow, and no token is in it', async t => {
  // FD-06
  const line = await postern.logged(({ code }) => code === 'flow_not_allowed')
  t.match(line.detail, /rule \d of (rfc9068|rules)/)
  t.notMatch(postern.output(), /eyJ/)
  t.notMatch(postern.output(), /[\w-]{80,}/)
})
