import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { ClientHttp2Session } from 'node:http2'
import t from 'tap'
import { answerOf, ask2, connectHttp2, END_STREAM, FRAME, pseudo, RawHttp2 } from '../support/http2-client.js'
import {
  ask,
  boundToken,
  createWorld,
  HOST,
  type Postern,
  policyText,
  startCounting,
  startPostern,
  underName,
  until,
  untilAsync,
} from '../support/postern.js'
import {
  atHead,
  hang,
  RecordingUpstream,
  raw,
  rawThenEnd,
  stopReading,
} from '../support/recording-upstream.js'

// Clients that speak HTTP/2 get what others get: REQUIREMENTS HP-31, RFC 9113.

const MEGABYTE = 1024 * 1024
const world = await createWorld()
const [api, scripted] = await Promise.all([startCounting(), RecordingUpstream.start()])
const APIS = `
  - name: Accounts
    base: /accounts
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /{accountId}: { scopes: { any: [basic] } }
      POST /{accountId}/notes: { scopes: { all: [notes] } }
  - name: Partners
    base: /partners
    security: [oauth2]
    flow: client_credentials
    errors: problem
    routes:
      GET /{id}: { scopes: { all: [partners] } }
      POST /{id}: { scopes: { all: [partners] } }
  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
      POST /{path...}: {}
      PUT /{path...}: {}
  - name: Scripted
    base: /scripted
    security: public
    upstream: scripted
    routes:
      GET /{path...}: {}
      POST /{path...}: {}
      GET /live/{path...}: { upgrade: websocket }
`
const LIMITS = '{ headersTimeout: 1s, requestTimeout: 1s, idleTimeout: 1s, bodyBytes: 64MiB }'
/** Times as they usually are: what ends a connection here is no timeout. */
const STRICT = '{ failures: { requests: 1, per: 1m } }'
const policy = (limits: string) =>
  policyText(world, {
    upstream: api.url,
    apis: APIS,
    moreUpstreams: `  scripted: { url: ${scripted.url}, connections: 16 }`,
    http2: true,
    limits,
    clients: '{ trust: pki, ca: [client-ca.pem] }',
  })
const start = (name: string, limits: string) => startPostern(underName(world, name), policy(limits))
// Most of a start is waiting, so they wait together.
const [postern, limited, strict] = await Promise.all([
  start('usual', LIMITS),
  start('limited', '{ connections: 2, connectionAge: 1s }'),
  start('strict', STRICT),
])
t.teardown(async () => {
  for (const { child } of [postern, limited, strict]) child.kill('SIGKILL')
  await scripted.stop()
  api.close()
  await world.close()
})

