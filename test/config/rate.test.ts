import t from 'tap'
import { checkRates } from '../../src/config/compile-rate.js'
import { loadAndSend } from '../support/load-and-send.js'
import { createWorld, policyText } from '../support/postern.js'

const world = await createWorld()
t.teardown(() => world.close())
let files = 0

interface More {
  readonly api?: string
  readonly security?: string
  readonly defaults?: string
  readonly clients?: string
  readonly server?: string
}

/** The rates of every route, or what is wrong. */
async function load(routes: string, more: More = {}) {
  const { api = '', security = '[oauth2]', defaults = '', server = '' } = more
  const apis = `
  - name: One
    base: /one
    security: ${security}
    ${security.includes('oauth2') ? 'binding: required\n    flow: client_credentials\n    scopes: none' : ''}
    ${api}
    routes:
${routes}`
  const text = policyText(world, {
    upstream: 'http://127.0.0.1:1',
    apis,
    ...(more.clients === undefined ? {} : { clients: more.clients }),
  })
    .replace('errors: fdx }', `errors: fdx${defaults} }`)
    .replace('admin:', `${server}admin:`)
  const result = await loadAndSend(world.write(`${files++}.yaml`, text), {})
  return 'settings' in result
    ? {
        rates: result.routes.routes.map(({ rates }) => rates),
        warnings: result.warnings
          .map(({ message }) => message)
          .filter(message => /counted|does not count/.test(message)),
        problems: [],
      }
    : { rates: [], warnings: [], problems: result.map(({ message }) => message) }
}

const rate = (by: string, requests = 1, per = '1m') => `{ requests: ${requests}, per: ${per}, by: ${by} }`

t.test(
  'a rate comes from the route, else its API, else the defaults, and who shares its place shares it',
  async t => {
    const { rates, warnings } = await load(
      `      GET /a: {}\n      GET /b: {}\n      GET /c: { rate: [${rate('client', 2)}, ${rate('address')}] }\n      GET /d: { rate: none }\n`,
      { api: `rate: ${rate('client')}`, defaults: `, rate: ${rate('client', 9)}` },
    )
    const [a = [], b = [], c = [], d = []] = rates
    t.match(a, [{ requests: 1, perSeconds: 60, by: 'client' }])
    t.equal(a.length, 1)
    t.strictSame(b, a)
    t.match(c, [{ requests: 2 }, { by: 'address' }])
    t.equal(new Set([...a, ...c].map(({ id }) => id)).size, 3)
    t.strictSame(d, [])
    t.strictSame(warnings, [])
  },
)

t.test('a rate of the defaults counts tokens only where there are any', async t => {
  const routes = '      GET /a: {}\n      GET /b: { security: public }\n'
  const { rates } = await load(routes, { defaults: `, rate: [${rate('client')}, ${rate('address')}]` })
  t.strictSame(
    rates.map(rules => rules.map(({ by }) => by)),
    [['client', 'address'], ['address']],
  )
})

t.test('a rate that would count nothing, or that its author did not mean, does not load', async t => {
  const nothing = /counts nothing here: no route that takes this rate asks for a token/
  const wrong: readonly (readonly [routes: string, more: More, problem: RegExp])[] = [
    [`      GET /a: { rate: ${rate('client')} }\n`, { security: 'public' }, nothing],
    ['      GET /a: {}\n', { security: '[mtls]', api: `rate: ${rate('subject')}` }, nothing],
    ['      GET /a: {}\n', { security: 'public', defaults: `, rate: ${rate('client')}` }, nothing],
    [`      GET /a: { rate: [${rate('client')}, ${rate('client', 2)}] }\n`, {}, /counts the same twice/],
    [`      GET /a: { rate: ${rate('nobody')} }\n`, {}, /"by"/],
    [`      GET /a: { rate: ${rate('client', 0)} }\n`, {}, /"requests" must be a whole number/],
    [`      GET /a: { rate: ${rate('client', 1, '60')} }\n`, {}, /"per" must be a duration/],
    [`      GET /a: { rate: ${rate('client', 1, '10ms')} }\n`, {}, /"per" must be between 1s and 1d/],
    ['      GET /a: { rate: [] }\n', {}, /rate/],
    [
      `      GET /a: { rate: ${rate('certificate')} }\n`,
      { clients: '{ trust: possession }' },
      /everybody can make as many certificates/,
    ],
  ]
  for (const [routes, more, problem] of wrong) {
    const { problems } = await load(routes, more)
    t.match(problems.join('\n'), problem, routes)
  }
})

t.test('what deserves a second look is said', async t => {
  const replaced = await load(`      GET /a: { rate: ${rate('client')} }\n      GET /b: {}\n`, {
    api: `rate: [${rate('client')}, ${rate('certificate')}]`,
  })
  t.match(replaced.warnings.join('\n'), /the rate of the API by certificate does not count here/)
  const behind = await load(`      GET /a: { rate: ${rate('address')} }\n`, {
    server: 'trustedTerminators: [{ address: 10.0.0.1, header: client-cert }]\n',
  })
  t.match(behind.warnings.join('\n'), /behind a trusted terminator are counted together/)
})

t.test('the rates of ten thousand routes are checked in a moment', async t => {
  const keys = Array.from({ length: 10_000 }, (_, index) => `GET /${index}`)
  const written = new Map(keys.map(key => [key, { rate: undefined }]))
  const draft = { parts: { apis: [{ routes: written }] } } as never
  const takers = keys.map(key => ({ route: { token: null }, rateFrom: ['apis', 0, 'routes', key, 'rate'] }))
  const started = performance.now()
  checkRates(draft, takers)
  // Compared one with each other they take minutes.
  t.ok(performance.now() - started < 10_000)
})
