import { writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import t from 'tap'
import { RS_ID, RS_SECRET, startIntrospectionServer } from '../support/introspection-server.js'
import {
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  type PolicyParts,
  policyText,
  startCounting,
  startPostern,
  until,
  webSocketHandshake,
} from '../support/postern.js'
import { RecordingUpstream } from '../support/recording-upstream.js'
import { newSigningKey, type Overrides, signToken } from '../support/token-issuer.js'

const world = await createWorld()
const endpoint = await startIntrospectionServer(world.issuer)
const upstream = await startCounting()
t.teardown(async () => {
  upstream.close()
  await endpoint.close()
  await world.close()
})
world.write('endpoint-ca.pem', endpoint.caPem)
writeFileSync(join(world.directory, 'secret'), `${RS_SECRET}\n`, { mode: 0o600 })

t.beforeEach(() => {
  endpoint.tokens.clear()
  endpoint.failMode = null
  endpoint.signed = null
})

const AUTH = `{ method: client_secret_basic, clientId: "${RS_ID}", clientSecretFile: secret }`

function policy(issuer: string, more = '', parts: Partial<PolicyParts> = {}): string {
  const introspection = `introspection: { url: "${endpoint.url}", ca: endpoint-ca.pem, auth: ${AUTH}${more} }`
  return policyText(world, { upstream: upstream.url, issuer: `${issuer}\n    ${introspection}`, ...parts })
}

/** What the endpoint says of a token that is bound to the certificate of the client. */
function reply(changes: Overrides = {}): Overrides {
  const now = Math.floor(Date.now() / 1000)
  return {
    active: true,
    iss: world.issuer.url,
    aud: `https://${HOST}`,
    sub: 'user-1',
    client_id: 'client-1',
    scope: 'basic',
    token_type: 'Bearer',
    exp: now + 300,
    cnf: { 'x5t#S256': world.client.thumbprint },
    ...changes,
  }
}

const { client, otherClient } = world

t.test('opaque tokens: every check applies, and a revoked one is soon refused', async t => {
  const postern = await startPostern(world, policy('tokens: opaque', ', cache: 2s'))
  t.teardown(() => postern.stop())
  const get = (token: string, changes: object = {}) => ask(world, postern, { client, token, ...changes })
  const bytes = (await postern.admin('/metrics')).text
  t.match(bytes, /# TYPE postern_introspection_total counter/)
  t.match(bytes, /# TYPE postern_introspection_duration_seconds histogram/)

  endpoint.tokens.set('opaque-1', reply())
  const before = upstream.requests.length

  const table: readonly (readonly [string, Overrides, object, number, string])[] = [
    ['not active', { active: false }, {}, 401, 'token_inactive'],
    ['expired', { exp: 1000 }, {}, 401, 'token_expired'],
    ['for another API', { aud: 'https://other.example' }, {}, 401, 'token_audience_wrong'],
    ['without a client', { client_id: undefined }, {}, 401, 'token_claim_missing'],
    ['bound to another certificate', {}, { client: otherClient }, 401, 'binding_mismatch'],
    ['not bound', { cnf: undefined }, {}, 401, 'binding_missing'],
    ['of the other flow', { sub: 'client-1' }, {}, 403, 'flow_not_allowed'],
    ['without the scope', { scope: 'other' }, {}, 403, 'scope_insufficient'],
    ['a refresh token', { token_type: undefined, aud: undefined }, {}, 401, 'token_type_wrong'],
  ]
  for (const [name, changes, asking, status, code] of table) {
    const token = `opaque-${name.replaceAll(' ', '-')}`
    endpoint.tokens.set(token, reply(changes))
    const answer = await get(token, asking)
    t.equal(answer.status, status, name)
    if (status === 401) t.match(answer.headers['www-authenticate'], /error="invalid_token"/, name)
    await postern.logged(
      line => line.code === code || line.denial === code || JSON.stringify(line).includes(code),
    )
  }
  t.equal(upstream.requests.length, before, 'the upstream saw none of them')

  t.equal((await get('opaque-1')).status, 200)
  endpoint.tokens.delete('opaque-1')
  const revokedAt = performance.now()
  let [status, lastAccepted] = [200, 0]
  while (status === 200 && lastAccepted < 10_000) {
    const sentAfter = performance.now() - revokedAt
    status = (await get('opaque-1')).status
    if (status === 200) lastAccepted = sentAfter
  }
  t.equal(status, 401, 'revoked at the issuer')
  t.ok(lastAccepted < 2000, 'what was sent after the time of the cache was refused')
  const metrics = (await postern.admin('/metrics')).text
  t.match(metrics, /postern_introspection_total\{issuer="main",result="active"\} \d+/)
  t.match(metrics, /postern_introspection_total\{issuer="main",result="inactive"\} [12]/)
  t.notMatch(postern.output() + metrics, /opaque-1|s3cret/, 'neither token nor secret is written')
})

t.test('an outage is 503, the upstream is spared, and it ends by itself', async t => {
  const postern = await startPostern(world, policy('tokens: opaque', ', cache: 1s, timeout: 500ms'))
  t.teardown(() => postern.stop())
  const get = () => ask(world, postern, { client, token: 'opaque-2' })
  endpoint.tokens.set('opaque-2', reply())
  const before = upstream.requests.length
  for (const mode of ['500', 'html', 'hang'] as const) {
    endpoint.failMode = mode
    const answer = await get()
    t.equal(answer.status, 503, mode)
    t.equal(answer.headers['www-authenticate'], undefined, mode)
  }
  await postern.logged(line => line.msg === 'introspection failed' && line.result === 'unavailable')
  endpoint.failMode = '401'
  t.equal((await get()).status, 503)
  await postern.logged(line => line.msg === 'the introspection endpoint refuses the credentials of Postern')
  await endpoint.stop()
  t.equal((await get()).status, 503, 'nobody there')
  t.equal(upstream.requests.length, before)
  await endpoint.reopen()
  endpoint.failMode = null
  let status = 503
  for (let tries = 0; status === 503 && tries < 80; tries++) {
    await new Promise(resolve => setTimeout(resolve, 100))
    status = (await get()).status
  }
  t.equal(status, 200, 'the circuit closes again')
  t.notMatch(postern.output(), /opaque-2|s3cret/)
})

t.test('one call serves a hundred requests with one new token', async t => {
  const postern = await startPostern(world, policy('tokens: opaque', ', cache: 5m'))
  t.teardown(() => postern.stop())
  endpoint.tokens.set('opaque-5', reply())
  const [asked, forwarded] = [endpoint.asked.length, upstream.requests.length]
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => ask(world, postern, { client, token: 'opaque-5' })),
  )
  t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
  t.equal(endpoint.asked.length, asked + 1, 'one call')
  t.equal(upstream.requests.length, forwarded + 100)
})

t.test('auto: a forged JWT is refused without a question; both kinds of token pass', async t => {
  const postern = await startPostern(world, policy('tokens: auto'))
  t.teardown(() => postern.stop())
  const get = async (token: string) => (await ask(world, postern, { client, token })).status
  const stranger = newSigningKey('ES256', world.issuer.keys[0]?.kid)
  const header = { alg: 'ES256', typ: 'at+jwt', kid: stranger.kid }
  const forged = signToken({ ...reply(), iat: 1, jti: '1' }, header, stranger.privateKey)
  const signedReply = world.issuer.sign(
    { iss: world.issuer.url, aud: RS_ID, iat: Math.floor(Date.now() / 1000), token_introspection: reply() },
    { typ: 'token-introspection+jwt' },
  )
  for (const token of [forged, signedReply]) endpoint.tokens.set(token, reply())
  const before = endpoint.asked.length
  t.equal(await get(forged), 401)
  t.equal(await get(signedReply), 401, 'a signed reply is no access token')
  t.equal(await get(boundToken(world, client, 'authorization_code', { scope: 'basic' })), 200)
  t.equal(endpoint.asked.length, before, 'nobody was asked')
  endpoint.tokens.set('opaque-3', reply())
  t.equal(await get('opaque-3'), 200)
  t.equal(endpoint.asked.length, before + 1)
})

t.test('revocation: a JWT that verifies is refused once the issuer has revoked it', async t => {
  const postern = await startPostern(world, policy('revocation: introspect', ', cache: 1s, response: jwt'))
  t.teardown(() => postern.stop())
  endpoint.signed = {}
  const token = boundToken(world, client, 'authorization_code', { scope: 'basic' })
  const get = async () => (await ask(world, postern, { client, token })).status
  endpoint.tokens.set(token, reply())
  t.equal(await get(), 200)
  endpoint.tokens.set(token, { active: false })
  await new Promise(resolve => setTimeout(resolve, 1100))
  t.equal(await get(), 401)
  await postern.logged(line => JSON.stringify(line).includes('token_revoked'))
  endpoint.tokens.set(token, reply())
  endpoint.failMode = 'unsigned'
  await new Promise(resolve => setTimeout(resolve, 2100))
  t.equal(await get(), 503, 'a plain reply where a signed one is demanded')
})

t.test('revocation: who has failed too often is told so, and not that the token is revoked', async t => {
  const limits = '{ failures: { requests: 2, per: 1h } }'
  const postern = await startPostern(world, policy('revocation: introspect', ', cache: 0s', { limits }))
  t.teardown(() => postern.stop())
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const token = boundToken(world, client, 'authorization_code', { scope: 'basic' })
  const get = (each: string) => ask(world, postern, { client, token: each, agent })
  endpoint.tokens.set(token, reply())
  t.equal((await get(token)).status, 200)
  for (const end of ['AAA0', 'AAA1']) t.equal((await get(`${token.slice(0, -4)}${end}`)).status, 401)
  const { status, headers } = await get(token)
  t.equal(status, 429)
  t.ok(headers['retry-after'])
})

t.test('a WebSocket with an opaque token stays open, also over a reload', async t => {
  const socket = await RecordingUpstream.start()
  t.teardown(() => socket.stop())
  socket.script({
    act: each => {
      each.write('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
      each.on('data', bytes => each.write(bytes))
    },
    switches: true,
  })
  const text = policy('tokens: opaque', '', { upstream: socket.url })
  const postern = await startPostern(world, text)
  t.teardown(() => postern.child.kill('SIGKILL'))
  endpoint.tokens.set('opaque-ws', reply())
  const raw = await connectRaw(world, postern, client)
  raw.write(webSocketHandshake('/accounts/1/live', 'Authorization: Bearer opaque-ws'))
  t.equal((await raw.answer()).status, 101)
  const echoed = async (words: string) => {
    raw.write(words)
    await until(
      () => raw.received.includes(words),
      () => words,
    )
  }
  await echoed('before')
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  await echoed('after')
  t.equal(raw.ending, 'open')
  world.write('policies.yaml', text.replace('tokens: opaque', 'tokens: opaque\n    clockSkew: 7s'))
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  await raw.closed()
  t.pass('its rules are not what they were')
})

t.test('a new secret is taken up without a restart', async t => {
  const postern = await startPostern(world, policy('tokens: opaque', ', cache: 0s'))
  t.teardown(() => postern.stop())
  const get = async () => (await ask(world, postern, { client, token: 'opaque-4' })).status
  endpoint.tokens.set('opaque-4', reply())
  t.equal(await get(), 200)
  const reloaded = () => postern.log().filter(line => line.msg === 'reloaded').length
  const rewrite = async (secret: string) => {
    const before = reloaded()
    writeFileSync(join(world.directory, 'secret'), secret, { mode: 0o600 })
    for (let tries = 0; reloaded() === before && tries < 200; tries++)
      await new Promise(resolve => setTimeout(resolve, 50))
  }
  await rewrite('old\n')
  t.equal(await get(), 503)
  await rewrite(RS_SECRET)
  t.equal(await get(), 200)
  t.notMatch(postern.output(), /s3cret/)
})
