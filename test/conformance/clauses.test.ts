import { createHash, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { newProofKey } from '../support/dpop.js'
import { connectRaw, HOST, untilAsync } from '../support/postern.js'
import { newSigningKey, type SigningKey } from '../support/token-issuer.js'
import { startResourceServer, valuesOf } from './resource-server.js'

// Clauses that no module of the suite asks for, and no other test holds.

const server = await startResourceServer('fapi2')
t.teardown(server.close)
const { client1, resource, upstream, world } = server
const { dpop, mtls } = resource

t.test('F1-05, F2-07, SC-02: a token without the scope gets 403, and hears which it needs', async t => {
  const before = upstream.requests.length
  for (const target of [dpop, mtls]) {
    const token = server.tokenFor(target, client1, { scope: 'other' })
    const answered = await server.call(target, { token })
    t.equal(answered.status, 403)
    t.match(valuesOf(answered, 'www-authenticate')[0], /error="insufficient_scope".* scope="accounts"$/)
  }
  t.equal(upstream.requests.length, before)
})

t.test(
  'SC-01: scopes are compared to the letter, in any order, and of alternatives one is enough',
  async t => {
    const status = async (path: string, scope: unknown) => {
      const token = server.tokenFor(dpop, client1, { scope })
      return (await server.call(dpop, { token, path })).status
    }
    for (const scope of ['accounts', 'other accounts', 'accounts other'])
      t.equal(await status(dpop.path, scope), 200, scope)
    for (const scope of ['Accounts', 'ACCOUNTS', 'accounts:read', 'account', 'accountss', '', undefined])
      t.equal(await status(dpop.path, scope), 403, `${scope}`)
    for (const scope of ['contact', 'customer', 'customer contact'])
      t.equal(await status('/dpop/1/contact', scope), 200, scope)
    t.equal(await status('/dpop/1/contact', 'personal'), 403, 'an optional scope is no alternative')
  },
)

t.test('SC-03: an optional scope is not asked for, and the API learns of it', async t => {
  const scopes = async (scope: string) => {
    const token = server.tokenFor(dpop, client1, { scope })
    t.equal((await server.call(dpop, { token, path: '/dpop/1/contact' })).status, 200, scope)
    return upstream.requests.at(-1)?.headers['postern-scopes']
  }
  t.equal(await scopes('contact'), 'contact')
  t.equal(await scopes('contact personal'), 'contact personal')
})

t.test(
  'SC-04: where the policy says scopes: none, any valid token of the flow will do, and no other',
  async t => {
    const path = '/dpop/1/status'
    for (const scope of [undefined, 'anything']) {
      const token = server.tokenFor(dpop, client1, { scope })
      t.equal((await server.call(dpop, { token, path })).status, 200, `${scope}`)
    }
    const machine = server.tokenFor(dpop, client1, { scope: undefined, sub: client1.id })
    t.equal((await server.call(dpop, { token: machine, path })).status, 403, 'the other flow')
    t.equal((await server.call(dpop, { path, anonymous: true, dpop: null })).status, 401, 'no token')
  },
)

t.test('F2-09: a key of the issuer verifies no token by an algorithm that FAPI 2.0 leaves out', async t => {
  const keys = (['PS256', 'RS256', 'RS512', 'PS512', 'ES384', 'ES512'] as const).map(alg =>
    newSigningKey(alg),
  )
  world.issuer.jwks = { keys: [...world.issuer.jwks.keys, ...keys.map(({ jwk }) => jwk)] }
  const answerTo = (key: SigningKey | undefined) => {
    const claims = { sub: client1.user, scope: 'accounts', cnf: { jkt: client1.key.jkt } }
    return server.call(dpop, { token: world.issuer.token(claims, {}, key) })
  }
  const [allowed, ...others] = keys
  await untilAsync(
    async () => (await answerTo(allowed)).status === 200,
    () => 'the new keys never came into use',
  )
  for (const key of others) {
    const answered = await answerTo(key)
    t.equal(answered.status, 401, key.alg)
    t.match(valuesOf(answered, 'www-authenticate')[0], /error="invalid_token"/)
  }
})

t.test('F2-09: proofs may be signed with PS256, ES256 and Ed25519, and with nothing else', async t => {
  for (const [alg, status] of [
    ['ES256', 200],
    ['PS256', 200],
    ['EdDSA', 200],
    ['Ed25519', 200],
    ['RS256', 401],
    ['PS512', 401],
    ['ES384', 401],
  ] as const) {
    const client = { ...client1, key: newProofKey(alg) }
    t.equal((await server.call(dpop, { client })).status, status, alg)
  }
})

t.test('F2-15: what a client says of the presence of its user is no reason to refuse', async t => {
  for (const value of [undefined, 'true', 'false', 'perhaps']) {
    const headers = value === undefined ? {} : { 'x-fapi-end-user-present': value }
    t.equal((await server.call(dpop, { headers })).status, 200, `${value}`)
    t.equal(upstream.requests.at(-1)?.headers['x-fapi-end-user-present'], value)
  }
})

t.test('F2-16: a token of 12 KiB is served, and more than the limit is refused as JSON', async t => {
  const token = server.tokenFor(mtls, client1, { pad: 'x'.repeat(9 * 1024) })
  t.ok(token.length > 12 * 1024)
  t.equal((await server.call(mtls, { token })).status, 200)
  const raw = await connectRaw(world, server.at('fapi2'), client1.certificate)
  t.teardown(() => raw.destroy())
  raw.write(
    `GET ${mtls.path} HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${'x'.repeat(40 * 1024)}\r\n\r\n`,
  )
  const answered = await raw.answer()
  t.equal(answered.status, 431)
  t.match(answered.values('content-type'), [/^application\/json/])
  t.match(JSON.parse(answered.body.toString()), { code: String, message: String })
})

t.test('MS-04: what a client has signed verifies at the API', async t => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const body = '{"amount" : "1.00",\t"to":"Zo\u00eb"}'
  const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
  const path = '/dpop/1~5?b=2&a=%7e1&a='
  const parameters = `("@method" "@path" "@query" "content-digest" "authorization");created=1;tag="fapi-2-request"`
  const token = server.tokenFor(dpop)
  const signature = sign(
    null,
    signatureBase('POST', path, { 'content-digest': digest, authorization: `DPoP ${token}` }, parameters),
    privateKey,
  )
  const headers = {
    'Content-Type': 'application/json',
    'Content-Digest': digest,
    'Signature-Input': `sig1=${parameters}`,
    Signature: `sig1=:${signature.toString('base64')}:`,
  }
  const respond = upstream.respond
  t.teardown(() => {
    upstream.respond = respond
  })
  const reading = new Promise<IncomingMessage>(resolve => {
    upstream.respond = (request, response) => {
      respond(request, response)
      resolve(request)
    }
  })
  const answered = await server.call(dpop, { method: 'POST', path, body, token, headers })
  t.equal(answered.status, 200)
  const seen = await reading
  t.ok(verifies(seen, publicKey), 'method, path, query, digest and token are those that were signed')
  t.equal(upstream.bodyOf(seen), body, 'the body is that of the digest')
})

/** RFC 9421 section 2.5, for the components of this test. */
function signatureBase(
  method: string,
  target: string,
  fields: Readonly<Record<string, string | undefined>>,
  parameters: string,
): Buffer {
  const [path = '', query = ''] = target.split('?')
  const lines = [
    `"@method": ${method}`,
    `"@path": ${path}`,
    `"@query": ?${query}`,
    ...Object.entries(fields).map(([name, value]) => `"${name}": ${value}`),
    `"@signature-params": ${parameters}`,
  ]
  return Buffer.from(lines.join('\n'))
}

function verifies({ method = '', url = '', headers }: IncomingMessage, key: KeyObject): boolean {
  const { authorization } = headers
  const fields = { 'content-digest': String(headers['content-digest']), authorization }
  const parameters = String(headers['signature-input']).slice('sig1='.length)
  const signature = Buffer.from(String(headers.signature).slice('sig1=:'.length, -1), 'base64')
  return verify(null, signatureBase(method, url, fields, parameters), key, signature)
}
