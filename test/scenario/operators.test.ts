import { randomUUID } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import t from 'tap'
import { METRICS } from '../../src/observe/metric-table.js'
import { UNMATCHED } from '../../src/observe/metrics.js'
import { RS_ID, RS_SECRET, startIntrospectionServer } from '../support/introspection-server.js'
import {
  type Ask,
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  policyText,
  startCounting,
  startPostern,
  USUAL_APIS,
  until,
  untilAsync,
} from '../support/postern.js'
import { checkMetrics, withoutPromtool } from '../support/promtool.js'

// What operators see (DESIGN section 8): metrics, health, log and the end of the process.

/** The public promise, apart from the code that keeps it: names and labels of every metric of our own. */
const PROMISED: Readonly<Record<string, readonly string[]>> = {
  postern_requests_total: ['route', 'method', 'status', 'outcome'],
  postern_denials_total: ['route', 'code'],
  postern_request_duration_seconds: ['route'],
  postern_decision_duration_seconds: [],
  postern_upstream_duration_seconds: ['upstream'],
  postern_upstream_retries_total: ['upstream', 'result'],
  postern_upstream_healthy: ['upstream', 'address'],
  postern_upstream_ejections_total: ['upstream', 'address'],
  postern_requests_in_flight: [],
  postern_connections: [],
  postern_connections_dropped_total: ['limit'],
  postern_token_cache_total: ['result'],
  postern_keys_refresh_total: ['issuer', 'result'],
  postern_keys_last_success_timestamp_seconds: ['issuer'],
  postern_introspection_total: ['issuer', 'result'],
  postern_introspection_duration_seconds: ['issuer'],
  postern_reload_total: ['result'],
  postern_reload_last_success_timestamp_seconds: [],
  postern_policy_info: ['hash'],
  postern_certificate_expiry_timestamp_seconds: ['name'],
  postern_crl_next_update_timestamp_seconds: ['name'],
  postern_workers: [],
  postern_workers_silent: [],
  postern_worker_restarts_total: [],
  postern_build_info: ['version', 'node'],
}

const ROUTES = [
  'GET /accounts/{accountId}',
  'POST /accounts/{accountId}/notes',
  'GET /accounts/{accountId}/contact',
  'GET /accounts/{accountId}/consent',
  'GET /accounts/{accountId}/live',
  'POST /events/subscriptions',
  'GET /events/{eventId}',
  'DELETE /events/{eventId}',
  'GET /partners/{id}',
  'GET /machines/{id}',
  'GET /open/{path...}',
  'POST /open/{path...}',
  'DELETE /open/{path...}',
  'OPTIONS /open/{path...}',
  'GET /asked/{id}',
]

const world = await createWorld()
const counting = await startCounting()
const endpoint = await startIntrospectionServer(world.issuer)
world.write('endpoint-ca.pem', endpoint.caPem)
chmodSync(world.write('secret', RS_SECRET), 0o600)
world.write('clients.crl', await world.clientCa.crl())
const policy = policyText(world, {
  upstream: counting.url,
  clients: '{ trust: pki, ca: [client-ca.pem], crl: [clients.crl] }',
  moreIssuers: `  opaque:
    issuer: https://opaque.example
    audience: [https://${HOST}]
    tokens: opaque
    introspection: { url: "${endpoint.url}", ca: endpoint-ca.pem, auth: { method: client_secret_basic, clientId: "${RS_ID}", clientSecretFile: secret } }
    flow: { preset: rfc9068 }`,
  apis: `${USUAL_APIS}
  - name: Asked
    base: /asked
    security: [oauth2]
    flow: authorization_code
    issuer: opaque
    routes:
      GET /{id}: { scopes: none }
`,
})
const postern = await startPostern(world, policy)
t.teardown(async () => {
  await postern.stop()
  counting.close()
  await endpoint.close()
  await world.close()
})

