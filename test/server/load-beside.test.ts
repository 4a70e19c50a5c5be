import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeDevelopmentCertificates } from '../../src/cli/certs.js'
import { loadApart, loadBeside } from '../../src/server/load-beside.js'

const directory = t.testdir({ certs: {} })
await makeDevelopmentCertificates(join(directory, 'certs'))

/** A policy of so many routes. */
function policy(routes: number, more = ''): string {
  const lines = Array.from({ length: routes }, (_, index) => `      GET /${index}/{id}: {}\n`).join('')
  const text = `version: 1
server:
  listen: \${HERE}:0
  publicUrl: https://api.bank.example
  tls:
    profile: fapi2
    certificates: [{ cert: certs/server.pem, key: certs/server.key }]
upstreams: { api: { url: http://127.0.0.1:1 } }
defaults: { upstream: api }
apis:
  - name: All
    base: /
    security: public
    routes:
${lines}${more}`
  const file = join(directory, 'policies.yaml')
  writeFileSync(file, text)
  return file
}

const environment = { HERE: '127.0.0.1' }

t.test('a policy that is read in another thread is the same, and its problems are', async t => {
  const file = policy(3)
  const apart = await loadApart(file, environment)
  t.strictSame(apart, await loadBeside(file, environment, []))
  if (!('settings' in apart)) throw new Error('not loaded')
  t.match(apart.routes.match('GET', { path: '/1/x', ambiguities: [] }), {
    route: { id: 'GET /1/{id}' },
    parameters: { id: 'x' },
  })
  t.throws(() => Object.assign(apart.settings.server.limits, { bodyBytes: 0 }), TypeError)
  const wrong = policy(2, '      GET /0/{id}: {}\n')
  t.strictSame(await loadApart(wrong, {}), await loadBeside(wrong, {}, []))
})

t.test('a large policy is read while requests are served', async t => {
  const file = policy(1500)
  let last = performance.now()
  let longest = 0
  const beat = setInterval(() => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }, 1)
  const started = performance.now()
  const loaded = await loadBeside(file, environment, [])
  const whole = performance.now() - started
  clearInterval(beat)
  t.ok('settings' in loaded)
  t.ok(longest < whole / 2, `blocked for ${Math.round(longest)} of ${Math.round(whole)} ms`)
})

t.test('what ends the thread is a refusal, and ends nothing else', async t => {
  // Node hands it to the thread, which cannot take it.
  const odd = { HERE: Symbol('odd') as unknown as string }
  await t.rejects(loadApart(policy(1), odd))
})
