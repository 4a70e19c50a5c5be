import { writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
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
} from '../support/postern.js'
import type { RawClient } from '../support/raw-client.js'
import { newSigningKey, type Overrides } from '../support/token-issuer.js'

// How often something may be called, and what guessing costs: REQUIREMENTS section 2, rows 5 and 17, and section 15, API4 and
// API2. Each test has routes, and so budgets, of its own; addresses differ only where a test binds to another of 127.0.0.0/8.

const world = await createWorld()
const counting = await startCounting()
const APIS = `
  - name: Partners
    base: /partners
    security: [mtls, oauth2]
    flow: client_credentials
    scopes: none
    routes:
      GET /client: { rate: { requests: 3, per: 1h, by: client } }
      GET /subject: { flow: authorization_code, rate: { requests: 2, per: 1h, by: subject } }
      GET /certificate: { rate: { requests: 2, per: 1h, by: certificate } }
      GET /peak: { rate: [{ requests: 2, per: 2s, by: client }, { requests: 3, per: 1h, by: client }] }
      GET /kept: { rate: { requests: 1, per: 1h, by: client } }
      GET /refused: { flow: authorization_code, rate: { requests: 1, per: 1h, by: client } }
      GET /free: {}
  - name: Shared
    base: /shared
    security: public
    rate: { requests: 3, per: 1h, by: address }
    routes:
      GET /one: {}
      GET /two: {}
      GET /own: { rate: { requests: 1, per: 1h, by: address } }
      GET /unlimited: { rate: none }
  - name: Early
    base: /early
    security: [oauth2]
    flow: client_credentials
    scopes: none
    routes:
      GET /address: { rate: { requests: 2, per: 1h, by: address } }
      GET /certificate: { rate: { requests: 1, per: 1h, by: certificate } }
      GET /token: {}
`
const policy = (more = '') =>
  policyText(world, {
    upstream: counting.url,
    limits: '{ failures: { requests: 5, per: 1h } }',
    apis: APIS + more,
  })
const postern = await startPostern(world, policy())
t.teardown(async () => {
  await postern.stop()
  counting.close()
  await world.close()
})

const { client, otherClient } = world
const bound = (claims: Overrides = {}, holder = client) =>
  boundToken(world, holder, 'client_credentials', claims)
const CLIENT_2 = { sub: 'client-2', client_id: 'client-2' }

/** Statuses of one request after another. */
async function statuses(requests: readonly Ask[]): Promise<readonly number[]> {
  const all: number[] = []
  for (const request of requests) all.push((await ask(world, postern, request)).status)
  return all
}
const times = (count: number, request: Ask): readonly Ask[] => Array.from({ length: count }, () => request)

function isRateLimited(t: Test, refusal: Answered, withinSeconds: number) {
  t.equal(refusal.status, 429)
  t.strictSame(refusal.json(), { code: '1207', message: 'Too many requests' }) // section 13.2
  t.match(refusal.headers['retry-after'], /^[1-9][0-9]*$/)
  t.ok(Number(refusal.headers['retry-after']) <= withinSeconds, refusal.headers['retry-after'] as string)
  t.equal(refusal.headers['www-authenticate'], undefined)
}

t.test('a client that asks too often is told when to come back, and the others are served', async t => {
  const path = '/partners/client'
  const before = counting.requests.length
  t.strictSame(await statuses(times(3, { path, client, token: bound() })), [200, 200, 200])
  isRateLimited(t, await ask(world, postern, { path, client, token: bound() }), 3600)
  t.equal(counting.requests.length, before + 3, 'the API heard nothing of it')
  t.equal((await ask(world, postern, { path, client, token: bound(CLIENT_2) })).status, 200)
  t.equal((await ask(world, postern, { path: '/partners/free', client, token: bound() })).status, 200)
  const { detail } = await postern.logged(({ code }) => code === 'rate_limited')
  t.equal(detail, 'more than 3 in 3600 s by client')
})

t.test('requests that are not granted cost a client nothing of its rate', async t => {
  const path = '/partners/refused'
  const good = boundToken(world, client, 'authorization_code')
  const wrongFlow: Ask = { path, client, token: bound({ client_id: 'client-1' }) }
  t.strictSame(await statuses(times(3, wrongFlow)), [403, 403, 403])
  t.strictSame(await statuses(times(2, { path, client, token: good })), [200, 429])
})

t.test('users of one client can be counted apart', async t => {
  const of = (sub: string): Ask => ({
    path: '/partners/subject',
    client,
    token: boundToken(world, client, 'authorization_code', { sub }),
  })
  t.strictSame(await statuses(times(3, of('user-1'))), [200, 200, 429])
  t.strictSame(await statuses(times(3, of('user-2'))), [200, 200, 429])
})

t.test('certificates are counted before the token is looked at, and without one the address is', async t => {
  const path = '/partners/certificate'
  const junk = { path, client, token: 'junk' }
  t.strictSame(await statuses(times(3, junk)), [401, 401, 429])
  t.equal((await ask(world, postern, { path, client, token: bound() })).status, 429, 'the same certificate')
  const other = { path, client: otherClient, token: bound({}, otherClient) }
  t.strictSame(await statuses(times(3, other)), [200, 200, 429])
  const early = { path: '/early/certificate' }
  t.strictSame(await statuses([early, early]), [401, 429], 'without a certificate')
  t.equal((await ask(world, postern, { ...early, client: otherClient })).status, 401, 'with one')
})

