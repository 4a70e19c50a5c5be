import t, { type Test } from 'tap'
import {
  type Answered,
  ask,
  boundToken,
  createWorld,
  HOST,
  type Postern,
  policyText,
  startCounting,
  startPostern,
  type World,
} from '../support/postern.js'

const ROOT = '/.well-known/oauth-protected-resource'
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const world = await createWorld()
const counting = await startCounting()
t.teardown(async () => {
  counting.close()
  await world.close()
})

async function started(t: Test, server = '', world_: World = world): Promise<Postern> {
  const policy = policyText(world_, { upstream: counting.url }).replace(
    'server:\n',
    `server:\n${server === '' ? '' : `  ${server}\n`}`,
  )
  const postern = await startPostern(world_, policy)
  t.teardown(() => postern.stop())
  return postern
}

function isMetadata(t: Test, answer: Answered, resource: string): void {
  t.equal(answer.status, 200)
  t.equal(answer.headers['content-type'], 'application/json')
  t.equal(answer.headers['cache-control'], 'public, max-age=300')
  t.match(answer.headers['x-fapi-interaction-id'], UUID)
  t.ok(Date.parse(String(answer.headers.date)) > 0, 'Date')
  const document = answer.json()
  t.equal(document.resource, resource, 'the URL that the client used (RFC 9728 section 3.3)')
  t.strictSame(document.authorization_servers, [world.issuer.url])
  t.strictSame(document.bearer_methods_supported, ['header'])
  for (const [name, value] of Object.entries(document))
    t.notOk(Array.isArray(value) && value.length === 0, `${name} is not empty`)
}

t.test('metadata of the server and of each API are public, and describe the policy', async t => {
  const postern = await started(t)
  const before = counting.requests.length
  const root = await ask(world, postern, { path: ROOT })
  isMetadata(t, root, `https://${HOST}`)
  t.strictSame(root.json().scopes_supported, [
    'basic',
    'detailed',
    'notes',
    'contact',
    'personal',
    'events',
    'partners',
  ])
  const accounts = await ask(world, postern, { path: `${ROOT}/accounts` })
  isMetadata(t, accounts, `https://${HOST}/accounts`)
  t.strictSame(accounts.json(), {
    resource: `https://${HOST}/accounts`,
    resource_name: 'Accounts',
    authorization_servers: [world.issuer.url],
    scopes_supported: ['basic', 'detailed', 'notes', 'contact', 'personal'],
    bearer_methods_supported: ['header'],
    tls_client_certificate_bound_access_tokens: true,
  })
  const partners = await ask(world, postern, { path: `${ROOT}/partners`, client: world.client })
  isMetadata(t, partners, `https://${HOST}/partners`)
  t.notOk('tls_client_certificate_bound_access_tokens' in partners.json(), 'no route there binds tokens')
  t.equal(counting.requests.length, before, 'nothing was forwarded')

  const line = await postern.logged(({ path }) => path === `${ROOT}/accounts`)
  t.match(line, { route: `GET ${ROOT}/accounts`, status: 200, outcome: 'allowed', upstream: null })
  const { text } = await postern.admin('/metrics')
  t.match(text, `postern_requests_total{route="GET ${ROOT}",method="GET",status="200",outcome="allowed"} 1`)
})

t.test('only GET and HEAD, only of resources, only at served hosts', async t => {
  const postern = await started(t)
  const head = await ask(world, postern, { path: ROOT, method: 'HEAD' })
  t.match([head.status, head.text], [200, ''])
  t.ok(Number(head.headers['content-length']) > 50)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const answer = await ask(world, postern, { path: `${ROOT}/accounts`, method })
    t.match([answer.status, answer.headers.allow], [405, 'GET, HEAD'], method)
  }
  for (const path of [
    `${ROOT}/`,
    `${ROOT}/machines`,
    `${ROOT}/open`,
    `${ROOT}/accounts/1`,
    `${ROOT}/accounts/`,
    '/.well-known',
    '/accounts/.well-known/oauth-protected-resource',
  ])
    t.not((await ask(world, postern, { path })).status, 200, path)
  t.equal((await ask(world, postern, { path: `${ROOT}/../../accounts/1` })).status, 400)
  t.equal((await ask(world, postern, { path: ROOT, headers: { Host: 'evil.example' } })).status, 400)
  const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket' }
  t.equal((await ask(world, postern, { path: ROOT, headers: upgrade })).status, 400)
  const framed = { 'Content-Length': '1000' }
  const body = await ask(world, postern, { path: ROOT, headers: framed, body: 'x'.repeat(1000) })
  t.match(
    [body.status, body.headers.connection],
    [200, 'close'],
    'a body that nobody reads ends the connection',
  )
})

t.test('challenges name the metadata only when the policy says so', async t => {
  const bare = (postern: Postern, path = '/accounts/1') => ask(world, postern, { path, client: world.client })
  const silent = await started(t)
  t.equal((await bare(silent)).headers['www-authenticate'], 'Bearer')
  const named = await started(t, 'resourceMetadata: true')
  const url = `https://${HOST}${ROOT}/accounts`
  t.equal((await bare(named)).headers['www-authenticate'], `Bearer resource_metadata="${url}"`)
  const wrong = await ask(world, named, { client: world.client, token: 'a.b.c' })
  t.equal(wrong.status, 401)
  t.match(wrong.headers['www-authenticate'], `", resource_metadata="${url}"`)
  t.equal(
    (await ask(world, named, { path: new URL(url).pathname })).json().resource,
    `https://${HOST}/accounts`,
  )
  const forbidden = await ask(world, named, {
    client: world.client,
    token: boundToken(world, world.client, 'authorization_code', { scope: 'other' }),
  })
  t.equal(forbidden.status, 403)
  t.notMatch(forbidden.headers['www-authenticate'], 'resource_metadata')
  t.notOk((await ask(world, named, { path: '/nowhere' })).headers['www-authenticate'])
  const machine = await ask(world, named, { path: '/machines/1' })
  t.notMatch(machine.headers['www-authenticate'], 'resource_metadata', 'the route asks for no token')
})

t.test('resourceMetadata: false serves none', async t => {
  const postern = await started(t, 'resourceMetadata: false')
  for (const path of [ROOT, `${ROOT}/accounts`])
    t.equal((await ask(world, postern, { path })).status, 404, path)
})