/** Opens a session and closes it at the end of the test. */
async function session(
  t: { readonly teardown: (end: () => void) => void },
  to: Postern = postern,
  client: typeof world.client | null = null,
): Promise<ClientHttp2Session> {
  const opened = await connectHttp2(world, to, client)
  t.teardown(() => opened.destroy())
  return opened
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const userToken = () => boundToken(world, world.client, 'authorization_code', { scope: 'basic notes' })

t.test('a client chooses HTTP/2 by ALPN, or HTTP/1.1 as before', async t => {
  const { alpnProtocol } = await session(t)
  t.equal(alpnProtocol, 'h2')
  t.equal((await ask(world, postern, { path: '/open/a' })).status, 200)
  const both = await connectHttp2(world, postern).then(async opened => {
    const { status } = await ask2(opened)
    opened.close()
    return status
  })
  t.equal(both, 200)
})

t.test('a grant over HTTP/2 arrives as an HTTP/1.1 request with all that is proved', async t => {
  const client = await session(t, postern, world.client)
  const answer = await ask2(client, {
    ...{ ':path': '/accounts/7?a=1', ...bearer(userToken()), te: 'trailers', 'x-forwarded-for': '192.0.2.1' },
    cookie: ['a=1', 'b=2'],
  })
  t.equal(answer.status, 200)
  t.equal(answer.text, '{"ok":true}')
  t.equal(answer.headers['cache-control'], 'no-store')
  t.equal(answer.headers.connection, undefined)
  const request = api.requests.at(-1)
  t.equal(request?.url, '/accounts/7?a=1')
  t.equal(request?.httpVersion, '1.1')
  t.equal(request?.headers.host, HOST)
  t.equal(request?.headers.cookie, 'a=1; b=2', 'crumbs are one field (RFC 9113 section 8.2.3)')
  t.match(
    request?.headers.via,
    /^2 postern-/,
    'the version in which it was received (RFC 9110 section 7.6.3)',
  )
  t.equal(request?.headers['x-forwarded-for'], '127.0.0.1')
  t.equal(request?.headers.te, undefined)
  t.equal(request?.headers['postern-subject'], 'user-1')
  t.equal(request?.headers['transfer-encoding'], undefined)
  t.notMatch(request?.rawHeaders.join('\n'), /^:/m, 'no pseudo-header field')
})

t.test('each refusal is the same over HTTP/2 and HTTP/1.1: status, fields and body', async t => {
  const token = userToken()
  const other = boundToken(world, world.otherClient, 'authorization_code', { scope: 'basic' })
  const poor = boundToken(world, world.client, 'authorization_code', { scope: 'other' })
  const expired = boundToken(world, world.client, 'authorization_code', { exp: 1, iat: 0 })
  const partner = boundToken(world, world.client, 'client_credentials', { scope: 'partners' })
  const cases: [name: string, path: string, headers: Record<string, string>, method?: string][] = [
    ['path_ambiguous', '/accounts/%2e%2e/x', {}],
    ['request_malformed', '/open/%zz', {}],
    ['route_unknown', '/nowhere', {}],
    ['method_not_allowed', '/accounts/1', {}, 'DELETE'],
    ['request_malformed', '/accounts/1', {}, 'TRACE'],
    ['credentials_missing', '/accounts/1', {}],
    ['credentials_malformed', '/accounts/1', { authorization: 'Bearer a b' }],
    ['token_malformed', '/accounts/1', bearer('abc')],
    ['token_expired', '/accounts/1', bearer(expired)],
    ['scope_insufficient', '/accounts/1', bearer(poor)],
    ['binding_mismatch', '/accounts/1', bearer(other)],
    ['flow', '/accounts/1', bearer(partner)],
    ['problem+json', '/partners/1', bearer(token)],
    ['body_too_large', '/open/1', { 'content-length': '99999999' }, 'POST'],
  ]
  const client = await session(t, postern, world.client)
  const before = api.requests.length
  for (const [name, path, headers, method = 'GET'] of cases) {
    const one = await ask(world, postern, { path, headers, method, client: world.client })
    const stream = client.request(
      { ':path': path, ':authority': HOST, ':method': method, ...headers },
      { endStream: method !== 'POST' },
    )
    stream.once('end', () => stream.close()) // as if the body had ended: otherwise it is waited for
    const two = await answerOf(stream)
    t.equal(two.status, one.status, name)
    t.ok(two.status >= 400, `${name}: ${two.status}`)
    t.equal(two.text, one.text, name)
    for (const field of ['www-authenticate', 'allow', 'content-type', 'cache-control', 'content-length'])
      t.same(two.headers[field], one.headers[field], `${name}: ${field}`)
  }
  const elsewhere = await ask(world, postern, { path: '/open/a', headers: { Host: 'other.example' } })
  t.equal((await ask2(client, { ':authority': 'other.example' })).status, elsewhere.status)
  t.equal((await ask2(client, { ':authority': undefined, host: HOST })).status, 200, 'host alone will do')
  t.equal(api.requests.length, before + 1, 'and nothing of it reached the API')
  t.notOk(client.closed, 'none of this ends the connection for its other streams')
})

t.test('streams with different tokens are never mixed up', async t => {
  api.respond = (request, response) => {
    setTimeout(() => response.end(String(request.headers['postern-subject'])), Number(request.url?.slice(-1)))
  }
  const client = await session(t, postern, world.client)
  const subjects = Array.from({ length: 60 }, (_, index) => `user-${index}`)
  const answers = await Promise.all(
    subjects.map((sub, index) => {
      const token = boundToken(world, world.client, 'authorization_code', { scope: 'basic', sub })
      return ask2(client, { ':path': `/accounts/${index}`, ...bearer(token) })
    }),
  )
  t.same(
    answers.map(({ text }) => text),
    subjects,
  )
  api.respond = ok
})

t.test('a megabyte passes both ways, with its length or without', async t => {
  const body = Buffer.alloc(MEGABYTE, 'postern ')
  api.respond = (request, response) => response.end(api.bodyOf(request))
  const client = await session(t)
  for (const length of [{ 'content-length': MEGABYTE }, {}]) {
    const { status, text } = await ask2(client, { ':method': 'POST', ...length }, body)
    t.equal(status, 200)
    t.ok(text === body.toString())
    const { headers } = api.requests.at(-1) ?? {}
    t.equal(headers?.['content-length'], 'content-length' in length ? String(MEGABYTE) : undefined)
    t.equal(headers?.['transfer-encoding'], 'content-length' in length ? undefined : 'chunked')
  }
  const log = await postern.logged(({ path, method }) => path === '/open/a' && method === 'POST')
  t.equal(log.outcome, 'allowed')
  t.equal(log.broken, undefined, 'an answer that is whole is told as such')
  api.respond = ok
})

t.test('trailers are dropped, and an empty body is one', async t => {
  const client = await session(t)
  const stream = client.request(
    { ':path': '/open/t', ':method': 'POST', ':authority': HOST },
    { waitForTrailers: true },
  )
  stream.on('wantTrailers', () => stream.sendTrailers({ authorization: 'Bearer x' }))
  stream.end('abc')
  t.equal((await answerOf(stream)).status, 200)
  const request = api.requests.at(-1)
  t.equal(request && api.bodyOf(request), 'abc')
  t.same(request?.rawTrailers, [])
  t.equal((await ask2(client, { ':method': 'PUT' }, '')).status, 200)
  t.equal((await ask2(client, { ':method': 'POST' })).status, 200)
  t.equal(api.requests.at(-1)?.headers['content-length'], '0')
})

t.test('HEAD, 204 and 304 have no content, and 100 comes before the body', async t => {
  const client = await session(t)
  for (const status of [204, 304]) {
    api.respond = (_, response) => void response.writeHead(status).end()
    const answer = await ask2(client)
    t.equal(answer.status, status)
    t.equal(answer.text, '')
  }
  api.respond = ok
  const stream = client.request({
    ':path': '/open/e',
    ':method': 'POST',
    ':authority': HOST,
    expect: '100-continue',
  })
  await once(stream, 'continue')
  stream.end('now')
  t.equal((await answerOf(stream)).status, 200)
  const request = api.requests.at(-1)
  t.equal(request && api.bodyOf(request), 'now')
})

t.test('fields of an answer come through, doubled ones too, and none of the connection', async t => {
  api.respond = (_, response) => {
    const doubled = ['ETag', '"a"', 'ETag', '"b"', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2']
    const coded = ['Content-Encoding', 'a', 'Content-Encoding', 'b', 'X-More', '1', 'x-more', '2']
    const ours = ['Connection', 'X-Hop', 'X-Hop', '1', 'Keep-Alive', 'timeout=9', '__proto__', 'x']
    response.writeHead(200, [...doubled, ...coded, ...ours])
    response.end('{}')
  }
  const { status, headers } = await ask2(await session(t))
  t.equal(status, 200)
  t.equal(
    headers.etag,
    '"a"',
    'a field that can be there once has its first value, as Node reads it over HTTP/1.1',
  )
  t.same(headers['set-cookie'], ['a=1', 'b=2'])
  t.equal(headers['content-encoding'], 'a, b')
  t.equal(headers['x-more'], '1, 2')
  t.equal(headers['x-hop'], undefined)
  t.equal(headers['keep-alive'], undefined)
  api.respond = ok
})

t.test('a form with a second token is refused over HTTP/2 too, and one without passes whole', async t => {
  const token = boundToken(world, world.client, 'client_credentials', { scope: 'partners' })
  const form = {
    ':method': 'POST',
    ':path': '/partners/1',
    'content-type': 'application/x-www-form-urlencoded',
  }
  const client = await session(t, postern, world.client)
  const before = api.requests.length
  t.equal((await ask2(client, { ...form, ...bearer(token) }, 'access_token=x')).status, 400)
  t.equal(api.requests.length, before)
  t.equal((await ask2(client, { ...form, ...bearer(token) }, 'a=1&b=2')).status, 200)
  const request = api.requests.at(-1)
  t.equal(request && api.bodyOf(request), 'a=1&b=2')
})

t.test('an answer that breaks off upstream is a reset, not an end', async t => {
  scripted.script(rawThenEnd('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'))
  const client = await session(t)
  const { status, text, rstCode } = await ask2(client, { ':path': '/scripted/cut' })
  t.equal(status, 200)
  t.equal(text.length < 10, true)
  t.equal(rstCode, 2, 'INTERNAL_ERROR')
  t.equal((await ask2(client)).status, 200, 'the connection goes on')
  const { broken } = await postern.logged(({ path }) => path === '/scripted/cut')
  t.equal(broken, 'truncated')
})

t.test('a client that leaves frees the upstream at once', async t => {
  const client = await session(t)
  scripted.script(hang())
  const stream = client.request({ ':path': '/scripted/left', ':authority': HOST })
  stream.on('error', () => {})
  await scripted.arrived(1)
  stream.close(8)
  await scripted.abandoned()
  const line = await postern.logged(({ path }) => path === '/scripted/left')
  t.equal(line.status, 499)
  t.equal(line.broken, 'aborted')
})

t.test('what neither side reads waits, in bounded memory', async t => {
  // Down: the client takes nothing, so the upstream is not read.
  const big = Buffer.concat([
    Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n'),
    Buffer.alloc(32 * MEGABYTE),
  ])
  scripted.script(raw(big))
  const client = await session(t)
  const down = client.request({ ':path': '/scripted/down', ':authority': HOST })
  down.on('error', () => {})
  await once(down, 'response')
  const socket = scripted.connections.at(-1)?.socket
  t.ok((socket?.writableLength ?? 0) > 8 * MEGABYTE, 'most of it is still with the upstream')
  const given = new Promise(resolve => down.once('close', resolve))
  // Up: the upstream takes nothing, so the client cannot send on.
  scripted.script(atHead(stopReading()))
  const up = client.request({ ':path': '/scripted/up', ':method': 'POST', ':authority': HOST })
  up.on('error', () => {})
  let sent = 0
  const more = (): void => {
    sent += 65536
    if (sent < 32 * MEGABYTE && up.writable) up.write(Buffer.alloc(65536), more)
  }
  more()
  const [{ ':status': status }] = (await once(up, 'response')) as [Record<string, unknown>]
  t.equal(status, 408)
  t.ok(sent < 24 * MEGABYTE, `${sent} bytes`)
  up.destroy()
  // It reads nothing, the end of its connection neither.
  scripted.connections.at(-1)?.socket.destroy()
  await given
  t.not(down.rstCode, 0, 'a client that takes nothing for idleTimeout is given up')
  await scripted.abandoned()
})

t.test('a body that drips is refused when its time is over, and tells so in the log', async t => {
  const client = await session(t)
  const stream = client.request({ ':path': '/scripted/slow', ':method': 'POST', ':authority': HOST })
  scripted.script(atHead(raw('')))
  const drip = setInterval(() => stream.writable && stream.write('x'), 100)
  const [{ ':status': status }] = (await once(stream, 'response')) as [Record<string, unknown>]
  clearInterval(drip)
  stream.end()
  t.equal(status, 408)
  const line = await postern.logged(({ path }) => path === '/scripted/slow')
  t.equal(line.code, 'request_timeout')
  await scripted.abandoned()
  t.equal((await ask2(client)).status, 200, 'the connection goes on')
})

t.test('a body that has arrived is in time, however long the answer takes', async t => {
  api.respond = (_, response) => void setTimeout(() => response.end('late'), 1300)
  const client = await session(t)
  const post = { ':method': 'POST', ':path': '/open/late' }
  const answers = await Promise.all([
    ask2(client, { ...post, 'content-length': 0 }, ''),
    ask2(client, post, ''),
    ask2(client, post, 'body'),
  ])
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 200],
  )
  api.respond = ok
})

