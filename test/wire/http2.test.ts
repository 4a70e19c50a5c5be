/**
 * Frames that no client library would send, judged by the bytes that the upstream saw: nothing, or one request with one
 * reading. REQUIREMENTS HP-31; RFC 9113.
 */
import t, { type Test } from 'tap'
import {
  CODE,
  END_HEADERS,
  END_STREAM,
  type Field,
  FRAME,
  frame,
  headerBlock,
  pseudo,
  RawHttp2,
  uint32,
} from '../support/http2-client.js'
import { bytesOf, PATH_APIS, type PathTarget, pathCorpus } from '../support/path-corpus.js'
import { ask, createWorld, HOST, policyText, startPostern } from '../support/postern.js'
import { answer, atHead, hang, RecordingUpstream, rawThenEnd } from '../support/recording-upstream.js'

const TARGETS = pathCorpus()
/** Those of the paths, and one for what is no path. */
const APIS = `${PATH_APIS}  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
      HEAD /{path...}: {}
      POST /{path...}: {}
`
const HEADER_BYTES = 16_384
const world = await createWorld()
const upstream = await RecordingUpstream.start()
const postern = await startPostern(
  world,
  policyText(world, {
    upstream: upstream.url,
    apis: APIS,
    http2: true,
    limits: `{ headerBytes: 16KiB, headersTimeout: 1s, idleTimeout: 1s }`,
  }),
)
t.teardown(async () => {
  await postern.stop()
  await upstream.stop()
  await world.close()
})

const connect = (settings = NOTHING) => RawHttp2.connect(world, postern, null, settings)
const get = (path = '/open/a', ...more: Field[]): Field[] => [...pseudo('GET', path), ...more]
const post = (...more: Field[]): Field[] => [...pseudo('POST', '/open/a'), ...more]
const NOTHING: Buffer = Buffer.alloc(0)
/** The settings of a client that keeps every answer waiting. */
const SHUT = Buffer.concat([Buffer.from([0, 4]), uint32(0)])
const resetFrame = (stream: number, code: number = CODE.cancel) => frame(FRAME.reset, 0, stream, uint32(code))
const headFrame = (stream: number, fields: readonly Field[], flags = END_HEADERS | END_STREAM) =>
  frame(FRAME.headers, flags, stream, headerBlock(fields))
const answered = async () => {
  const { text } = await postern.admin('/metrics')
  return [...text.matchAll(/^postern_requests_total\{.*\} (\d+)$/gm)].reduce(
    (sum, [, n]) => sum + Number(n),
    0,
  )
}
const dropped = async () => {
  const { text } = await postern.admin('/metrics')
  return Number(/^postern_connections_dropped_total\{limit="http2"\} (\d+)$/m.exec(text)?.[1])
}
const open = async () =>
  Number(/^postern_connections (\d+)$/m.exec((await postern.admin('/metrics')).text)?.[1])

/** Everybody else is served as ever, and the process lives. */
async function othersAreServed(t: { readonly equal: (a: unknown, b: unknown, what: string) => boolean }) {
  t.equal((await ask(world, postern, { path: '/open/other' })).status, 200, 'others are served')
}

