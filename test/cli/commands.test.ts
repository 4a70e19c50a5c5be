import { execFile } from 'node:child_process'
import { randomUUID, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { type Evidence, type Explanation, explainRequest } from '../../src/cli/explain-request.js'
import { coloured } from '../../src/cli/output.js'
import { loadConfiguration } from '../../src/config/load.js'
import type { DenialCode } from '../../src/decision/denials.js'
import { thumbprintOf } from '../../src/request/certificate-facts.js'
import { createAuthority, type Issued } from '../support/pki.js'
import { ask, HOST, type Identity, MAIN, startCounting, startPostern } from '../support/postern.js'
import { ROOT } from '../support/root.js'
import { encode, newSigningKey, type Overrides, signToken } from '../support/token-issuer.js'

// The commands as people and pipelines use them (DESIGN section 5): the real bin, its output and its exit code.

const directory = t.testdir()
const inDirectory = (name: string) => join(directory, name)
const write = (name: string, text: string) => {
  writeFileSync(inDirectory(name), text)
  return inDirectory(name)
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Everything that a command has written, for colours that should not be there. */
let written = ''

/** Runs `postern` in the directory of this test, or in another, into a pipe. */
function postern(
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
  cwd = directory,
): Promise<Ended> {
  const { POSTERN_CONFIG: _, NO_COLOR: __, FORCE_COLOR: ___, ...inherited } = process.env
  return new Promise(resolve => {
    const env = { ...inherited, TERM: 'xterm-256color', COLORTERM: 'truecolor', ...environment }
    execFile(process.execPath, [MAIN, ...args], { env, cwd, timeout: 30_000 }, (problem, stdout, stderr) => {
      written += stdout + stderr
      const code = problem === null ? 0 : typeof problem.code === 'number' ? problem.code : -1
      resolve({ code, stdout, stderr })
    })
  })
}

/** A few at a time: every one is a process. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const one = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all([one(), one(), one()])
}

// One set of certificates, one policy and one process for all tests.

const certs = await postern(['certs', 'certs'])
if (certs.code !== 0) throw new Error(certs.stderr)
const pem = (name: string) => readFileSync(inDirectory(`certs/${name}`), 'utf8')
const identity = (name: string): Identity & { readonly thumbprint: string } => {
  const certificatePem = pem(`${name}.pem`)
  const thumbprint = thumbprintOf(new X509Certificate(certificatePem).raw)
  return { certificatePem, keyPem: pem(`${name}.key`), thumbprint }
}
const [client, otherClient] = [identity('client'), identity('other-client')]
const [key, otherKey] = [newSigningKey('ES256'), newSigningKey('ES256')]
write('jwks.json', JSON.stringify({ keys: [key.jwk] }))
write('other-jwks.json', JSON.stringify({ keys: [otherKey.jwk] }))

const counting = await startCounting()
const issuer = (name: string, keys: string) => `  ${name}:
    issuer: https://${name}.example
    audience: [https://${HOST}]
    algorithms: [ES256]
    keys: { file: ${keys} }
    maxLifetime: 15m
    flow: { preset: rfc9068 }
`
const POLICY = `version: 1
server:
  listen: \${LISTEN:-127.0.0.1:0}
  publicUrl: https://${HOST}
  tls:
    profile: fapi1-advanced
    certificates: [{ cert: certs/server.pem, key: certs/server.key }]
    clients: { trust: pki, ca: [certs/client-ca.pem] }
admin: { listen: '\${ADMIN:-127.0.0.1:0}' }
issuers:
${issuer('main', 'jwks.json')}${issuer('other', 'other-jwks.json')}upstreams:
  provider: { url: ${counting.url} }
defaults: { upstream: provider, issuer: main, errors: fdx }
apis:
  - name: Accounts
    base: /accounts
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { any: [basic, detailed] } }
      GET /{id}/contact: { scopes: { all: [contact], optional: [personal] } }
      GET /{id}/shared: { scopes: none, issuer: [main, other] }
  - name: Events
    base: /events
    security: [oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: { all: [events] } }
  - name: Machines
    base: /machines
    security: [mtls]
    routes:
      GET /{id}: { paths: { encodedSlash: allow, semicolon: allow } }
  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
      POST /{path...}: {}
`
/** What is served of it by RFC 9728, for APIs with tokens. */
const METADATA = ['', '/accounts', '/events'].map(base => `/.well-known/oauth-protected-resource${base}`)
const live = await startPostern({ write }, POLICY)
t.teardown(async () => {
  await live.stop()
  counting.close()
})

const now = Math.floor(Date.now() / 1000)
const claimsOf = (claims: Overrides = {}): Overrides => ({
  iss: 'https://main.example',
  sub: 'jane',
  aud: `https://${HOST}`,
  client_id: 'data-recipient',
  iat: now,
  exp: now + 600,
  jti: randomUUID(),
  scope: 'basic',
  cnf: { 'x5t#S256': client.thumbprint },
  ...claims,
})
const tokenOf = (claims: Overrides = {}, header: Overrides = {}, by = key) =>
  signToken(claimsOf(claims), { alg: 'ES256', typ: 'at+jwt', kid: by.kid, ...header }, by.privateKey)

// Help

t.test('help leads with what people copy: examples before everything else', async t => {
  const overview = await postern(['--help'])
  t.equal(overview.code, 0)
  t.equal(overview.stderr, '')
  t.ok(overview.stdout.indexOf('Examples:') < overview.stdout.indexOf('Commands:'))
  const commands = [...(overview.stdout.split('Commands:')[1] ?? '').matchAll(/^ {2}(\w+) {2}/gm)].map(
    ([, name]) => String(name),
  )
  t.strictSame(commands.toSorted(), ['certs', 'check', 'explain', 'healthcheck', 'schema', 'serve'])
  await each([[], ['help']], async args => {
    t.strictSame(await postern(args), overview)
  })

  await each(commands, async name => {
    const help = await postern([name, '--help'])
    t.equal(help.code, 0, name)
    t.equal(help.stderr, '', name)
    t.ok(help.stdout.startsWith(`postern ${name}: `), name)
    const [examples, usage, options] = ['Examples:', 'Usage: ', 'Options:'].map(word =>
      help.stdout.indexOf(word),
    )
    t.ok(Number(examples) > 0 && Number(examples) < Number(usage), `${name}: examples, then usage`)
    t.ok(Number(options) === -1 || Number(options) > Number(usage), name)
    const words = help.stdout.slice(Number(usage)).split('\n')[0] as string
    for (const [, option] of words.matchAll(/--(\w+)/g))
      t.match(
        help.stdout.slice(Number(options)),
        new RegExp(`--${option} `),
        `${name}: ${option} is explained`,
      )
    if (name === 'check') t.strictSame(await postern(['help', name]), help)
  })
})

t.test('the version is that of the package', async t => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  t.strictSame(await postern(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

t.test('what cannot be understood ends with 2, says why on stderr, and prints nothing to stdout', async t => {
  const wrong: [args: string[], words: RegExp][] = [
    [['chek'], /no command "chek"\n.*serve, check, explain, certs, schema, healthcheck\n.*postern --help/],
    [['help', 'chek'], /no command "chek"/],
    [['help', 'toString'], /no command "toString"/],
    [['check', '--jsn'], /'--jsn'[\s\S]*postern check --help/],
    [['check', 'policies.yaml'], /number of arguments[\s\S]*usage: postern check/],
    [['check', '-c'], /-c/],
    [['explain', 'GET', '/a', '--at', 'later'], /--at later is no time\n.*2026-12-01T00:00:00Z/],
    [['explain', 'GET', '/a', '--token', 'x', '--claims', 'y'], /exclude each other/],
    [['explain', 'GET', '/a', '--token', 'missing.txt'], /missing\.txt/],
    [['explain', 'GET', '/a', '--claims', write('list.json', '[1]')], /no JSON object/],
    [['explain', 'GET', '/a', '--cert', 'jwks.json'], /no certificate/],
  ]
  await each(wrong, async ([args, words]) => {
    const { code, stdout, stderr } = await postern(args)
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '', args.join(' '))
    t.match(stderr, words)
    t.notMatch(stderr, /\n {4}at /, 'no stack')
  })
})

// check

t.test('check shows the routes of a good policy as a table', async t => {
  const { code, stdout, stderr } = await postern(['check'], { NO_COLOR: '1' })
  t.equal(code, 0)
  const [table = '', relaxed, metadata] = stdout.trimEnd().split('\n\n')
  const [head = '', ...rows] = table.split('\n')
  t.match(head, /^METHOD +PATH +SECURITY +PROFILE +FLOW +SCOPES +UPSTREAM$/)
  t.equal(rows.length, 7)
  const column = head.indexOf('SCOPES')
  t.equal(rows[1]?.slice(column).split(/ {2,}/)[0], 'contact (optional: personal)')
  t.match(
    rows[0],
    /^GET +\/accounts\/\{id\} +mtls \+ oauth2 +custom +authorization_code +one of basic, detailed +provider$/,
  )
  t.match(rows[4], /^GET +\/machines\/\{id\} +mtls +custom +- +- +provider$/)
  t.match(rows[5], /^GET +\/open\/\{path\.\.\.\} +public /)
  t.equal(
    relaxed,
    'paths with more than one reading\n  GET /machines/{id}: encodedSlash, semicolon',
    'what is relaxed, and where',
  )
  t.equal(
    metadata,
    ['metadata (RFC 9728)', ...METADATA.map(path => `  ${path}`)].join('\n'),
    'what Postern answers itself',
  )
  t.match(stderr, /warning policies\.yaml:\d+:\d+ /)
  t.match(stderr, /warning policies\.yaml:\d+:\d+ encodedSlash is allowed: .*%2F.*\n +keep it to the routes/)
  t.match(stderr, /7 routes, policy [0-9a-f]{12}\n$/)
})

t.test('check --json has the keys that were promised', async t => {
  const { code, stdout } = await postern(['check', '--json', '-c', inDirectory('policies.yaml')], {}, ROOT)
  t.equal(code, 0)
  const result = JSON.parse(stdout)
  t.equal(result.ok, true)
  t.strictSame(result.problems, [])
  t.equal(result.routes.length, 7)
  t.strictSame(
    result.metadata.map(({ path }: { path: string }) => path),
    METADATA,
  )
  const keys = [
    ...['id', 'method', 'template', 'api', 'security', 'flow', 'scopes', 'upstream', 'mode'],
    ...['profile', 'headers', 'paths'],
  ]
  for (const route of result.routes) t.strictSame(Object.keys(route), keys)
  t.strictSame(result.routes[1], {
    id: 'GET /accounts/{id}/contact',
    method: 'GET',
    template: '/accounts/{id}/contact',
    api: 'Accounts',
    security: ['mtls', 'oauth2'],
    flow: ['authorization_code'],
    scopes: { any: [], all: ['contact'], optional: ['personal'] },
    upstream: 'provider',
    mode: 'enforce',
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
  })
  t.strictSame(result.routes[4].paths, ['encodedSlash', 'semicolon'])
})

t.test('check reads the policy that the environment names; -c comes before it', async t => {
  write('small.yaml', POLICY.replace(/ {2}- name: Machines[\s\S]*$/, ''))
  const routes = async (args: string[], environment: NodeJS.ProcessEnv) =>
    JSON.parse((await postern(['check', '--json', ...args], environment)).stdout).routes.length
  t.equal(await routes([], { POSTERN_CONFIG: 'small.yaml' }), 4)
  t.equal(await routes(['-c', 'policies.yaml'], { POSTERN_CONFIG: 'small.yaml' }), 7)
})

t.test('check tells every problem of a bad policy at once, each with its place and what to do', async t => {
  write(
    'bad.yaml',
    POLICY.replace('certs/server.key', 'certs/missing.key')
      .replace('algorithms: [ES256]', 'algorithms: [HS256]')
      .replace('scopes: { any: [basic, detailed] }', 'scopes: { any: [basic], some: [x] }')
      .replace('issuer: main', 'issuer: mian'),
  )
  const { code, stdout, stderr } = await postern(['check', '-c', 'bad.yaml'])
  t.equal(code, 78)
  t.equal(stdout, '')
  const places = [...stderr.matchAll(/^bad\.yaml:(\d+):(\d+) .+\n {4}\S/gm)]
  t.ok(places.length >= 4, stderr)
  t.match(stderr, new RegExp(`${places.length} problems; nothing was loaded\n$`))
  const lines = readFileSync(inDirectory('bad.yaml'), 'utf8').split('\n')
  for (const word of ['missing.key', 'HS256', 'some', 'mian'])
    t.ok(
      places.some(([, line, column]) => lines[Number(line) - 1]?.slice(Number(column) - 1).includes(word)),
      `${word} is pointed at`,
    )

  const json = await postern(['check', '-c', 'bad.yaml', '--json'])
  t.equal(json.code, 78)
  const result = JSON.parse(json.stdout)
  t.match(result, { ok: false, routes: [] })
  t.equal(result.problems.length, places.length)
  for (const problem of result.problems)
    t.strictSame(Object.keys(problem).toSorted(), ['column', 'file', 'hint', 'line', 'message'])
})

t.test('a policy that is not there, or is no YAML, ends with 78', async t => {
  write('broken.yaml', 'version: 1\nserver: {')
  await each(
    [
      ['check', '-c', 'nowhere.yaml'],
      ['serve', '-c', 'nowhere.yaml'],
      ['explain', 'GET', '/a', '-c', 'nowhere.yaml'],
      ['check', '-c', 'broken.yaml'],
    ],
    async args => {
      const { code, stderr } = await postern(args)
      t.equal(code, 78, args.join(' '))
      t.match(stderr, /(?:nowhere|broken)\.yaml:\d+:\d+ /, args.join(' '))
    },
  )
})

// explain

t.test('explain shows the route, each check with the fact that it rests on, and the verdict', async t => {
  const [token, cert] = [write('token.txt', `${tokenOf()}\n`), write('client.pem', client.certificatePem)]
  const good = await postern(['explain', 'GET', '/accounts/1', '--token', token, '--cert', cert])
  t.equal(good.code, 0)
  t.match(
    good.stdout,
    /^path {5}\/accounts\/1\nroute {4}GET \/accounts\/\{id\}\nwants {4}authorization_code; scopes: one of basic, detailed; binding required\n/,
  )
  for (const check of [
    'request',
    'route',
    'credentials',
    'certificate',
    'token',
    'signature',
    'audience',
    'claims',
    'time',
    'lifetime',
    'binding',
    'flow',
    'scopes',
  ])
    t.match(good.stdout, new RegExp(`^✓ +${check} +\\S`, 'm'), check)
  t.match(good.stdout, /\nallowed\n$/)
  t.equal(good.stderr, '')
  // Not even here is a token printed.
  t.notMatch(good.stdout, /eyJ/)

  const denied = await postern(['explain', 'GET', '/accounts/1/contact', '--token', token, '--cert', cert])
  t.equal(denied.code, 0)
  t.match(denied.stdout, /^✗ +scopes +scope_insufficient: lacks contact$/m)
  t.match(denied.stdout, /\ndenied {2}403 scope_insufficient: \S/)
})

t.test(
  'explain --json has the keys that were promised, and every check, with the code of the first that fails',
  async t => {
    const claims = write('claims.json', JSON.stringify(claimsOf({ scope: 'other', sub: 'data-recipient' })))
    const cert = write('other.pem', otherClient.certificatePem)
    const { code, stdout } = await postern([
      'explain',
      'GET',
      '/accounts/1?x=y',
      '--claims',
      claims,
      '--cert',
      cert,
      '--json',
    ])
    t.equal(code, 0)
    const result = JSON.parse(stdout)
    t.strictSame(Object.keys(result), ['path', 'route', 'outcome', 'code', 'status', 'checks'])
    t.match(result, {
      path: '/accounts/1',
      route: 'GET /accounts/{id}',
      outcome: 'denied',
      code: 'binding_mismatch',
      status: 401,
    })
    const failed = result.checks.filter(({ pass }: { pass: boolean }) => !pass)
    t.strictSame(
      failed.map(({ check, fact }: { check: string; fact: string }) => [check, fact.split(':')[0]]),
      [
        ['binding', 'binding_mismatch'],
        ['flow', 'flow_not_allowed'],
        ['scopes', 'scope_insufficient'],
      ],
    )
    for (const check of result.checks) t.strictSame(Object.keys(check), ['check', 'pass', 'fact'])
  },
)

t.test('explain names what a path holds, and the route that allows it or does not', async t => {
  const factsOf = async (path: string) => {
    const { stdout } = await postern(['explain', 'GET', path, '--cert', 'certs/client.pem', '--json'])
    const { checks, code } = JSON.parse(stdout)
    const factOf = (name: string) => checks.find(({ check }: { check: string }) => check === name)?.fact
    return [code, factOf('request'), factOf('route')]
  }
  t.strictSame(await factsOf('/machines/1%2F2'), [
    null,
    'one reading where a route allows encodedSlash',
    'GET /machines/{id} of Machines, id=1%2F2, allows encodedSlash, semicolon in paths',
  ])
  t.strictSame(await factsOf('/accounts/1%2F2'), [
    'path_ambiguous',
    'one reading where a route allows encodedSlash',
    'path_ambiguous: GET /accounts/{id} does not allow encodedSlash in paths',
  ])
  t.strictSame(await factsOf('/machines/1'), [
    null,
    'one reading',
    'GET /machines/{id} of Machines, id=1, allows encodedSlash, semicolon in paths',
  ])
})

t.test('explain can judge at another time', async t => {
  const claims = write('today.json', JSON.stringify(claimsOf()))
  const cert = write('client.pem', client.certificatePem)
  const at = async (time: number) => {
    const args = ['--claims', claims, '--cert', cert, '--at', new Date(time * 1000).toISOString(), '--json']
    return JSON.parse((await postern(['explain', 'GET', '/accounts/1', ...args])).stdout).code
  }
  t.equal(await at(now + 60), null)
  t.equal(await at(now + 3600), 'token_expired')
  t.equal(await at(now - 60), 'token_not_yet_valid')
})

t.test('explain says what the running process says', async t => {
  const strangers = await createAuthority('Strangers CA')
  const stranger: Issued = await strangers.issue({ commonName: 'data-recipient' })
  const trust = { serverCa: { certificatePem: pem('ca.pem') } }
  const configuration = await loadConfiguration(inDirectory('policies.yaml'), {})
  if (!('settings' in configuration)) throw new Error('the policy does not load')
  const machine = { sub: 'data-recipient', scope: 'events', cnf: undefined }
  const [header, payload] = tokenOf().split('.') as [string, string]

  interface Row {
    readonly path?: string
    readonly method?: string
    readonly token?: string
    readonly by?: Identity | null
  }
  const table: readonly (readonly [what: string, code: DenialCode | null, row: Row])[] = [
    ['good', null, { token: tokenOf() }],
    ['good, with a query', null, { token: tokenOf(), path: '/accounts/1?a=b' }],
    ['no token', 'credentials_missing', {}],
    ['neither token nor certificate', 'credentials_missing', { by: null }],
    ['no certificate', 'certificate_missing', { token: tokenOf(), by: null }],
    ['a certificate of strangers', 'certificate_untrusted', { token: tokenOf(), by: stranger }],
    ['the wrong certificate', 'binding_mismatch', { token: tokenOf(), by: otherClient }],
    ['an unbound token', 'binding_missing', { token: tokenOf({ cnf: undefined }) }],
    ['a DPoP token where a certificate binds', 'binding_missing', { token: tokenOf({ cnf: { jkt: 'x' } }) }],
    [
      'a DPoP token without a proof',
      'proof_missing',
      { path: '/events/1', token: tokenOf({ ...machine, cnf: { jkt: 'x' } }) },
    ],
    ['the wrong scope', 'scope_insufficient', { token: tokenOf({ scope: 'contact' }) }],
    ['the wrong flow', 'flow_not_allowed', { token: tokenOf({ sub: 'data-recipient' }) }],
    ['conflicting evidence', 'flow_unknown', { token: tokenOf({ sub: 'data-recipient', acr: '1' }) }],
    ['expired', 'token_expired', { token: tokenOf({ iat: now - 900, exp: now - 600 }) }],
    ['not yet valid', 'token_not_yet_valid', { token: tokenOf({ nbf: now + 300 }) }],
    ['too long a life', 'token_lifetime_too_long', { token: tokenOf({ exp: now + 1000 }) }],
    ['another audience', 'token_audience_wrong', { token: tokenOf({ aud: 'https://else.example' }) }],
    ['no jti', 'token_claim_missing', { token: tokenOf({ jti: undefined }) }],
    ['another type', 'token_type_wrong', { token: tokenOf({}, { typ: 'JWT' }) }],
    ['another algorithm', 'token_algorithm_not_allowed', { token: tokenOf({}, { alg: 'none' }) }],
    ['another issuer', 'token_issuer_unknown', { token: tokenOf({ iss: 'https://else.example' }) }],
    [
      'another issuer and another algorithm',
      'token_algorithm_not_allowed',
      { token: tokenOf({ iss: 'https://else.example' }, { alg: 'none' }) },
    ],
    [
      'the same where two issuers count',
      'token_issuer_unknown',
      { token: tokenOf({ iss: 'https://else.example' }, { alg: 'none' }), path: '/accounts/1/shared' },
    ],
    [
      'no issuer where two count',
      'token_issuer_unknown',
      { token: tokenOf({ iss: undefined }), path: '/accounts/1/shared' },
    ],
    [
      'the second of two issuers',
      null,
      { token: tokenOf({ iss: 'https://other.example' }, {}, otherKey), path: '/accounts/1/shared' },
    ],
    [
      'the key of the other issuer',
      'token_signature_invalid',
      { token: tokenOf({}, {}, otherKey), path: '/accounts/1/shared' },
    ],
    ['another signature', 'token_signature_invalid', { token: `${header}.${payload}.${'A'.repeat(86)}` }],
    ['half a token', 'token_malformed', { token: `${header}.${payload}` }],
    ['an encrypted token', 'token_malformed', { token: `${encode('{"alg":"dir"}')}..AA.AA.AA` }],
    ['a token of 17 KiB', 'token_malformed', { token: tokenOf({ pad: 'x'.repeat(13_000) }) }],
    [
      'two parts of a token in the query',
      'credentials_multiple',
      { token: tokenOf(), path: '/accounts/1?access_token=x' },
    ],
    ['a token in the query', 'credentials_malformed', { path: '/accounts/1?access_token=x' }],
    ['an ambiguous path', 'path_ambiguous', { token: tokenOf(), path: '/accounts/%2e%2e/accounts/1' }],
    ['a semicolon where none is allowed', 'path_ambiguous', { path: '/accounts/1;x' }],
    ['a semicolon where no route is', 'path_ambiguous', { path: '/nothing;x' }],
    ['a semicolon where it is allowed', null, { path: '/machines/1;x' }],
    ['an encoded slash where it is allowed', null, { path: '/machines/1%2F2' }],
    ['a letter as an escape where it is not allowed', 'path_ambiguous', { path: '/machines/%61' }],
    ['a dot segment behind what is allowed', 'path_ambiguous', { path: '/machines/..;x' }],
    ['a broken query', 'request_malformed', { token: tokenOf(), path: '/accounts/1?%' }],
    ['no such path', 'route_unknown', { token: tokenOf(), path: '/accounts' }],
    ['no such method', 'method_not_allowed', { token: tokenOf(), method: 'DELETE' }],
    ['a public route', null, { path: '/open/a/b', by: null }],
    ['a route for certificates', null, { path: '/machines/1' }],
    ['a route for certificates, without one', 'certificate_missing', { path: '/machines/1', by: null }],
    ['a route for tokens', null, { path: '/events/1', token: tokenOf(machine), by: null }],
    [
      'a bound token without its certificate',
      'binding_mismatch',
      { path: '/events/1', token: tokenOf({ ...machine, cnf: { 'x5t#S256': client.thumbprint } }), by: null },
    ],
    [
      'a bound token with a certificate of strangers',
      'certificate_untrusted',
      {
        path: '/events/1',
        token: tokenOf({ ...machine, cnf: { 'x5t#S256': stranger.thumbprint } }),
        by: stranger,
      },
    ],
  ]
  const answered: [what: string, interactionId: string, Explanation][] = []
  for (const [what, code, { path = '/accounts/1', method = 'GET', token, by = client }] of table) {
    const interactionId = randomUUID()
    const { status } = await ask(trust, live, {
      method,
      path,
      tls: { servername: 'localhost' },
      headers: { 'x-fapi-interaction-id': interactionId },
      ...(token !== undefined && { token }),
      ...(by !== null && { client: by }),
    })
    const evidence: Evidence = {
      token: token ?? null,
      claims: null,
      certificate: by === null ? null : new X509Certificate(by.certificatePem),
      proof: null,
    }
    const explained = await explainRequest(configuration, method, path, evidence, Date.now() / 1000)
    t.equal(explained.code, code, `${what}: explain`)
    t.equal(explained.outcome, code === null ? 'allowed' : 'denied', what)
    t.equal(status === 200, code === null, `${what}: ${status}`)
    answered.push([what, interactionId, explained])
  }
  // The log is written with a delay, so it is read once all is done.
  for (const [what, id, { code, route, path }] of answered) {
    const line = await live.logged(({ interactionId }) => interactionId === id)
    t.strictSame([line.code ?? null, line.route, line.path], [code, route, path], `${what}: the process`)
  }
})

// schema, certs, serve, healthcheck

t.test('schema prints a JSON Schema that editors understand', async t => {
  const { code, stdout, stderr } = await postern(['schema'])
  t.equal(code, 0)
  t.equal(stderr, '')
  const schema = JSON.parse(stdout)
  t.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#')
  t.strictSame(
    ['version', 'server', 'issuers', 'upstreams', 'defaults', 'apis'].filter(
      key => schema.properties[key] === undefined,
    ),
    [],
  )
})

t.test('certs says what each file is, and never replaces one unasked', async t => {
  t.match(certs.stdout, /^certs\/client\.pem +\S.*$/m)
  t.equal(certs.stdout.trimEnd().split('\n').length, 10)
  t.match(certs.stderr, /development only/)
  const key = pem('ca.key')
  const again = await postern(['certs', 'certs'])
  t.equal(again.code, 1)
  t.match(again.stderr, /exist already[\s\S]*--force/)
  t.equal(pem('ca.key'), key)
})

t.test('a client reaches the API through a process that serves with certificates of certs', async t => {
  const trust = { serverCa: { certificatePem: pem('ca.pem') } }
  const answered = await ask(trust, live, { path: '/open/a', client, tls: { servername: 'localhost' } })
  t.equal(answered.status, 200)
})

t.test('serve ends at once with 1 when its port is taken, and with 78 when the policy is bad', async t => {
  const taken = await postern(['serve'], { LISTEN: `127.0.0.1:${live.port}` })
  t.equal(taken.code, 1)
  t.match(taken.stderr, /EADDRINUSE[\s\S]*server\.listen or admin\.listen/)
  t.equal((await postern(['serve', '-c', 'bad.yaml'])).code, 78)
})

t.test('healthcheck asks the admin server: 0 when ready, 1 when not or when nobody answers', async t => {
  const url = `http://127.0.0.1:${live.adminPort}`
  t.strictSame(await postern(['healthcheck', '--url', url]), { code: 0, stdout: 'ready\n', stderr: '' })
  t.equal((await postern(['healthcheck'], { ADMIN: `127.0.0.1:${live.adminPort}` })).code, 0)

  const unready = createServer((_, response) =>
    response.writeHead(503).end('[-]keys main failed: down\nnot ready\n'),
  )
  unready.listen(0, '127.0.0.1')
  await once(unready, 'listening')
  t.teardown(() => unready.close())
  const { port } = unready.address() as AddressInfo
  const waiting = await postern(['healthcheck', '--url', `http://127.0.0.1:${port}`])
  t.equal(waiting.code, 1)
  t.match(waiting.stderr, /not ready \(503\)\n +\[-\]keys main failed: down/)

  const admin = live.adminPort
  const broken: Readonly<Record<string, string>> = {
    'a setting that nobody knows': `${POLICY}oops: true\n`,
    'a certificate that is gone': POLICY.replace('certs/server.pem', 'certs/gone.pem'),
    'no YAML below': `admin: { listen: '127.0.0.1:${admin}' }\nserver: [[[\n`,
    'no issuers': `version: 1\nadmin: { listen: '127.0.0.1:${admin}' }\n`,
  }
  for (const [what, text] of Object.entries(broken)) {
    const file = write('broken.yaml', text)
    const { code } = await postern(['healthcheck', '-c', file], { ADMIN: `127.0.0.1:${admin}` })
    t.equal(code, 0, `the process serves on with the policy before: ${what}`)
  }
  const none = await postern(['healthcheck', '-c', 'none.yaml', '--url', 'nonsense'])
  t.equal(none.code, 1, 'no other code: Docker knows 0 and 1')

  const silent = await postern(['healthcheck', '--url', 'http://127.0.0.1:1'])
  t.equal(silent.code, 1)
  t.match(silent.stderr, /no answer from http:\/\/127\.0\.0\.1:1/)
})

// Colour

t.test('a pipe gets no colours', async t => {
  t.ok(written.length > 10_000)
  t.notOk(written.includes('\u001b'))
})

t.test('a terminal gets colours unless NO_COLOR is set', async t => {
  const { isTTY } = process.stdout
  const { NO_COLOR, FORCE_COLOR } = process.env
  t.teardown(() => {
    process.stdout.isTTY = isTTY
    for (const [name, value] of Object.entries({ NO_COLOR, FORCE_COLOR }))
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
  })
  process.stdout.isTTY = true
  delete process.env.NO_COLOR
  process.env.FORCE_COLOR = '1'
  t.equal(coloured('red', 'x'), '\u001b[31mx\u001b[39m')
  const [terminal, pipe] = [{ isTTY: true }, { isTTY: false }] as NodeJS.WriteStream[]
  t.equal(coloured('red', 'x', pipe), 'x', 'of each stream by itself')
  process.stdout.isTTY = false
  t.equal(coloured('red', 'x', terminal), '\u001b[31mx\u001b[39m')
  process.stdout.isTTY = true
  process.env.NO_COLOR = '1'
  t.equal(coloured('red', 'x'), 'x')
})