t.test('an answer before the end of a body is whole, and the rest of the body is not read', async t => {
  const client = await session(t)
  scripted.script(atHead(raw('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')))
  const stream = client.request({ ':path': '/scripted/early', ':method': 'POST', ':authority': HOST })
  stream.write('begun')
  const refused = client.request(
    { ':path': '/accounts/1', ':method': 'GET', ':authority': HOST },
    { endStream: false },
  )
  refused.write('more')
  const [{ status, text, rstCode }, refusal] = await Promise.all([answerOf(stream), answerOf(refused)])
  t.equal(status, 403)
  t.equal(text, 'no')
  t.equal(rstCode, 0, 'NO_ERROR: the answer counts (RFC 9113 section 8.1)')
  t.equal(refusal.status, 401)
})

t.test('WebSockets stay with HTTP/1.1', async t => {
  const client = await session(t)
  scripted.script(raw('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
  t.equal((await ask2(client, { ':path': '/scripted/live/a' })).status, 200, 'without asking for one')
  t.notOk(client.remoteSettings.enableConnectProtocol)
})

t.test('a connection without requests ends in time, whatever else comes on it', async t => {
  const client = await session(t)
  const pings = setInterval(() => !client.destroyed && client.ping(() => {}), 100)
  const began = performance.now()
  await once(client, 'close')
  clearInterval(pings)
  t.ok(performance.now() - began < 4000)
})

t.test('connections are counted and bounded like those of HTTP/1.1', async t => {
  const open = await Promise.all([connectHttp2(world, limited), connectHttp2(world, limited)])
  await t.rejects(connectHttp2(world, limited))
  t.match((await limited.admin('/metrics')).text, /^postern_connections 2$/m)
  const aways = open.map(each => once(each, 'goaway'))
  for (const [code] of await Promise.all(aways)) t.equal(code, 0, 'GOAWAY at its age')
  await until(
    () => open.every(each => each.destroyed),
    () => 'open connections',
  )
  const isNone = async () => /^postern_connections 0$/m.test((await limited.admin('/metrics')).text)
  await untilAsync(isNone, () => 'connections are counted')
})

t.test('who guesses tokens loses the connection, with an answer', async t => {
  const client = await session(t, strict)
  const away = once(client, 'goaway')
  const guess = () => {
    const token = boundToken(world, world.client, 'client_credentials', { scope: 'partners' })
    return ask2(client, { ':path': '/partners/1', ...bearer(`${token.slice(0, -8)}AAAAAAAA`) })
  }
  t.equal((await guess()).status, 401)
  const { status, headers } = await guess()
  t.equal(status, 429)
  t.ok(headers['retry-after'])
  t.equal((await away)[0], 0)
  // A hundred streams at once are no hundred guesses for one handshake.
  const token = (jti: string) =>
    boundToken(world, world.client, 'client_credentials', { scope: 'partners', jti, cnf: undefined })
  const together = async (tokens: readonly string[]) => {
    const own = await RawHttp2.connect(world, strict)
    t.teardown(() => own.destroy())
    for (const [i, each] of tokens.entries())
      own.head(1 + 2 * i, [...pseudo('GET', '/partners/1'), ['authorization', `Bearer ${each}`]])
    const ends = () => own.frames.filter(({ type, flags }) => type === FRAME.data && flags === END_STREAM)
    await own.until(() => ends().length === tokens.length, 'the answers')
    return Promise.all(tokens.map((_, i) => own.outcome(1 + 2 * i)))
  }
  const names = Array.from({ length: 20 }, (_, i) => `jti-${i}`)
  const guesses = await together(names.map(name => `${token(name).slice(0, -8)}AAAAAAAA`))
  t.equal(guesses.filter(each => each === 'answered 401').length, 1, 'one signature is verified')
  t.equal(guesses.filter(each => each === 'answered 429').length, 19)
  t.same(await together(names.map(token)), Array(20).fill('answered 200'), 'an honest crowd is served')
})

t.test(
  'a reload of the trust ends connections after their present streams, and no stream is judged under the old one',
  async t => {
    world.write('server-ca.pem', world.serverCa.certificatePem)
    let finish: (() => void) | null = null
    api.respond = (_, response) => {
      finish = () => response.end('late')
    }
    const client = await session(t, strict, world.client)
    const idle = await session(t, strict, world.client)
    const under = ask2(client, { ':path': '/accounts/1', ...bearer(userToken()) })
    await until(
      () => finish !== null,
      () => 'no request',
    )
    const aways = [once(client, 'goaway'), once(idle, 'goaway')]
    world.write('strict.yaml', policy(STRICT).replace('[client-ca.pem]', '[client-ca.pem, server-ca.pem]'))
    await strict.admin('/-/reload', 'POST')
    await Promise.all(aways)
    // Node 20 throws, later ones tell the stream.
    const another = async () => once(client.request({ ':path': '/open/a' }), 'response')
    await t.rejects(another(), { code: 'ERR_HTTP2_GOAWAY_SESSION' }, 'the client is told to ask elsewhere')
    ;(finish as (() => void) | null)?.()
    t.equal((await under).text, 'late', 'what was under way is answered')
    await until(
      () => client.destroyed && idle.destroyed,
      () => 'open connections',
    )
    api.respond = ok
  },
)

t.test('a drain answers what is under way, says GOAWAY and ends with exit code 0', async t => {
  let finish: (() => void) | null = null
  api.respond = (_, response) => {
    finish = () => response.end('late')
  }
  const [busy, idle] = [await session(t, strict), await session(t, strict)]
  const under = ask2(busy)
  await until(
    () => finish !== null,
    () => 'no request',
  )
  const away = once(busy, 'goaway')
  const ended = strict.stop()
  await away
  const last = once(idle, 'goaway')
  api.respond = ok
  t.equal((await ask2(idle)).status, 200, 'a connection that was not told yet is served once more')
  t.equal((await last)[0], 0)
  ;(finish as (() => void) | null)?.()
  t.equal((await under).text, 'late')
  t.equal(await ended, 0)
})

function ok(_: unknown, response: ServerResponse): void {
  response.setHeader('Content-Type', 'application/json')
  response.end('{"ok":true}')
}