t.test(
  'a head that RFC 9113 calls malformed is a reset or a 400, and never reaches the upstream',
  async t => {
    const [method, scheme, authority, path] = pseudo('GET', '/open/a') as [Field, Field, Field, Field]
    const heads: Record<string, readonly Field[]> = {
      'an unknown pseudo-header field': get('/open/a', [':foo', 'x']),
      ':status': get('/open/a', [':status', '200']),
      'extended CONNECT': [[':method', 'CONNECT'], [':protocol', 'websocket'], scheme, path, authority],
      CONNECT: [
        [':method', 'CONNECT'],
        [':authority', `${HOST}:443`],
      ],
      ':path twice': get('/open/a', [':path', '/open/b']),
      ':method twice': get('/open/a', [':method', 'POST']),
      ':authority twice': get('/open/a', [':authority', HOST]),
      'a pseudo-header field after another': [method, scheme, authority, ['x', '1'], path],
      'no :method': [scheme, authority, path],
      'no :scheme': [method, authority, path],
      'no :path': [method, scheme, authority],
      'an empty :path': [method, scheme, authority, [':path', '']],
      ':path in absolute-form': get(`https://${HOST}/open/a`),
      ':path without a slash': get('open/a'),
      ':path *': get('*'),
      ':path * of OPTIONS': pseudo('OPTIONS', '*'),
      ':path with a space': get('/open/a b'),
      ':path with a line end': get('/open/a HTTP/1.1\r\nHost: x\r\n\r\n'),
      ':path with a fragment': get('/open/a#b'),
      ':path in Latin-1': get('/open/\xe9'),
      ':method with a space': [[':method', 'GET /x'], scheme, authority, path],
      'an empty :method': [[':method', ''], scheme, authority, path],
      ':scheme http': [method, [':scheme', 'http'], authority, path],
      'no authority and no host': [method, scheme, path],
      'an empty authority': [method, scheme, [':authority', ''], path],
      'an authority with a user': [method, scheme, [':authority', `a@${HOST}`], path],
      'an authority with a line end': [method, scheme, [':authority', `${HOST}\r\nX: y`], path],
      'a host that differs from :authority': get('/open/a', ['host', 'other.example']),
      'a host that differs, the other way round': [
        ...pseudo('GET', '/open/a', 'other.example'),
        ['host', HOST],
      ],
      'two hosts': get('/open/a', ['host', HOST], ['host', HOST]),
      'a name in upper case': get('/open/a', ['X-Upper', '1']),
      connection: get('/open/a', ['connection', 'close']),
      'connection that names a field': get('/open/a', ['connection', 'x-a'], ['x-a', '1']),
      'keep-alive': get('/open/a', ['keep-alive', 'timeout=5']),
      'proxy-connection': get('/open/a', ['proxy-connection', 'keep-alive']),
      'transfer-encoding': get('/open/a', ['transfer-encoding', 'chunked']),
      upgrade: get('/open/a', ['upgrade', 'websocket']),
      'http2-settings': get('/open/a', ['http2-settings', 'AAMAAABk']),
      'te other than trailers': get('/open/a', ['te', 'trailers, deflate']),
      'content-length without a body': get('/open/a', ['content-length', '5']),
      'content-length twice': get('/open/a', ['content-length', '0'], ['content-length', '0']),
      'a list as content-length': get('/open/a', ['content-length', '0, 0']),
      'a sign in content-length': get('/open/a', ['content-length', '+0']),
    }
    upstream.script(answer(200))
    const client = await connect()
    let stream = 1
    for (const [name, fields] of Object.entries(heads)) {
      client.head(stream, fields)
      t.match(await client.outcome(stream), /^(?:reset 1|answered 400)$/, name)
      stream += 2
    }
    client.head(stream, get('/open/a', ['te', 'trailers'], ['host', HOST.toUpperCase()]))
    t.equal(await client.outcome(stream), 'answered 200', 'the same connection still serves')
    t.equal(upstream.requests.length, 1)
    client.destroy()
  },
)

t.test('a field that HTTP/1 would read otherwise is not there for anybody', async t => {
  upstream.script(answer(200))
  const bad: Field[] = [
    ['x-a', 'a\r\nTransfer-Encoding: chunked'],
    ['x-b', 'a\nPostern-Subject: x'],
    ['x-c', 'a\0b'],
    ['x-d', ' a'],
    ['x-e', 'a\t'],
    ['x f', 'a'],
    ['x:g', 'a'],
    ['', 'a'],
    ['x-h\r\nPostern-Subject', 'a'],
    ['authorization', 'Bearer x\0'],
  ]
  const client = await connect()
  for (const [index, field] of bad.entries()) {
    client.head(1 + 2 * index, get('/open/a', field, ['x-good', 'y']))
    t.match(await client.outcome(1 + 2 * index), /^(?:reset 1|answered (?:200|400))$/)
  }
  for (const request of upstream.requests) {
    const names = request.headers.map(([name]) => name)
    t.notOk(
      names.some(name => /^(?:x[-_ :]?[a-h]\b|transfer|authorization|$)/i.test(name)),
      names.join(),
    )
    t.same(request.values('postern-subject'), [])
    t.same(request.values('x-good'), ['y'])
    t.equal(request.body.length, 0)
  }
  client.destroy()
})

