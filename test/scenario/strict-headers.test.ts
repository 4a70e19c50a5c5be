import t from 'tap'
import { ask, createWorld, policyText, startCounting, startPostern } from '../support/postern.js'

const ID = 'c770aef3-6784-41f7-8e0e-ff5f97bddb3a'
const APIS = `
  - name: Strict
    base: /strict
    security: public
    headers: strict
    routes:
      GET /{id}: {}
      GET /tolerant/{id}: { headers: tolerant }
  - name: Green
    base: /green
    security: public
    profile: fdx-green
    routes:
      GET /{id}: {}
  - name: Usual
    base: /usual
    security: public
    routes:
      GET /{id}: {}
`

t.test('a strict route refuses what a tolerant one lets pass', async t => {
  const world = await createWorld()
  const counting = await startCounting()
  const postern = await startPostern(world, policyText(world, { upstream: counting.url, apis: APIS }))
  t.teardown(async () => {
    await postern.stop()
    counting.close()
    await world.close()
  })
  const bad: readonly Readonly<Record<string, string | readonly string[]>>[] = [
    {},
    { 'x-fapi-interaction-id': '1' },
    { 'x-fapi-interaction-id': [ID, ID] },
    { 'x-fapi-interaction-id': ID, 'FDX-API-Actor-Type': 'ADMIN' },
    { 'x-fapi-interaction-id': ID, 'x-fapi-customer-ip-address': 'junk' },
  ]
  for (const headers of bad) {
    const name = JSON.stringify(headers)
    for (const path of ['/strict/1', '/green/1']) {
      const refused = await ask(world, postern, { path, headers })
      t.equal(refused.status, 400, `${path} ${name}`)
      t.strictSame(refused.json(), { code: '401', message: 'The request is malformed' })
      t.match(refused.headers['x-fapi-interaction-id'], /^[0-9a-f-]{36}$/)
    }
    for (const path of ['/strict/tolerant/1', '/usual/1'])
      t.equal((await ask(world, postern, { path, headers })).status, 200, `${path} ${name}`)
  }
  const headers = {
    'x-fapi-interaction-id': ID,
    'FDX-API-Actor-Type': 'BATCH',
    'x-fapi-customer-ip-address': '2001:DB8::1893:25c8:1946',
  }
  const good = await ask(world, postern, { path: '/strict/1', headers })
  t.match([good.status, good.headers['x-fapi-interaction-id']], [200, ID])
  t.match(await postern.logged(({ detail }) => typeof detail === 'string' && /Actor-Type/.test(detail)), {
    route: 'GET /strict/{id}',
    code: 'request_malformed',
  })
})
