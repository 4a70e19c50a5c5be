import t from 'tap'
import type { DpopRule } from '../../src/policy/policy.js'
import { loadAndSend } from '../support/load-and-send.js'
import { createWorld, policyText } from '../support/postern.js'

const world = await createWorld()
t.teardown(() => world.close())
let files = 0

interface Loaded {
  readonly rules: readonly (DpopRule | undefined)[]
  readonly warnings: readonly string[]
  readonly problems: readonly string[]
}

/** The rule of every route, or what is wrong. */
async function load(apis: string, more: { profile?: string; defaults?: string } = {}): Promise<Loaded> {
  const { profile = 'fapi2', defaults = '' } = more
  const text = policyText(world, { upstream: 'http://127.0.0.1:1', profile, apis })
  const file = world.write(`${files++}.yaml`, text.replace('errors: fdx }', `errors: fdx${defaults} }`))
  const result = await loadAndSend(file, {})
  return 'settings' in result
    ? {
        rules: result.routes.routes.map(route => route.token?.dpop),
        warnings: result.warnings.map(({ message }) => message),
        problems: [],
      }
    : { rules: [], warnings: [], problems: result.map(({ message }) => message) }
}

const apis = (routes: string, api = '', security = '[oauth2]') => `
  - name: One
    base: /one
    security: ${security}
    binding: required
    flow: client_credentials
    scopes: none
    ${api}
    routes:
${routes}`

t.test('each member comes from the route, else its API, else the defaults', async t => {
  const { rules, problems } = await load(
    apis(
      '      GET /a: {}\n      GET /b: { dpop: { nonce: none } }\n',
      'dpop: { nonce: required, maxAge: 30s }',
    ),
    { defaults: ', dpop: { algorithms: [ES256, ES256], maxAge: 5m, futureSkew: 1s }' },
  )
  t.strictSame(problems, [])
  const common = {
    origins: ['https://api.bank.example'],
    algorithms: ['ES256'],
    maxAgeSeconds: 30,
    futureSkewSeconds: 1,
    satisfiesBinding: true,
  }
  t.strictSame(rules, [
    { ...common, nonce: 'required' },
    { ...common, nonce: 'none' },
  ])
})

t.test('a DPoP key alone binds, but for mTLS routes in profile fapi1-advanced', async t => {
  for (const [profile, security, expected] of [
    ['fapi2', '[mtls, oauth2]', true],
    ['compatible', '[mtls, oauth2]', true],
    ['fapi1-advanced', '[oauth2]', true],
    ['fapi1-advanced', '[mtls, oauth2]', false],
  ] as const) {
    const { rules } = await load(apis('      GET /a: {}\n', '', security), { profile })
    t.strictSame(
      rules.map(rule => rule?.satisfiesBinding),
      [expected],
      `${profile} ${security}`,
    )
  }
})

t.test('algorithms that a FAPI profile forbids do not load, wherever they stand', async t => {
  for (const profile of ['fapi1-advanced', 'fapi2'])
    for (const algorithm of ['RS256', 'PS384', 'ES512']) {
      const forbidden = [`${algorithm} is not allowed for DPoP proofs in the profile ${profile}`]
      const dpop = `dpop: { algorithms: [ES256, ${algorithm}] }`
      for (const [routes, api, defaults] of [
        [`{ ${dpop} }`, '', ''],
        ['{}', dpop, ''],
        ['{}', '', `, ${dpop}`],
      ] as const)
        t.strictSame(
          (await load(apis(`      GET /a: ${routes}\n`, api), { profile, defaults })).problems,
          forbidden,
        )
    }
  const compatible = await load(apis('      GET /a: { dpop: { algorithms: [RS256, ES512] } }\n'), {
    profile: 'compatible',
  })
  t.ok(compatible.warnings.includes('RS256 is not a FAPI algorithm (PKCS #1 v1.5)'))
})

t.test('what is out of bounds, unknown or meaningless does not load', async t => {
  for (const [dpop, message] of [
    ['{ maxAge: 301s }', '"maxAge" must be between 1s and 5m'],
    ['{ maxAge: 0s }', '"maxAge" must be between 1s and 5m'],
    ['{ futureSkew: 61s }', '"futureSkew" must be between 0s and 60s'],
    ['{ algorithms: [HS256] }', 'must be a signature algorithm with a public key'],
    ['{ algorithms: [none] }', 'must be a signature algorithm with a public key'],
    ['{ algorithms: [] }', '"algorithms" has no entries'],
    ['{ nonce: optional }', '"nonce" must be none or required'],
    ['{ maxage: 1s }', '"maxage"'],
    ['required', '"dpop" must say what is asked of DPoP proofs'],
  ] as const) {
    const { problems } = await load(apis(`      GET /a: { dpop: ${dpop} }\n`))
    t.equal(problems.length, 1, dpop)
    t.ok(problems[0]?.includes(message), `${dpop}: ${problems[0]}`)
  }
  const { problems } = await load(`
  - name: Open
    base: /open
    security: public
    routes:
      GET /a: { dpop: { nonce: required } }
`)
  t.strictSame(problems, ['"dpop" has no meaning here: the route asks for no token'])
})