t.test('a body that is not as long as its content-length never ends upstream', async t => {
  const cases: Record<string, readonly Buffer[]> = {
    'too long': [frame(FRAME.data, END_STREAM, 1, '123456')],
    'too long in pieces': [frame(FRAME.data, 0, 1, '12345'), frame(FRAME.data, END_STREAM, 1, '6')],
    'too short': [frame(FRAME.data, END_STREAM, 1, '1234')],
    'ended by trailers': [
      frame(FRAME.data, 0, 1, '1234'),
      frame(FRAME.headers, END_STREAM | END_HEADERS, 1, headerBlock([['x', '1']])),
    ],
  }
  for (const [name, frames] of Object.entries(cases)) {
    upstream.script(answer(200))
    const client = await connect()
    client.head(1, post(['content-length', '5']), END_HEADERS)
    client.write(...frames)
    const outcome = await client.outcome(1)
    // From Node 22 on, a body that is too long ends the whole connection.
    t.ok(['reset 1', 'goaway 2'].includes(outcome), `${name}: ${outcome}`)
    // As many bytes as were announced may be a request, whatever comes after them.
    const whole = upstream.requests.map(({ body }) => body.toString())
    if (name !== 'too long in pieces' || whole.length > 1) t.same(whole, [], `${name}: no more and no less`)
    else for (const body of whole) t.equal(body, '12345')
    const next = outcome === 'reset 1' ? client : await connect()
    next.head(3, get())
    t.equal(await next.outcome(3), 'answered 200')
    t.equal(upstream.requests.at(-1)?.target, '/open/a')
    for (const each of [client, next]) each.destroy()
  }
})

t.test('a body that breaks off never ends upstream', async t => {
  const leave: Record<string, (client: RawHttp2) => void> = {
    'a reset': client => client.write(resetFrame(1)),
    'a reset that says NO_ERROR': client => client.write(resetFrame(1, CODE.none)),
    'a connection that is lost': client => client.destroy(),
    'a connection that is ended': client => client.socket.end(),
    'a frame that breaks the protocol': client => client.head(2, get()),
  }
  const cases = Object.entries(leave).flatMap(([how, act]) =>
    ['POST', 'GET', 'HEAD'].map(method => ({ name: `${method}, ${how}`, method, act })),
  )
  for (const [index, { name, method, act }] of cases.entries()) {
    upstream.script(answer(200))
    const client = await connect()
    const withText = (text: string) => upstream.connections.find(({ bytes }) => bytes.includes(text))
    const seen = (text: string) =>
      upstream.until(
        () => withText(text) !== undefined,
        5000,
        () => `${text} before ${name}`,
      )
    client.head(1, pseudo(method, `/open/${index}`), END_HEADERS)
    await seen(`${method} /open/${index} `)
    client.write(frame(FRAME.data, 0, 1, `begun ${index}.`))
    await seen(`begun ${index}.`)
    act(client)
    await upstream.abandoned()
    t.notOk(withText(`begun ${index}.`)?.bytes.includes('\r\n0\r\n'), `${name}: no last chunk`)
    t.equal(upstream.requests.length, 0, name)
    client.destroy()
  }
})

t.test('what upstream reads has one framing: the length that was said, or chunks', async t => {
  const client = await connect()
  upstream.script(answer(200))
  client.head(1, post(['content-length', '5']), END_HEADERS)
  client.write(frame(FRAME.data, END_STREAM, 1, '0\r\n\r\n'))
  client.head(3, post(), END_HEADERS)
  client.write(frame(FRAME.data, 0, 3, 'GET /admin HTTP/1.1\r\n'), frame(FRAME.data, END_STREAM, 3))
  client.head(5, get('/open/g'), END_HEADERS)
  client.write(frame(FRAME.data, END_STREAM, 5, 'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n'))
  for (const stream of [1, 3, 5]) t.equal(await client.outcome(stream), 'answered 200')
  const seen = upstream.requests.toSorted((a, b) => a.body.length - b.body.length)
  t.same(
    seen.map(each => [each.values('content-length'), each.values('transfer-encoding'), each.body.toString()]),
    [
      [['5'], [], '0\r\n\r\n'],
      [[], ['chunked'], 'GET /admin HTTP/1.1\r\n'],
      [[], ['chunked'], 'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n'],
    ],
  )
  client.destroy()
})