t.test('an address is counted whatever it sends, before its credentials are looked at', async t => {
  const path = '/early/address'
  t.strictSame(await statuses([{ path }, { path, token: 'junk' }]), [401, 401])
  isRateLimited(t, await ask(world, postern, { path }), 3600)
  const elsewhere: Ask = { path, tls: { localAddress: '127.0.0.2' } }
  t.strictSame(await statuses(times(3, elsewhere)), [401, 401, 429], 'another address')
})

t.test('routes share the rate of their API, unless they have their own', async t => {
  const at = (path: string): Ask => ({ path: `/shared/${path}` })
  t.strictSame(await statuses([at('one'), at('two'), at('one'), at('two')]), [200, 200, 200, 429])
  t.strictSame(await statuses([at('own'), at('own')]), [200, 429])
  t.equal((await ask(world, postern, at('unlimited'))).status, 200)
})

t.test('several rates bound peaks and the whole, and a peak passes by', async t => {
  const peak: Ask = { path: '/partners/peak', client, token: bound() }
  t.strictSame(await statuses(times(2, peak)), [200, 200])
  const third = await ask(world, postern, peak)
  isRateLimited(t, third, 2)
  await new Promise(resolve => setTimeout(resolve, Number(third.headers['retry-after']) * 1000))
  t.equal((await ask(world, postern, peak)).status, 200)
  isRateLimited(t, await ask(world, postern, peak), 3600)
})

t.test('a reload forgets nothing that was counted', async t => {
  const kept: Ask = { path: '/partners/kept', client, token: bound() }
  t.strictSame(await statuses(times(2, kept)), [200, 429])
  writeFileSync(
    postern.policyFile,
    policy('  - { name: New, base: /new, security: public, routes: { "GET /x": {} } }\n'),
  )
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.equal((await ask(world, postern, { path: '/new/x' })).status, 200)
  t.equal((await ask(world, postern, kept)).status, 429)
})

// Failed authentications. The budget of the process is five in an hour, for each address or trusted certificate.

/** Asks on an open connection. */
async function on(connection: RawClient, token: string): Promise<Answered> {
  connection.write(`GET /early/token HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${token}\r\n\r\n`)
  const { status, headers, body } = await connection.answer()
  const text = body.toString()
  return {
    status,
    headers: Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])),
    rawHeaders: [],
    text,
    json: () => JSON.parse(text) as Record<string, unknown>,
  }
}

/** Signed by nobody we know, each another one. */
const forged = () =>
  world.issuer.token({ sub: 'client-1' }, {}, { ...newSigningKey('ES256', world.issuer.keys[0]?.kid) })
const good = (claims: Overrides = {}) => world.issuer.token({ sub: 'client-1', ...claims })

t.test('guessing: a connection that goes on failing gets no more signature verified', async t => {
  const known = good()
  const neighbour = await connectRaw(world, postern)
  t.equal((await on(neighbour, known)).status, 200)

  const guessing = await connectRaw(world, postern)
  const seen: Answered[] = []
  while (seen.at(-1)?.status !== 429 && seen.length < 10) seen.push(await on(guessing, forged()))
  t.match(
    seen.map(({ status }) => status),
    [401],
  )
  const last = seen.at(-1) as Answered
  isRateLimited(t, last, 3600)
  t.ok(seen.length <= 6, `${seen.length} requests`)
  t.equal(last.headers.connection, 'close')
  t.equal((await guessing.closed()).ending, 'ended')

  await t.test('every further guess costs a connection', async t => {
    for (let i = 0; i < 3; i++) {
      const again = await connectRaw(world, postern)
      t.equal((await on(again, forged())).status, 401)
      isRateLimited(t, await on(again, forged()), 3600)
      await again.closed()
    }
  })

  await t.test('a token that is good cannot be used to guess on: not even good ones pass there', async t => {
    const failed = await connectRaw(world, postern)
    t.equal((await on(failed, forged())).status, 401)
    t.equal((await on(failed, known)).status, 200, 'what is known already costs nothing')
    isRateLimited(t, await on(failed, good({ jti: 'unknown' })), 3600)
  })

  await t.test('neighbours behind the same address notice nothing', async t => {
    t.equal((await on(neighbour, known)).status, 200, 'known')
    t.equal((await on(neighbour, good({ jti: 'next' }))).status, 200, 'the next token of a known client')
    const newcomer = await connectRaw(world, postern)
    t.equal((await on(newcomer, good({ jti: 'newcomer' }))).status, 200, 'a new client at its first try')
    newcomer.destroy()
  })

  await t.test('a trusted certificate has a record of its own', async t => {
    const partner = await connectRaw(world, postern, otherClient)
    t.equal((await on(partner, forged())).status, 401)
    t.equal((await on(partner, good({ jti: 'partner' }))).status, 200)
    t.equal((await on(partner, forged())).status, 401)
    partner.destroy()
  })

  await t.test('what clients are asked for in the course of things is no failure', async t => {
    const connection = await connectRaw(world, postern, client)
    for (let i = 0; i < 10; i++) {
      connection.write(`GET /early/token HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
      t.equal((await connection.answer()).status, 401)
    }
    t.equal((await on(connection, forged())).status, 401, 'still looked at')
    t.equal((await on(connection, good({ jti: 'after' }))).status, 200)
    connection.destroy()
  })
  neighbour.destroy()
})
