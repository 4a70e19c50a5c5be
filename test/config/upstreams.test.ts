import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadAndSend } from '../support/load-and-send.js'
import { createAuthority } from '../support/pki.js'

// What a policy may say of its upstreams.

const ca = await createAuthority('CA')
const server = await ca.issue({
  sanDns: ['localhost'],
  key: 'rsa-2048',
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
})
const directory = t.testdir({
  'server.pem': server.certificatePem,
  'server.key': server.keyPem,
  'ca.pem': ca.certificatePem,
})

/** Loads a policy whose one upstream has these settings, on line 6. */
async function load(settings: string) {
  const file = join(directory, 'p.yaml')
  writeFileSync(
    file,
    `version: 1
server:
  listen: 127.0.0.1:0
  publicUrl: https://localhost:8443
  tls: { profile: fapi1-advanced, certificates: [{ cert: server.pem, key: server.key }], clients: { ca: [ca.pem] } }
upstreams: { api: { ${settings} } }
apis: [{ name: A, base: /a, security: public, upstream: api, routes: { GET /x: {} } }]
`,
  )
  return loadAndSend(file, {})
}

async function upstream(settings: string) {
  const loaded = await load(settings)
  if ('settings' in loaded) return loaded.settings.upstreams.get('api')
  throw new Error(JSON.stringify(loaded))
}

async function problems(settings: string): Promise<string[]> {
  const loaded = await load(settings)
  return 'settings' in loaded ? [] : loaded.map(({ line, column, message }) => `${line}:${column} ${message}`)
}

const ONE = 'url: http://127.0.0.1:81'

t.test('an upstream has one address or several, in the order of the policy', async t => {
  t.strictSame((await upstream(ONE))?.urls, ['http://127.0.0.1:81'])
  t.strictSame((await upstream('url: [https://b.example:443, https://a.example]'))?.urls, [
    'https://b.example',
    'https://a.example',
  ])
})

t.test('nothing is sent again, and nothing is asked, that the policy does not ask for', async t => {
  t.match(await upstream(ONE), { retry: null, health: null })
})

t.test('retry and health have defaults, and bounds', async t => {
  t.strictSame((await upstream(`${ONE}, retry: {}`))?.retry, { attempts: 1, budgetPercent: 10 })
  t.strictSame((await upstream(`${ONE}, retry: { attempts: 3, budget: 50% }`))?.retry, {
    attempts: 3,
    budgetPercent: 50,
  })
  t.strictSame((await upstream(`${ONE}, health: { path: "/up?a=1" }`))?.health, {
    path: '/up?a=1',
    intervalMs: 5000,
    timeoutMs: 1000,
    healthyAfter: 2,
    unhealthyAfter: 3,
  })
  t.match(
    await upstream(
      `${ONE}, health: { path: /, interval: 1s, timeout: 2s, healthyAfter: 1, unhealthyAfter: 10 }`,
    ),
    { health: { path: '/', intervalMs: 1000, timeoutMs: 2000, healthyAfter: 1, unhealthyAfter: 10 } },
  )
})

t.test('what is wrong is said at its place', async t => {
  const table: readonly (readonly [settings: string, ...expected: string[]])[] = [
    ['url: []', '6:26 "url" has no entries'],
    ['url: [http://127.0.0.1:81, http://127.0.0.1:81]', '6:48 is the same address as one before it'],
    ['url: [http://localhost, "http://LOCALHOST:80"]', '6:45 is the same address as one before it'],
    ['url: [http://127.0.0.1:81, https://127.0.0.1:82]', '6:48 has another scheme than the first address'],
    ['url: [http://127.0.0.1:81, ftp://127.0.0.1]', '6:48 entry 2 of "url" must be an http or https URL'],
    [
      `url: [${Array.from({ length: 17 }, (_, i) => `http://127.0.0.1:${i + 1}`).join(', ')}]`,
      '6:26 has 17 addresses, more than 16',
    ],
    [`${ONE}, retry: { attempts: 0 }`, '6:66 "attempts" must be a whole number from 1 to 3'],
    [`${ONE}, retry: { attempts: 4 }`, '6:66 "attempts" must be a whole number from 1 to 3'],
    [`${ONE}, retry: { budget: 51% }`, '6:64 "budget" must be from 1% to 50%'],
    [`${ONE}, retry: { budget: 10 }`, '6:64 "budget" must be from 1% to 50%'],
    [`${ONE}, retry: { budget: 0% }`, '6:64 "budget" must be from 1% to 50%'],
    [`${ONE}, health: {}`, '6:47 "path" is missing in "health"'],
    [`${ONE}, health: { path: up }`, '6:63 "path" must be a path that begins with /'],
    [`${ONE}, health: { path: "/a b" }`, '6:63 "path" must be a path that begins with /'],
    [`${ONE}, health: { path: "/a#b" }`, '6:63 "path" must be a path that begins with /'],
    [`${ONE}, health: { path: "/ä" }`, '6:63 "path" must be a path that begins with /'],
    [`${ONE}, health: { path: "/\\r\\nX: y" }`, '6:63 "path" must be a path that begins with /'],
    [`${ONE}, health: { path: /, interval: 100ms }`, '6:76 "interval" must be between 1s and 10m'],
    [`${ONE}, health: { path: /, port: 1 }`, '6:66 "port" is not a setting here'],
  ]
  for (const [settings, ...expected] of table) t.strictSame(await problems(settings), expected, settings)
})

t.test('each address without encryption that is not of this machine deserves a look', async t => {
  const loaded = await load('url: [http://a.example, http://127.0.0.1, http://b.example]')
  if (!('settings' in loaded)) throw new Error(JSON.stringify(loaded))
  t.strictSame(
    loaded.warnings
      .filter(({ line }) => line === 6)
      .map(({ line, column, message }) => `${line}:${column} ${message}`),
    [
      '6:27 requests and tokens go to this upstream without encryption',
      '6:63 requests and tokens go to this upstream without encryption',
    ],
  )
})