t.test('bytes of any value arrive as they were sent', async t => {
  const content = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  upstream.script(answer(200, content))
  const client = await connect()
  client.head(1, get())
  t.equal(await client.outcome(1), 'answered 200')
  const bodies = client.frames.filter(({ type, stream }) => type === FRAME.data && stream === 1)
  t.ok(Buffer.concat(bodies.map(({ payload }) => payload)).equals(content))
  client.destroy()
})

t.test('an answer that breaks off is never ended, whatever its framing', async t => {
  for (const text of ['Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'Content-Length: 9\r\n\r\nhalf']) {
    upstream.script(rawThenEnd(`HTTP/1.1 200 OK\r\n${text}`))
    const client = await connect()
    client.head(1, get())
    t.equal(await client.outcome(1), 'reset 2')
    t.notOk(
      client.frames.some(({ type, flags, stream }) => type < 2 && stream === 1 && (flags & END_STREAM) !== 0),
      'no END_STREAM',
    )
    client.destroy()
  }
})

t.test('paths that confuse reach the upstream as they were matched, or not at all (HP-11)', async t => {
  upstream.script(answer(200))
  const statuses = new Map<PathTarget, string>()
  const send = (client: RawHttp2, id: number, index: number): void => {
    const target = TARGETS[index] as PathTarget
    client.head(id, [...pseudo(target.method ?? 'GET', bytesOf(target)), ['x-number', String(index)]])
  }
  const usual = TARGETS.filter(target => bytesOf(target).length < HEADER_BYTES)
  const client = await connect()
  for (const [order, target] of usual.entries()) {
    send(client, 1 + 2 * order, TARGETS.indexOf(target))
    if (order % 50 === 49) await client.outcome(1 + 2 * order)
  }
  for (const [order, target] of usual.entries()) statuses.set(target, await client.outcome(1 + 2 * order))
  client.destroy()
  // What no header may hold can end its connection.
  for (const [index, target] of TARGETS.entries()) {
    if (usual.includes(target)) continue
    const own = await connect()
    send(own, 1, index)
    statuses.set(target, await own.outcome(1))
    own.destroy()
  }
  const seen = new Map(upstream.requests.map(request => [Number(request.values('x-number')[0]), request]))
  let granted = 0
  for (const [index, target] of TARGETS.entries()) {
    const { name, route, method = 'GET', arrives } = target
    const request = seen.get(index)
    // The absolute form is a way to say it in HTTP/1 only.
    if (route === null || arrives !== undefined) {
      t.equal(request?.start, undefined, `${name}: nothing upstream`)
      t.match(statuses.get(target), /^(?:answered 4\d\d|reset 1|reset 11|goaway 9)$/, name)
      continue
    }
    granted += 1
    t.equal(request?.start, `${method} ${bytesOf(target)} HTTP/1.1`, name)
    t.same(request?.values('postern-route'), [route], name)
    t.equal(statuses.get(target), 'answered 200', name)
  }
  t.ok(granted >= 100, `${granted} arrived`)
  t.equal(upstream.requests.length, granted, 'and nothing else')
})

t.test('fields beyond headerBytes are refused, before and after the settings are acknowledged', async t => {
  upstream.script(answer(200))
  const client = await connect()
  client.head(1, get('/open/a', ['x', 'a'.repeat(HEADER_BYTES - 500)]))
  t.equal(await client.outcome(1), 'answered 200')
  client.head(3, get('/open/a', ['x', 'a'.repeat(HEADER_BYTES - 50)]))
  t.match(await client.outcome(3), /^(?:answered 431|reset 11)$/)
  const many = Array.from({ length: HEADER_BYTES / 32 }, (_, index): Field => [`x${index}`, ''])
  client.head(5, get('/open/a', ...many))
  t.match(await client.outcome(5), /^(?:answered 431|reset 11)$/)
  t.equal(upstream.requests.length, 1)
  client.destroy()
})

t.test('CONTINUATION frames without end are cut off', async t => {
  const client = await connect()
  client.write(frame(FRAME.headers, END_STREAM, 1, headerBlock(get())))
  for (let i = 0; i < 50 && !client.isClosed; i++)
    client.write(frame(FRAME.continuation, 0, 1, headerBlock([[`x${i}`, 'a'.repeat(16_000)]])))
  await client.goaway()
  const slow = await connect()
  slow.write(frame(FRAME.headers, END_STREAM, 1, headerBlock(get())))
  const began = performance.now()
  await slow.goaway()
  t.ok(performance.now() - began < 4500, 'a head that never ends has its time')
  await othersAreServed(t)
})

t.test('streams beyond what is allowed at a time end the connection, or are refused', async t => {
  upstream.script(hang())
  const client = await connect()
  for (let i = 0; i < 101; i++) client.head(1 + 2 * i, get())
  t.match(await client.outcome(201), /^(?:reset 7|goaway \d+|closed)$/)
  client.destroy()
  await upstream.abandoned()
})

/** From Node 22 on the library may be faster: it takes reset streams for open ones and ends the connection without a word, or with
 * INTERNAL_ERROR for a body that is too long. */
const LIBRARY_ENDS = Number(process.versions.node.split('.')[0]) >= 22

async function isDropped(t: Test, client: RawHttp2, before: number): Promise<void> {
  const said = await client.goaway()
  if (LIBRARY_ENDS && said !== CODE.calm) {
    t.ok(said === null ? client.isClosed : said === 2, `goaway ${said}`)
    return
  }
  t.equal(said, CODE.calm)
  t.equal(await dropped(), before + 1)
}

t.test(
  'rapid resets: the connection is dropped, its work is freed, others are served (CVE-2023-44487)',
  async t => {
    const before = await dropped()
    upstream.script(hang())
    const client = await connect()
    for (let i = 0; i < 400 && !client.isClosed; i++) {
      client.head(1 + 2 * i, get('/open/reset'))
      client.write(resetFrame(1 + 2 * i))
      if (i % 20 === 19) await new Promise(setImmediate)
    }
    await isDropped(t, client, before)
    await upstream.abandoned()
    upstream.script(answer(200))
    await othersAreServed(t)
    const { text } = await postern.admin('/metrics')
    t.match(text, /^postern_requests_in_flight 0$/m)
  },
)

for (const [method, code] of [
  ['GET', CODE.cancel],
  ['HEAD', CODE.none],
  ['POST', CODE.none],
] as const)
  t.test(
    `a ${method} in one packet with its reset is nobody's work, and its connection ends when idle`,
    async t => {
      upstream.script(answer(200))
      const client = await connect()
      const before = await answered()
      client.write(headFrame(1, pseudo(method, '/open/reset')), resetFrame(1, code))
      client.head(3, get('/open/last'))
      t.equal(await client.outcome(3), 'answered 200')
      t.same(
        upstream.requests.map(({ target }) => target),
        ['/open/last'],
      )
      t.equal(await answered(), before + 1, 'nor was it judged')
      // A body that waits to be read keeps node:http2 from forgetting the stream.
      const bodied = headFrame(5, pseudo(method, '/open/reset'), END_HEADERS)
      const body = Array.from({ length: 4 }, () => frame(FRAME.data, 0, 5, Buffer.alloc(15_900)))
      client.write(bodied, ...body, resetFrame(5, code))
      await client.until(() => client.isClosed, 'the end of an idle connection')
    },
  )

t.test('a page that is left cancels a hundred streams, and its connection goes on', async t => {
  upstream.script(hang())
  const client = await connect()
  for (let i = 0; i < 90; i++) client.head(1 + 2 * i, get())
  await upstream.until(
    () => upstream.requests.length >= 8,
    5000,
    () => 'no requests',
  )
  for (let i = 0; i < 90; i++) client.write(resetFrame(1 + 2 * i))
  await upstream.abandoned()
  upstream.script(answer(200))
  client.head(201, get())
  t.equal(await client.outcome(201), 'answered 200')
  client.destroy()
})

t.test('resets that a client provokes from us count as its own (CVE-2025-8671)', async t => {
  const before = await dropped()
  upstream.script(hang())
  const client = await connect()
  for (let i = 0; i < 400 && !client.isClosed; i++) {
    client.head(1 + 2 * i, post(['content-length', '1']), END_HEADERS)
    client.write(frame(FRAME.data, END_STREAM, 1 + 2 * i, 'more than one byte'))
    if (i % 20 === 19) await client.outcome(1 + 2 * i)
  }
  await isDropped(t, client, before)
  await upstream.abandoned()
  upstream.script(answer(200))
  await othersAreServed(t)
})

t.test('floods of settings, pings and empty frames end, and others are served', async t => {
  const flood = async (name: string, one: () => Buffer) => {
    const before = await dropped()
    const client = await connect()
    client.head(1, post(), END_HEADERS)
    for (let i = 0; i < 40 && !client.isClosed; i++) {
      client.write(...Array.from({ length: 100 }, one))
      await new Promise(setImmediate)
    }
    await client.goaway().finally(() => client.destroy())
    t.equal(await dropped(), before + 1, name)
  }
  upstream.script(atHead(hang()))
  await flood('settings', () => frame(FRAME.settings, 0, 0))
  await flood('pings', () => frame(FRAME.ping, 0, 0, Buffer.alloc(8)))
  await flood('empty DATA', () => frame(FRAME.data, 0, 1))
  upstream.script(answer(200))
  await othersAreServed(t)
})

t.test('a client that never opens its window is given up, after a refusal as well', async t => {
  upstream.script(answer(200, 'content'))
  const client = await connect(SHUT)
  client.head(1, get())
  client.head(3, get('/nowhere'))
  t.equal(await client.outcome(1), 'reset 2')
  t.equal(await client.outcome(3), 'reset 2')
  t.not(await client.goaway(), null)
})

t.test('the body of a request that is refused is not kept while the refusal waits', async t => {
  const client = await connect(SHUT)
  client.head(1, pseudo('POST', '/nowhere'), END_HEADERS)
  for (let i = 0; i < 4; i++) client.write(frame(FRAME.data, 0, 1, Buffer.alloc(16_000)))
  await client.until(() => client.has(FRAME.windowUpdate, 1), 'room for more, as what came is thrown away')
  t.notOk(client.has(FRAME.reset, 1), 'while the refusal still waits')
  client.destroy()
})

t.test('frames that break the protocol end the connection, and none stays open behind', async t => {
  upstream.script(answer(200))
  const cases: Record<string, (client: RawHttp2) => void> = {
    'DATA on a stream that nobody opened': client => client.write(frame(FRAME.data, END_STREAM, 7, 'x')),
    'DATA after the end of a stream': client => {
      client.head(1, get())
      client.write(frame(FRAME.data, END_STREAM, 1, 'x'))
    },
    'a stream number twice': client => {
      client.head(1, get())
      client.head(1, get())
    },
    'an even stream number': client => client.head(2, get()),
    'a frame that is too large': client => client.write(frame(FRAME.data, 0, 1, Buffer.alloc(20_000))),
    'a window that overflows': client =>
      client.write(
        frame(FRAME.windowUpdate, 0, 0, uint32(0x7fffffff)),
        frame(FRAME.windowUpdate, 0, 0, uint32(0x7fffffff)),
      ),
    'a push of the client': client => client.write(frame(FRAME.push, END_HEADERS, 1, uint32(2))),
    'HPACK that points nowhere': client =>
      client.write(frame(FRAME.headers, END_STREAM | END_HEADERS, 1, Buffer.from([0xff, 0xff, 0xff, 0x7f]))),
    'no HTTP/2 at all': client => client.write(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(40))),
  }
  for (const [name, act] of Object.entries(cases)) {
    const client = await connect()
    act(client)
    await client.until(() => client.isClosed || client.has(FRAME.goaway, 0), name)
    client.destroy()
  }
  const backwards = await connect()
  backwards.head(5, get('/open/first'))
  t.equal(await backwards.outcome(5), 'answered 200')
  backwards.head(3, get('/open/backwards'))
  await backwards.goaway()
  t.notOk(
    upstream.requests.some(({ target }) => target === '/open/backwards'),
    'a lower stream number opens nothing',
  )
  const deadline = performance.now() + 8000
  while ((await open()) > 0 && performance.now() < deadline) await new Promise(done => setTimeout(done, 100))
  t.equal(await open(), 0, 'no connection is left')
  await othersAreServed(t)
  t.notOk(
    postern.log().some(({ msg }) => typeof msg === 'string' && msg.startsWith('fault')),
    'no fault',
  )
})