const token = boundToken(world, world.client, 'authorization_code', { scope: 'basic' })
const good = (more: Ask = {}) => ask(world, postern, { client: world.client, token, ...more })

/** One line of /metrics. */
interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

function parse(text: string): Series[] {
  return text
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => {
      const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
      if (match === null) throw new Error(`not a line of the exposition format: ${line}`)
      const labels = [...(match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
      return {
        name: match[1] as string,
        labels: Object.fromEntries(labels.map(([, name, value]) => [name, value])),
        value: Number(match[3]),
      }
    })
}

const scrape = async () => parse((await postern.admin('/metrics')).text)

/** The value of one series; 0 when it is not there. */
function countOf(
  series: readonly Series[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const found = series.filter(
    one => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  )
  return found.reduce((sum, { value }) => sum + value, 0)
}

// The first test: it counts from zero.
t.test('every request adds one to its counters, under its route, status and outcome', async t => {
  const before = await scrape()
  t.equal(countOf(before, 'postern_requests_total'), 0)
  for (let i = 0; i < 3; i++) t.equal((await good()).status, 200)
  t.equal((await good({ path: '/accounts/2/contact' })).status, 403)
  t.equal((await ask(world, postern)).status, 401)
  t.equal((await ask(world, postern)).status, 401)
  t.equal((await ask(world, postern, { path: '/nothing' })).status, 404)
  t.equal((await ask(world, postern, { path: '/open/a', method: 'PURGE' })).status, 405)
  const raw = await connectRaw(world, postern)
  raw.write('nonsense\r\n\r\n')
  t.equal((await raw.answer()).status, 400)
  raw.destroy()
  // The client can be faster than the books.
  await untilAsync(
    async () => countOf(await scrape(), 'postern_requests_total') === 9,
    () => 'not nine requests',
  )

  const after = await scrape()
  const route = 'GET /accounts/{accountId}'
  const counts: [number, Record<string, string>][] = [
    [3, { route, method: 'GET', status: '200', outcome: 'allowed' }],
    [2, { route, method: 'GET', status: '401', outcome: 'denied' }],
    [1, { route: 'GET /accounts/{accountId}/contact', method: 'GET', status: '403', outcome: 'denied' }],
    [1, { route: UNMATCHED, method: 'GET', status: '404', outcome: 'denied' }],
    [1, { route: UNMATCHED, method: 'other', status: '405', outcome: 'denied' }],
    [1, { route: UNMATCHED, method: 'other', status: '400', outcome: 'denied' }],
  ]
  for (const [count, labels] of counts)
    t.equal(countOf(after, 'postern_requests_total', labels), count, JSON.stringify(labels))
  const denials: [number, Record<string, string>][] = [
    [2, { route, code: 'credentials_missing' }],
    [1, { route: 'GET /accounts/{accountId}/contact', code: 'scope_insufficient' }],
    [1, { route: UNMATCHED, code: 'route_unknown' }],
    [1, { route: UNMATCHED, code: 'method_not_allowed' }],
    [1, { route: UNMATCHED, code: 'request_malformed' }],
  ]
  for (const [count, labels] of denials)
    t.equal(countOf(after, 'postern_denials_total', labels), count, JSON.stringify(labels))
  t.equal(countOf(after, 'postern_denials_total'), 6)
  t.equal(countOf(after, 'postern_request_duration_seconds_count', { route }), 5)
  t.equal(
    countOf(after, 'postern_decision_duration_seconds_count'),
    8,
    'bytes that are no request get no decision',
  )
  t.equal(countOf(after, 'postern_upstream_duration_seconds_count', { upstream: 'provider' }), 3)
  t.equal(countOf(after, 'postern_token_cache_total', { result: 'miss' }), 1)
  t.equal(countOf(after, 'postern_token_cache_total', { result: 'hit' }), 3)
  t.equal(countOf(after, 'postern_keys_refresh_total', { issuer: 'main', result: 'success' }), 1)
  t.equal(countOf(after, 'postern_reload_total', { result: 'success' }), 0, 'the start is no reload')
  const seconds = Date.now() / 1000
  for (const name of ['keys_last_success', 'reload_last_success'])
    t.ok(Math.abs(countOf(after, `postern_${name}_timestamp_seconds`) - seconds) < 300, name)
  t.equal(
    countOf(after, 'postern_certificate_expiry_timestamp_seconds'),
    Date.parse(world.server.certificate.validTo) / 1000,
  )
  t.ok(countOf(after, 'postern_crl_next_update_timestamp_seconds', { name: 'clients.crl' }) > seconds)
})

t.test('requests and connections that are there now are counted now', async t => {
  const usual = counting.respond
  let release = () => {}
  counting.respond = (_, response) => {
    release = () => response.end()
  }
  const arrived = counting.requests.length
  const agent = new TlsAgent({ keepAlive: true })
  const answer = ask(world, postern, { path: '/open/a', agent })
  await until(
    () => counting.requests.length > arrived,
    () => 'the request did not arrive',
  )
  const during = await scrape()
  t.equal(countOf(during, 'postern_requests_in_flight'), 1)
  t.equal(countOf(during, 'postern_connections'), 1)
  release()
  await answer
  counting.respond = usual
  await untilAsync(
    async () => countOf(await scrape(), 'postern_requests_in_flight') === 0,
    () => 'the request never ended',
  )
  t.equal(countOf(await scrape(), 'postern_connections'), 1, 'kept alive')
  agent.destroy()
  await untilAsync(
    async () => countOf(await scrape(), 'postern_connections') === 0,
    () => 'the connection never ended',
  )
})

t.test('names and labels of metrics are those that were promised, no more and no less', async t => {
  t.strictSame(
    Object.fromEntries(Object.values(METRICS).map(({ name, labels }) => [name, [...labels]])),
    PROMISED,
  )
  t.equal((await ask(world, postern, { path: '/asked/1', token: 'opaque-1' })).status, 401)
  const { text } = await postern.admin('/metrics')
  const families = [...text.matchAll(/^# TYPE (postern_\w+) (\w+)$/gm)].map(([, name]) => name)
  t.strictSame(families.toSorted(), Object.keys(PROMISED).toSorted())
  for (const { name, labels } of parse(text)) {
    if (!name.startsWith('postern_')) continue
    const family = PROMISED[name] === undefined ? name.replace(/_(?:bucket|sum|count)$/, '') : name
    const found = Object.keys(labels).filter(label => !(label === 'le' && name.endsWith('_bucket')))
    t.strictSame(found.toSorted(), (PROMISED[family] ?? ['unknown']).toSorted(), name)
  }
  for (const name of Object.keys(PROMISED))
    t.ok(
      parse(text).some(series => series.name.startsWith(name)),
      `${name} has a value`,
    )
  t.match(text, /^process_cpu_seconds_total /m)
  t.match(text, /^nodejs_eventloop_lag_seconds /m)
})

t.test('the routes of metrics are routes of the policy, and a scanner cannot make more of them', async t => {
  const methods = ['GET', 'POST', 'PUT', 'PURGE', 'PROPFIND', 'OPTIONS']
  const probe = async (count: number) => {
    const agent = new TlsAgent({ keepAlive: true, maxSockets: 4 })
    const paths = ['/', '/open/', '/accounts/', '/events/subscriptions/', '/%2e%2e/', '//']
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        ask(world, postern, {
          agent,
          method: methods[index % methods.length] as string,
          path: `${paths[Math.floor(index / methods.length) % paths.length]}${randomUUID()}?${randomUUID()}`,
        }),
      ),
    )
    agent.destroy()
  }
  const seriesNow = async () => (await scrape()).filter(({ name }) => name.startsWith('postern_'))
  await probe(36)
  const before = await seriesNow()
  await probe(200)
  const after = await seriesNow()
  t.equal(after.length, before.length)
  const routes = new Set(after.flatMap(({ labels }) => (labels.route === undefined ? [] : [labels.route])))
  t.strictSame(
    [...routes].filter(route => route !== UNMATCHED && !ROUTES.includes(route)),
    [],
  )
  t.ok(routes.has(UNMATCHED))
  const found = new Set(after.flatMap(({ labels }) => labels.method ?? []))
  t.strictSame(
    [...found].filter(method => !['GET', 'POST', 'PUT', 'OPTIONS', 'other'].includes(method)),
    [],
  )
})

t.test('metrics follow the conventions of Prometheus', async t => {
  const { text } = await postern.admin('/metrics')
  const helps = new Set([...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name))
  for (const [, name = '', type] of text.matchAll(/^# TYPE (\S+) (\w+)$/gm)) {
    t.ok(helps.has(name), `${name} says what it is`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name}: _total is for counters, and only for them`)
    t.notMatch(name, /_(?:bucket|count|sum|gauge|counter|histogram|ms|sec|s|milliseconds|minutes)$/, name)
    t.match(name, /^[a-z][a-z0-9_]*$/, name)
  }
  t.match(await adminHeaders('/metrics'), { 'content-type': /^text\/plain; version=0\.0\.4/ })
})

t.test('promtool has nothing to say about the metrics', { skip: withoutPromtool() }, async t => {
  t.equal(checkMetrics((await postern.admin('/metrics')).text), '')
})

/** A request to the admin server that the harness has no words for. */
function adminAsk(path: string, method: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; headers: Record<string, unknown>; text: string }>(
    (resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port: postern.adminPort,
        path,
        method,
        headers,
        agent: new Agent(),
      }
      const sent = request(options, response => {
        let text = ''
        response.setEncoding('utf8').on('data', chunk => {
          text += chunk
        })
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        )
      })
      sent.on('error', reject).end()
    },
  )
}

async function adminHeaders(path: string) {
  return (await adminAsk(path, 'GET')).headers
}

t.test('health says whether the process lives, is ready, and why', async t => {
  t.match(await postern.admin('/livez'), { status: 200, text: 'ok\n' })
  t.match(await postern.admin('/readyz'), { status: 200, text: 'ok\n' })
  t.match(await postern.admin('/healthz'), { status: 200, text: 'ok\n' })
  const lines = [
    'accepting ok',
    'keys main ok',
    'keys opaque ok',
    'upstream provider 1 of 1 addresses healthy',
  ]
  const verbose = { status: 200, text: `${lines.map(line => `[+]${line}\n`).join('')}ready\n` }
  t.strictSame(await postern.admin('/healthz?verbose'), verbose)
  t.strictSame(await postern.admin('/readyz?verbose=1'), verbose)
  t.match(await adminAsk('/livez', 'HEAD'), { status: 200, text: '' })
  t.match(await adminAsk('/livez', 'POST'), { status: 405, headers: { allow: 'GET, HEAD' } })
  t.match(await postern.admin('/'), { status: 404, text: /\/metrics/ })
  t.match(await adminHeaders('/readyz'), { 'cache-control': 'no-store', 'content-type': /^text\/plain/ })
  for (const path of ['/metrics', '/livez', '/readyz'])
    t.equal((await ask(world, postern, { path })).status, 404, `${path} is not on the public port`)
})

t.test('a reload takes the new policy, or names every problem with its place and serves on', async t => {
  t.match(await adminAsk('/-/reload', 'GET'), { status: 405, headers: { allow: 'POST' } })
  t.match(await adminAsk('/-/reload', 'POST', { Origin: 'http://evil.example' }), { status: 403 })
  t.match(await adminAsk('/-/reload', 'POST'), { status: 200, text: 'reloaded\n' })
  const hash = (series: readonly Series[]) =>
    series.find(({ name }) => name === 'postern_policy_info')?.labels.hash
  const before = hash(await scrape())
  world.write(
    'policies.yaml',
    policy.replace('scopes: { any: [basic, detailed] }', 'scopes: { some: [basic] }'),
  )
  const refused = await adminAsk('/-/reload', 'POST')
  t.equal(refused.status, 422)
  t.match(refused.text, /policies\.yaml:\d+:\d+ /)
  t.equal((await good()).status, 200)
  const after = await scrape()
  t.equal(hash(after), before)
  t.ok(countOf(after, 'postern_reload_total', { result: 'failure' }) >= 1)
  await postern.logged(line => /policies\.yaml:\d+:\d+ /.test(JSON.stringify(line)))
  world.write('policies.yaml', policy)
})

t.test('the log has one line for every request, with who asked for what and what came of it', async t => {
  const [allowed, denied, lost] = [randomUUID(), randomUUID(), randomUUID()]
  await good({ path: '/accounts/7?balance=1234', headers: { 'x-fapi-interaction-id': allowed } })
  await ask(world, postern, { path: '/accounts/8?card=4111', headers: { 'x-fapi-interaction-id': denied } })
  await ask(world, postern, { path: '/no/../where?x=y', headers: { 'x-fapi-interaction-id': lost } })
  const lineOf = (id: string) => postern.logged(({ interactionId }) => interactionId === id)

  const line = await lineOf(allowed)
  t.strictSame(Object.keys(line).toSorted(), [
    'address',
    'attempts',
    'certificate',
    'clientAddress',
    'clientId',
    'decisionMs',
    'flow',
    'interactionId',
    'level',
    'method',
    'ms',
    'msg',
    'name',
    'outcome',
    'path',
    'policy',
    'route',
    'status',
    'subject',
    'time',
    'upstream',
    'upstreamMs',
  ])
  t.match(line, {
    msg: 'request',
    level: 'info',
    route: 'GET /accounts/{accountId}',
    method: 'GET',
    path: '/accounts/7',
    status: 200,
    outcome: 'allowed',
    address: counting.url,
    attempts: 1,
    clientId: 'client-1',
    subject: /^[0-9a-f]{16}$/,
    flow: 'authorization_code',
    certificate: world.client.thumbprint.slice(0, 12),
    clientAddress: '127.0.0.1',
    upstream: 'provider',
    policy: /^[0-9a-f]{12}$/,
  })
  t.ok(Math.abs(Date.parse(String(line.time)) - Date.now()) < 60_000)
  for (const duration of ['ms', 'decisionMs', 'upstreamMs']) t.ok(Number(line[duration]) >= 0, duration)

  t.match(await lineOf(denied), {
    route: 'GET /accounts/{accountId}',
    path: '/accounts/8',
    status: 401,
    outcome: 'denied',
    code: 'credentials_missing',
    detail: 'no Authorization header',
    clientId: null,
    subject: null,
    upstream: null,
  })
  t.match(await lineOf(lost), { route: null, path: null, status: 400, code: 'path_ambiguous' })
  for (const id of [allowed, denied, lost])
    t.equal(postern.log().filter(({ interactionId }) => interactionId === id).length, 1)
})

t.test('two people are told apart in the log without being named', async t => {
  const subjectOf = async (sub: string) => {
    const id = randomUUID()
    const other = boundToken(world, world.client, 'authorization_code', { scope: 'basic', sub })
    await good({ token: other, headers: { 'x-fapi-interaction-id': id } })
    return (await postern.logged(({ interactionId }) => interactionId === id)).subject
  }
  const [first, second, again] = [
    await subjectOf('jane.doe'),
    await subjectOf('john.doe'),
    await subjectOf('jane.doe'),
  ]
  t.not(first, second)
  t.equal(first, again)
  t.notMatch(postern.output(), /\.doe/)
})

t.test('no token, no claim, no query and no secret of a request is ever written', async t => {
  const now = Math.floor(Date.now() / 1000)
  const claims = { scope: 'basic', email: 'claim-in-token@bank.example', iat: now - 900, exp: now - 600 }
  const expired = boundToken(world, world.client, 'authorization_code', claims)
  const wrongKey = boundToken(world, world.client, 'authorization_code', {
    ...claims,
    exp: now + 60,
    iat: now,
  })
  const secrets = {
    Cookie: 'session=secret-in-cookie',
    'X-Api-Key': 'secret-in-header',
    DPoP: 'secret-in-dpop',
  }
  const path = '/accounts/9?iban=secret-in-query'
  for (const one of [expired, `${wrongKey.slice(0, -6)}AAAAAA`, token, 'secret-as-token'])
    await good({ path, token: one, headers: secrets })
  await good({ path, headers: { Authorization: 'Basic secret-in-basic' } })
  await good({ path, headers: { Authorization: `Bearer ${token} secret-in-excess` } })
  await good({ path: `/accounts/9?access_token=${token}` })
  const id = randomUUID()
  await good({
    method: 'POST',
    path: '/open/a',
    body: 'secret-in-body',
    headers: { 'x-fapi-interaction-id': id },
  })
  await postern.logged(({ interactionId }) => interactionId === id)
  t.notMatch(postern.output(), /secret-/)
  t.notMatch(postern.output(), /claim-in-token/)
  t.notMatch(postern.output(), /iban|access_token=/)
  for (const part of [expired, wrongKey, token].flatMap(one => one.split('.')))
    t.notOk(postern.output().includes(part.slice(0, 24)), 'a part of a token')
})

t.test('SIGTERM ends the process when the last request has its answer, and not before', async t => {
  let release = () => {}
  counting.respond = (_, response) => {
    release = () => response.end('late')
  }
  const arrived = counting.requests.length
  const answer = ask(world, postern, { path: '/open/a', agent: new TlsAgent({ keepAlive: true }) })
  await until(
    () => counting.requests.length > arrived,
    () => 'the request did not arrive',
  )
  const ended = postern.stop()
  await untilAsync(
    async () => (await postern.admin('/readyz')).status === 503,
    () => 'readiness did not end',
  )
  t.match(await postern.admin('/readyz'), {
    text: /^\[-\]accepting failed: draining\n\[\+\]keys main ok\n(?:.*\n)*not ready\n$/,
  })
  t.equal((await postern.admin('/livez')).status, 200)
  await untilAsync(
    () =>
      ask(world, postern).then(
        () => false,
        problem => problem.code === 'ECONNREFUSED',
      ),
    () => 'new connections are still taken',
  )
  release()
  const { status, text } = await answer
  t.equal(status, 200)
  t.equal(text, 'late')
  t.equal(await ended, 0)
  t.equal(postern.log().at(-1)?.msg, 'stopped')
  t.ok(postern.log().some(({ msg }) => msg === 'draining'))
})

t.test('when nobody reads the log any more the process serves on, and ends as it should', async t => {
  const usual = await startCounting()
  t.teardown(() => usual.close())
  const deaf = await startPostern(world, policyText(world, { upstream: usual.url }))
  t.teardown(() => deaf.stop())
  deaf.child.stdout?.destroy()
  const agent = new TlsAgent({ keepAlive: true })
  for (let i = 0; i < 100; i++) {
    const { status } = await ask(world, deaf, { path: '/open/a', agent, headers: { Host: HOST } })
    if (status !== 200) t.fail(`status ${status}`)
  }
  // The log is written every 200 ms at the latest: by then it has met the closed pipe.
  await new Promise(resolve => setTimeout(resolve, 500))
  t.equal((await ask(world, deaf, { path: '/open/a', agent })).status, 200)
  agent.destroy()
  t.equal((await deaf.admin('/livez')).status, 200)
  t.equal(await deaf.stop(), 0)
})
