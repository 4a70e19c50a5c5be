import t, { type Test } from 'tap'
import type { Problem } from '../../src/config/problem.js'
import type { Configuration } from '../../src/config/settings.js'
import { CLIENT_ID } from '../../src/policy/certificate-patterns.js'
import { loadAndSend } from '../support/load-and-send.js'
import { createAuthority } from '../support/pki.js'

const authority = await createAuthority('Test CA')
const server = await authority.issue({
  commonName: 'api.bank.example',
  sanDns: ['api.bank.example'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
  notAfter: new Date(Date.now() + 365 * 24 * 60 * 60 * 1000),
})

interface Parts {
  readonly apis: string
  readonly issuer?: string
  readonly trust?: string
}

/** The first line of `apis` is line 1 of the numbers that tests see. */
async function load(t: Test, { apis, issuer = '{ preset: rfc9068 }', trust = 'pki' }: Parts) {
  const before = `version: 1
server:
  listen: 127.0.0.1:0
  publicUrl: https://api.bank.example
  tls:
    profile: compatible
    certificates: [{ cert: server.pem, key: server.key }]
    clients: { trust: ${trust}${trust === 'pki' ? ', ca: [ca.pem]' : ''} }
issuers:
  main:
    issuer: https://as.example
    audience: [https://api.bank.example]
    algorithms: [ES256]
    keys: { url: https://as.example/jwks }
    flow: ${issuer}
upstreams: { provider: { url: http://127.0.0.1:8080 } }
defaults: { upstream: provider, issuer: main, security: [mtls, oauth2], flow: authorization_code }
apis:
`
  const directory = t.testdir({
    'policies.yaml': before + apis,
    'server.pem': server.certificatePem,
    'server.key': server.keyPem,
    'ca.pem': authority.certificatePem,
  })
  const loaded = await loadAndSend(`${directory}/policies.yaml`, {})
  const offset = before.split('\n').length - 1
  const lines = (problems: readonly Problem[]) =>
    problems.map(({ line, message }) => `${line - offset}: ${message}`)
  return 'settings' in loaded
    ? { configuration: loaded as Configuration, problems: [], warnings: lines(loaded.warnings) }
    : { configuration: null, problems: lines(loaded), warnings: [] }
}

const ONE = (settings: string, key = 'GET /{consentId}') =>
  `  - { name: A, base: /a, scopes: none, routes: { "${key}": ${settings} } }\n`

t.test('the rules of a route are what the policy says', async t => {
  const { configuration, problems } = await load(t, {
    apis: ONE(`{
      claims: {
        fdxConsentId: { equals: path.consentId, otherwise: 404, appliesTo: authorization_code },
        tenant: [{ in: [acme, 5] }, { equals: { value: path.x } }],
        authorization_details: { type: fdx_v1.0, where: { resources: { some: { id: { equals: path.consentId } } } } }
      },
      acr: [gold, silver], maxAuthAge: 5m,
      certificates: [{ commonName: a, dns: A.Example }, { subject: "c=US, cn=x" }]
    }`),
  })
  t.same(problems, [])
  const route = configuration?.routes.routes[0]
  t.same(route?.token?.claims, [
    {
      claim: 'fdxConsentId',
      test: { equals: { from: 'path', parameter: 'consentId' } },
      appliesTo: ['authorization_code'],
      otherwise: 404,
    },
    {
      claim: 'tenant',
      test: {
        in: [
          { from: 'policy', value: 'acme' },
          { from: 'policy', value: 5 },
        ],
      },
      appliesTo: null,
      otherwise: 403,
    },
    {
      claim: 'tenant',
      test: { equals: { from: 'policy', value: 'path.x' } },
      appliesTo: null,
      otherwise: 403,
    },
    {
      claim: 'authorization_details',
      test: {
        some: [
          { member: 'type', test: { equals: { from: 'policy', value: 'fdx_v1.0' } } },
          {
            member: 'resources',
            test: { some: [{ member: 'id', test: { equals: { from: 'path', parameter: 'consentId' } } }] },
          },
        ],
      },
      appliesTo: null,
      otherwise: 403,
    },
  ])
  t.same(route?.token?.stepUp, { acr: ['gold', 'silver'], maxAuthAgeSeconds: 300 })
  t.same(route?.certificates, [
    [
      { field: 'commonName', is: 'a' },
      { field: 'dns', is: 'a.example' },
    ],
    [{ field: 'subject', is: 'C=US,CN=x' }],
  ])
})

t.test('a rule that could not work is a problem at its line', async t => {
  const cases: [string, RegExp][] = [
    [
      '{ claims: { a: { equals: path.consentID } } }',
      /^1: the path of "GET \/\{consentId\}" has no parameter \{consentID\}/,
    ],
    ['{ claims: { a: { type: t, where: { b: { includes: path.x } } } } }', /^1: .*no parameter \{x\}/],
    ['{ claims: { a: { equals: certificate.subjekt } } }', /^1: "equals" must name a fact of the request/],
    ['{ claims: { a: { equals: client.name } } }', /^1: "equals" must name a fact of the request/],
    ['{ claims: { a: { equals: x, exists: true } } }', /^1: "a" must ask exactly one thing/],
    ['{ claims: { a: { otherwise: 404 } } }', /^1: "a" must ask exactly one thing/],
    ['{ claims: { a: { equals: x, otherwise: 401 } } }', /^1: "otherwise" must be 403 or 404/],
    ['{ claims: { a: { equels: x } } }', /^1: "equels" is not a setting here/],
    ['{ claims: {} }', /^1: "claims" asks for nothing/],
    ['{ claims: { a: { some: {} } } }', /^1: "some" asks for nothing/],
    ['{ claims: { a: { exists: true, where: { b: { exists: true } } } } }', /^1: "where" belongs to type/],
    ['{ claims: { a: { exists: true, appliesTo: client_credentials } } }', /^1: the rule would never apply/],
    [
      '{ security: [oauth2], claims: { a: { equals: certificate.spki } } }',
      /^1: certificate.spki is never there/,
    ],
    ['{ security: [mtls], acr: gold }', /^1: "acr" has no meaning here: the route asks for no token/],
    ['{ flow: client_credentials, maxAuthAge: 5m }', /^1: no token passes/],
    ['{ acr: "a b" }', /^1: "acr" must be an acr value/],
    ['{ certificates: [] }', /^1: "certificates" has no entries/],
    ['{ certificates: [{}] }', /^1: entry 1 of "certificates" would fit every certificate/],
    ['{ certificates: [{ commonNam: a }] }', /^1: "commonNam" is not a setting here/],
    ['{ certificates: [{ subject: client-a }] }', /^1: "subject" must be a subject as RFC 4514 writes it/],
    ['{ certificates: [{ spki: sha256 }] }', /^1: "spki" must be a SHA-256 in base64/],
    ['{ certificates: [{ dns: client.id }] }', /^1: "dns" cannot be client.id/],
    ['{ security: [oauth2], certificates: [{ dns: a }] }', /^1: "certificates" has no meaning here/],
  ]
  for (const [settings, problem] of cases) {
    const { problems } = await load(t, { apis: ONE(settings) })
    t.ok(
      problems.some(line => problem.test(line)),
      `${settings}: ${problems}`,
    )
  }
})

t.test('a rule of the API must fit every route of it', async t => {
  const { problems } = await load(t, {
    apis: `  - name: A
    base: /a
    scopes: none
    claims: { fdxConsentId: { equals: path.consentId } }
    routes:
      GET /{consentId}: {}
      GET /all: {}
      GET /open: { claims: none }
`,
  })
  t.same(problems, ['4: the path of "GET /all" has no parameter {consentId}'])
})

t.test('what a route takes from its API by having rules of its own is said', async t => {
  const { warnings } = await load(t, {
    apis: `  - name: A
    base: /a
    scopes: none
    claims: { tenant: { equals: acme } }
    routes:
      GET /{consentId}: { claims: { fdxConsentId: { equals: path.consentId } } }
      GET /none: { claims: none }
`,
  })
  t.same(warnings, ['6: the rule of the API on tenant does not count here: these claims replace it'])
})

t.test('with self-made certificates only pins say who a client is', async t => {
  const pin = `${'A'.repeat(43)}=`
  const ask = (apis: string) => load(t, { apis, trust: 'possession' })
  t.match((await ask(ONE('{ certificates: [{ commonName: a }] }'))).problems[0], /^1: with trust: possession/)
  t.match(
    (await ask(ONE('{ claims: { a: { equals: certificate.dns } } }'))).problems[0],
    /^1: with trust: possession/,
  )
  t.same((await ask(ONE(`{ certificates: [{ commonName: a, spki: ${pin} }] }`))).problems, [])
})

t.test('with self-made certificates a certificate alone lets nobody in', async t => {
  const { problems } = await load(t, {
    trust: 'possession',
    apis: '  - { name: M, base: /m, security: [mtls], routes: { GET /1: {} } }\n',
  })
  t.match(problems[0], /^1: with trust: possession "GET \/1" lets in everybody/)
})

t.test('experimental presets are said to be so', async t => {
  const ofPreset = async (preset: string) =>
    (await load(t, { apis: ONE('{}'), issuer: `{ preset: ${preset} }` })).warnings.filter(line =>
      /experimental/.test(line),
    )
  t.same(await ofPreset('rfc9068'), [])
  for (const preset of ['keycloak', 'auth0', 'okta', 'entra', 'hydra', 'wso2', 'forgerock'])
    t.equal((await ofPreset(preset)).length, 1, preset)
})

t.test('clients of an issuer and their certificates', async t => {
  const issuer = (clients: string) => `{ preset: rfc9068 }\n    clients: ${clients}`
  const { configuration } = await load(t, {
    apis: ONE('{}'),
    issuer: issuer(
      '{ acme: { certificates: [{ commonName: a }] }, free: { certificates: any }, "*": { certificates: [{ uri: client.id }] } }',
    ),
  })
  const clients = configuration?.settings.issuers.get('main')?.rules.clients
  t.same([...(clients?.byClientId.keys() ?? [])], ['acme', 'free'])
  t.equal(clients?.byClientId.get('free'), 'any')
  t.same(clients?.others, [[{ field: 'uri', is: CLIENT_ID }]])
  const unused = await load(t, {
    apis: ONE('{ security: [oauth2] }'),
    issuer: issuer('{ acme: { certificates: any } }'),
  })
  t.match(unused.warnings.join('\n'), /its clients are never compared/)
  const empty = await load(t, { apis: ONE('{}'), issuer: issuer('{ acme: {} }') })
  t.match(empty.problems[0], /"certificates" is missing in "acme"/)
})

t.test('relaxed paths are pointed out, once for each place, and reach every route below it', async t => {
  const { configuration, warnings } = await load(t, {
    apis: `  - name: A
    base: /a
    scopes: none
    paths: { semicolon: allow }
    routes:
      GET /{x}: {}
      GET /{x}/y: { paths: { encodedSlash: allow, semicolon: refuse } }
      GET /{x}/z: { paths: {} }
`,
  })
  t.match(warnings, [/^4: semicolon is allowed: /, /^7: encodedSlash is allowed: /])
  t.equal(warnings.length, 2)
  t.same(
    configuration?.routes.routes.map(({ paths }) => paths),
    [['semicolon'], ['encodedSlash'], []],
    'what the nearest place says counts as a whole',
  )
})

t.test('a claim rule on the path and a relaxation that changes values contradict each other', async t => {
  const claims = 'claims: { sub: { equals: path.consentId } }'
  for (const key of ['encodedSlash', 'semicolon', 'encodedPercent'])
    t.match((await load(t, { apis: ONE(`{ ${claims}, paths: { ${key}: allow } }`) })).problems, [
      new RegExp(
        `^1: a claim rule of "GET /{consentId}" compares a path parameter with sub, and with ${key}`,
      ),
    ])
  for (const paths of ['{ encodedUnreserved: allow }', '{ semicolon: refuse }', '{}'])
    t.ok((await load(t, { apis: ONE(`{ ${claims}, paths: ${paths} }`) })).configuration, paths)
  const elsewhere = 'claims: { sub: { equals: client.id } }'
  t.ok((await load(t, { apis: ONE(`{ ${elsewhere}, paths: { semicolon: allow } }`) })).configuration)
})

t.test('templates stay without what paths may be allowed to hold', async t => {
  for (const [template, held] of [
    ['/a;v', 'semicolon'],
    ['/a%2Fb', 'encodedSlash'],
    ['/%61', 'encodedUnreserved'],
    ['/%2561', 'encodedPercent'],
  ])
    t.match((await load(t, { apis: ONE(`{ paths: { ${held}: allow } }`, `GET ${template}`) })).problems, [
      new RegExp(`holds ${held}, which .paths. can allow in parameters only`),
    ])
})
