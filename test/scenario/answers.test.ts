import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { DENIALS } from '../../src/decision/denials.js'
import type { Issued } from '../support/pki.js'
import {
  type Answered,
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
} from '../support/postern.js'
import type { RawClient, RawMessage } from '../support/raw-client.js'
import { answer, RecordingUpstream, raw, switchAndEcho } from '../support/recording-upstream.js'

// What every answer is like, whoever wrote it: REQUIREMENTS F1-08 to F1-16, F1-23, section 13.2, HP-08, HP-20, HP-21, HP-26
// to HP-28, against the real process.

const world = await createWorld()
const [counting, scripted] = await Promise.all([startCounting(), RecordingUpstream.start()])
const postern = await startPostern(
  world,
  policyText(world, {
    upstream: counting.url,
    limits: '{ headerBytes: 8KiB, bodyBytes: 4KiB, headersTimeout: 2s, requestTimeout: 3s }',
    moreUpstreams: `  scripted: { url: ${scripted.url} }`,
    apis: `${USUAL_APIS}
  - name: Scripted
    base: /scripted
    security: public
    upstream: scripted
    routes:
      GET /{id}: {}
      GET /{id}/live: { upgrade: websocket }
`,
  }),
)
t.teardown(async () => {
  await postern.stop()
  counting.close()
  await scripted.stop()
  await world.close()
})

const token = boundToken(world, world.client, 'authorization_code', { scope: 'basic notes' })
const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const ID = 'x-fapi-interaction-id'

const get = (headers: Ask['headers'] = {}, more: Ask = {}): Promise<Answered> =>
  ask(world, postern, { client: world.client, token, headers, ...more })
const open = (path: string, more: Ask = {}): Promise<Answered> => ask(world, postern, { path, ...more })

function valuesOf({ rawHeaders }: Answered, name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)
}

/** Sends bytes on a connection of its own and returns the first answer. */
async function exchange(bytes: string, client: Issued | null = null): Promise<RawMessage> {
  const connection = await connectRaw(world, postern, client)
  try {
    connection.write(bytes)
    return await connection.answer(bytes.startsWith('HEAD') ? 'HEAD' : 'GET')
  } finally {
    connection.destroy()
  }
}

/** Lines of a request; Host is added. */
const lines = (start: string, ...headers: readonly string[]) =>
  `${[`${start} HTTP/1.1`, `Host: ${HOST}`, ...headers].join('\r\n')}\r\n\r\n`

const AUTHORIZED = `Authorization: Bearer ${token}`

/** F1-10: exactly one Date, in the one format, within five minutes. */
function datedNow(t: Test, values: readonly string[], what: string) {
  t.equal(values.length, 1, `${what}: one Date`)
  const time = Date.parse(String(values[0]))
  t.equal(new Date(time).toUTCString(), values[0], what)
  t.ok(Math.abs(time - Date.now()) < 300_000, what)
}

t.test('answers of every status, refusals and those of the API, carry one Date', async t => {
  const statuses = [200, 201, 204, 206, 302, 400, 404, 409, 422, 500, 503]
  const usual = counting.respond
  for (const status of statuses) {
    counting.respond = (_, response) => response.writeHead(status).end()
    const answered = await open('/open/a')
    t.equal(answered.status, status)
    datedNow(t, valuesOf(answered, 'date'), `the API's ${status}`)
    t.match(valuesOf(answered, ID), [UUID_V4])
  }
  counting.respond = usual
  const refusals: Record<number, Ask> = {
    400: { path: '/open//a' },
    401: { path: '/accounts/1' },
    404: { path: '/nothing' },
    405: { path: '/open/a', method: 'PATCH' },
    413: { path: '/open/a', method: 'POST', body: 'x'.repeat(5000) },
  }
  for (const [status, options] of Object.entries(refusals)) {
    const answered = await ask(world, postern, options)
    t.equal(answered.status, Number(status))
    datedNow(t, valuesOf(answered, 'date'), `our ${status}`)
  }
})

t.test('a Date of the API is kept when it is one, and replaced when it is none', async t => {
  const date = 'Tue, 04 Aug 2026 08:00:00 GMT'
  const dateOf = async (...headers: string[]) => {
    scripted.script(answer(200, '{}', headers))
    return valuesOf(await open('/scripted/1'), 'date')
  }
  t.strictSame(await dateOf(`Date: ${date}`), [date])
  for (const headers of [
    [],
    ['Date: yesterday'],
    ['Date: '],
    ['Date: 2026-08-04T08:00:00Z'],
    [`Date: ${date}`, `Date: ${date}`],
  ])
    datedNow(t, await dateOf(...headers), headers.join(', ') || 'no Date')
})

t.test('bytes that are no request get the same kind of refusal, and the connection ends', async t => {
  const garbage: Record<string, string> = {
    'a line of text': 'hello\r\n\r\n',
    'another protocol': '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03',
    'no version': `GET /open/a\r\nHost: ${HOST}\r\n\r\n`,
    'a version that does not exist': `GET /open/a HTTP/9.1\r\nHost: ${HOST}\r\n\r\n`,
    'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'an unknown method': `GETT /open/a HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
    'a blank before the colon': `GET /open/a HTTP/1.1\r\nHost : ${HOST}\r\n\r\n`,
    'a header without a colon': `GET /open/a HTTP/1.1\r\nHost: ${HOST}\r\nnothing\r\n\r\n`,
    'two lengths': `POST /open/a HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
  }
  // HP-27, F1-08 to F1-11
  for (const [what, bytes] of Object.entries(garbage)) {
    const connection = await connectRaw(world, postern)
    connection.write(bytes)
    const refusal = await connection.answer()
    t.equal(refusal.start, 'HTTP/1.1 400 Bad Request', what)
    t.strictSame(
      JSON.parse(refusal.body.toString()),
      { code: '401', message: 'The request is malformed' },
      what,
    )
    t.strictSame(refusal.values('content-type'), ['application/json'], what)
    t.strictSame(refusal.values('cache-control'), ['no-store'], what)
    t.strictSame(refusal.values('connection'), ['close'], what)
    t.match(refusal.values(ID), [UUID_V4], what)
    datedNow(t, refusal.values('date'), what)
    t.strictSame((await connection.closed()).rest.length, 0, what)
  }
})

t.test(
  'a refusal is UTF-8 JSON of type application/json with a length, and nothing else is told',
  async t => {
    const { status, headers, rawHeaders, text, json } = await open('/accounts/1')
    // F1-08, F1-09, section 13.2
    t.equal(status, 401)
    t.strictSame(json(), { code: '603', message: 'Authentication is required' })
    t.equal(headers['content-type'], 'application/json')
    t.equal(headers['content-length'], String(Buffer.byteLength(text)))
    t.equal(headers['x-content-type-options'], 'nosniff')
    const known = [
      'content-type',
      'content-length',
      'cache-control',
      'x-content-type-options',
      ID,
      'www-authenticate',
      'date',
      'connection',
      'keep-alive',
    ]
    const names = rawHeaders.filter((_, index) => index % 2 === 0).map(name => name.toLowerCase())
    t.strictSame(
      names.filter(name => !known.includes(name)),
      [],
    )
  },
)

t.test(
  'the words for clients are printable ASCII without quotes, so that they fit into a challenge',
  async t => {
    // BT-08, RFC 6750 section 3
    for (const [code, { message }] of Object.entries(DENIALS))
      t.match(message, /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/, code)
  },
)

t.test('a route can answer with problem details instead', async t => {
  const refusal = await open('/partners/1')
  t.equal(refusal.status, 401)
  t.equal(refusal.headers['content-type'], 'application/problem+json')
  t.equal(refusal.headers['www-authenticate'], 'Bearer, DPoP algs="PS256 ES256 EdDSA Ed25519"')
  // RFC 9457 section 4.2.1: about:blank says that the status says it all
  t.strictSame(refusal.json(), { type: 'about:blank', title: 'Authentication is required', status: 401 })
  t.equal((await open('/partner/1')).headers['content-type'], 'application/json', 'before a route is known')
})

t.test('content of the API passes as it is: type, charset and bytes', async t => {
  const usual = counting.respond
  const body = Buffer.from([0xff, 0xfe, 0x00, 0xe9])
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'application/pdf',
    'text/plain; charset=iso-8859-1',
  ]) {
    counting.respond = (_, response) => response.writeHead(200, { 'Content-Type': type }).end(body)
    // F1-08, F1-09
    t.equal((await open('/open/a')).headers['content-type'], type)
  }
  counting.respond = (_, response) => response.writeHead(200).end(body)
  t.equal((await open('/open/a')).headers['content-type'], undefined, 'none is invented')
  counting.respond = usual
})

// x-fapi-interaction-id

t.test('the interaction id of a client comes back byte for byte, in whatever case it wrote it', async t => {
  const mixed = 'C0FFEE00-1234-4abc-8DEF-0123456789aB'
  // F1-11, F1-12, CS-11
  for (const id of [
    mixed,
    mixed.toLowerCase(),
    mixed.toUpperCase(),
    '00000000-0000-0000-0000-000000000000',
  ]) {
    const allowed = await get({ [ID]: id })
    t.equal(allowed.status, 200)
    t.strictSame(valuesOf(allowed, ID), [id])
    t.strictSame(counting.requests.at(-1)?.headers[ID], id, 'the API gets it too')
    t.strictSame(valuesOf(await open('/accounts/1', { headers: { [ID]: id } }), ID), [id], 'a refusal')
  }
  t.strictSame(valuesOf(await get({ 'X-FAPI-Interaction-ID': mixed }), ID), [mixed])
  t.match(await postern.logged(line => line.interactionId === mixed && line.status === 200), {
    outcome: 'allowed',
  })
  t.match(await postern.logged(line => line.interactionId === mixed && line.status === 401), {
    outcome: 'denied',
  })
})

t.test('a client without an interaction id gets a new one, the same in answer, log and API', async t => {
  const answers = [await get(), await get(), await open('/accounts/1')]
  const ids = answers.map(answered => valuesOf(answered, ID))
  for (const id of ids) t.match(id, [UUID_V4])
  t.equal(new Set(ids.flat()).size, 3)
  t.equal(counting.requests.at(-1)?.headers[ID], ids[1]?.[0])
  await postern.logged(line => line.interactionId === ids[2]?.[0])
})

t.test(
  'an unusable interaction id is replaced and never reflected, and costs the client nothing',
  async t => {
    const one = randomUUID()
    const unusable: (string | string[])[] = [
      'abc',
      '',
      `${one} `.repeat(2).trim(),
      `{${one}}`,
      one.replaceAll('-', ''),
      `${one}, ${one}`,
      `${one}x`,
      `urn:uuid:${one}`,
      '"><script>alert(1)</script>',
      [one, one],
      [one, randomUUID()],
    ]
    // F1-11, HP-28
    for (const value of unusable) {
      const answered = await get({ [ID]: value })
      t.equal(answered.status, 200, JSON.stringify(value))
      t.match(valuesOf(answered, ID), [UUID_V4], JSON.stringify(value))
      t.not(valuesOf(answered, ID)[0], one)
      t.equal(counting.requests.at(-1)?.headers[ID], valuesOf(answered, ID)[0])
    }
    t.notMatch(postern.output(), /alert/)
  },
)

t.test('the interaction id of the API never replaces that of the request', async t => {
  const id = randomUUID()
  scripted.script(
    answer(200, '{}', [`X-FAPI-Interaction-Id: ${randomUUID()}`, `x-fapi-interaction-id: ${randomUUID()}`]),
  )
  const answered = await open('/scripted/1', { headers: { [ID]: id } })
  t.strictSame(valuesOf(answered, ID), [id])
})

// Headers that a client may send

t.test('an address of the customer is never a reason to refuse', async t => {
  // F1-13, F1-16, CS-08
  for (const address of [
    '198.51.100.119',
    '2001:DB8::1893:25c8:1946',
    '::1',
    '2001:0db8:0000:0000:0000:0000:0000:0001',
    'unknown',
    '999.1.1.1',
    '',
  ])
    t.equal((await get({ 'x-fapi-customer-ip-address': address })).status, 200, address)
})

t.test('a date of the last login is never a reason to refuse', async t => {
  // F1-15, CS-08
  for (const date of ['Tue, 11 Sep 2012 19:43:31 GMT', 'yesterday', '0', ''])
    t.equal((await get({ 'x-fapi-auth-date': date })).status, 200, date)
})

t.test('whatever a client says it accepts, it is served', async t => {
  const accepts: Ask['headers'][] = [
    {},
    { Accept: 'application/json;charset=UTF-8', 'Accept-Charset': 'UTF-8' },
    { Accept: 'application/json, application/*+json, */*' },
    { Accept: '*/*' },
    { Accept: 'application/xml' },
  ]
  // F1-23, CS-14
  for (const headers of accepts) t.equal((await get(headers)).status, 200, JSON.stringify(headers))
})

t.test('cross-origin requests of browsers have no way in', async t => {
  const preflight = await open('/accounts/1', {
    method: 'OPTIONS',
    headers: { Origin: 'https://app.example', 'Access-Control-Request-Method': 'GET' },
  })
  // F1-14
  t.equal(preflight.status, 405)
  t.strictSame(valuesOf(preflight, 'access-control-allow-origin'), [])
})

// Refusals with a rule of their own

t.test('a method that a path does not have is answered with those that it has', async t => {
  const refusal = await open('/events/1', { method: 'PUT', body: 'x' })
  // HP-20
  t.equal(refusal.status, 405)
  t.equal(refusal.headers.allow, 'DELETE, GET')
  t.strictSame(refusal.json(), { code: '1206', message: 'The method is not allowed at this path' })
  t.equal(refusal.headers['www-authenticate'], undefined)
})

t.test('a header that is too large is answered with 431', async t => {
  const refusal = await exchange(lines('GET /open/a', `X-Pad: ${'x'.repeat(9000)}`))
  // HP-26
  t.equal(refusal.status, 431)
  t.match(JSON.parse(refusal.body.toString()), { code: '401', message: 'The request header is too large' })
  t.equal((await exchange(lines('GET /open/a', `X-Pad: ${'x'.repeat(6000)}`))).status, 200)
})

t.test('a body that is too large is answered with 413, announced or not', async t => {
  const before = counting.requests.length
  const announced = await open('/open/a', { method: 'POST', body: 'x'.repeat(4097) })
  t.equal(announced.status, 413)
  t.equal(announced.headers.connection, 'close')
  t.strictSame(announced.json(), { code: '401', message: 'The request body is too large' })
  t.equal(counting.requests.length, before, 'the API was not asked')
  const chunk = `400\r\n${'x'.repeat(1024)}\r\n`
  const chunked = await exchange(
    `${lines('POST /open/a', 'Transfer-Encoding: chunked')}${chunk.repeat(5)}0\r\n\r\n`,
  )
  // HP-26
  t.equal(chunked.status, 413)
  t.equal((await open('/open/a', { method: 'POST', body: 'x'.repeat(4096) })).status, 200)
})

t.test('a client that sends its header or its body drop by drop is answered with 408', async t => {
  const drip = async (start: string) => {
    const connection = await connectRaw(world, postern)
    connection.write(start)
    const timer = setInterval(() => connection.write('x'), 100)
    try {
      const refusal = await connection.answer()
      await connection.closed()
      return refusal
    } finally {
      clearInterval(timer)
      connection.destroy()
    }
  }
  // HP-26
  const [header, body] = await Promise.all([
    drip(`GET /open/a HTTP/1.1\r\nHost: ${HOST}\r\nX-Slow: `),
    drip(lines('POST /open/a', 'Content-Length: 1000')),
  ])
  for (const [what, refusal] of Object.entries({ header, body })) {
    t.equal(refusal.status, 408, what)
    t.match(JSON.parse(refusal.body.toString()), { code: '401' }, what)
    t.strictSame(refusal.values('connection'), ['close'], what)
    datedNow(t, refusal.values('date'), what)
  }
})

t.test('a refusal of HEAD has the header of the refusal and no body', async t => {
  const connection = await connectRaw(world, postern)
  connection.write(lines('HEAD /accounts/1'))
  const refusal = await connection.answer('HEAD')
  t.equal(refusal.status, 405)
  t.ok(Number(refusal.values('content-length')[0]) > 0)
  t.strictSame(refusal.values('content-type'), ['application/json'])
  connection.write(lines('GET /open/a'))
  t.equal((await connection.answer()).status, 200, 'what follows is the next answer')
  connection.destroy()
})

t.test('a client that waits for 100 (Continue) is refused before it sends its body', async t => {
  const expecting = (authorization: string) =>
    lines('POST /accounts/1/notes', authorization, 'Content-Length: 5', 'Expect: 100-continue')
  const before = counting.requests.length
  const refusal = await exchange(expecting('Authorization: Bearer nonsense'), world.client)
  // HP-21
  t.equal(refusal.status, 401)
  t.strictSame(refusal.values('connection'), ['close'])
  t.equal(counting.requests.length, before)

  const connection = await connectRaw(world, postern, world.client)
  connection.write(expecting(AUTHORIZED))
  t.equal((await connection.answer()).start, 'HTTP/1.1 100 Continue')
  connection.write('hello')
  t.equal((await connection.answer()).status, 200)
  connection.write(lines('GET /accounts/1', AUTHORIZED))
  t.equal((await connection.answer()).status, 200, 'the connection goes on')
  connection.destroy()
})

t.test('an expectation that nobody can meet is judged like any request', async t => {
  t.equal((await exchange(lines('GET /accounts/1', 'Expect: miracles'), world.client)).status, 401)
})

t.test('after the refusal of a small POST the connection serves the next request', async t => {
  const connection = await connectRaw(world, postern, world.client)
  connection.write(`${lines('POST /accounts/1/notes', 'Content-Length: 1000')}${'x'.repeat(1000)}`)
  t.equal((await connection.answer()).status, 401)
  connection.write(lines('GET /accounts/1', AUTHORIZED))
  t.equal((await connection.answer()).status, 200)
  // The body comes after the refusal.
  connection.write(lines('POST /accounts/1/notes', 'Content-Length: 1000'))
  t.equal((await connection.answer()).status, 401)
  connection.write(`${'x'.repeat(1000)}${lines('GET /accounts/1', AUTHORIZED)}`)
  t.equal((await connection.answer()).status, 200)
  connection.destroy()
})

t.test('a client that sends a large body in vain reads the refusal, not a broken connection', async t => {
  // RFC 9112 section 9.6
  for (const size of [100_000, 20_000_000, 20_000_000, 20_000_000]) {
    const body = Buffer.alloc(size, 'x')
    const refusal = await open('/accounts/1/notes', { method: 'POST', body })
    t.equal(refusal.status, 401, `${size} bytes`)
    t.equal(refusal.headers.connection, 'close')
    t.equal((await open('/open/a', { method: 'POST', body })).status, 413, `${size} bytes`)
  }
})

// Upgrades and what else leaves HTTP

t.test('a WebSocket handshake is refused like any other request', async t => {
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  ]
  const id = randomUUID()
  const refused = async (path: string, status: number, ...more: string[]) => {
    const connection = await connectRaw(world, postern, world.client)
    connection.write(lines(`GET ${path}`, `${ID}: ${id}`, ...upgrade, ...more))
    const refusal = await connection.answer()
    t.equal(refusal.status, status, path)
    t.strictSame(refusal.values(ID), [id], path)
    t.strictSame(refusal.values('content-type'), ['application/json'], path)
    t.strictSame(refusal.values('connection'), ['close'], path)
    datedNow(t, refusal.values('date'), path)
    t.equal((await connection.closed()).rest.length, 0, path)
  }
  await refused('/accounts/1/live', 401)
  await refused('/accounts/1/live', 401, 'Authorization: Bearer nonsense')
  await refused('/accounts/1', 400, AUTHORIZED)
  await refused('/nothing', 404)
})

t.test('an accepted WebSocket handshake carries Date and interaction id as well', async t => {
  scripted.script(switchAndEcho())
  const id = randomUUID()
  const accepted = await exchange(
    lines(
      'GET /scripted/1/live',
      `${ID}: ${id}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ),
  )
  t.equal(accepted.status, 101)
  t.strictSame(accepted.values(ID), [id])
  datedNow(t, accepted.values('date'), '101')
})

t.test('CONNECT and TRACE are never served', async t => {
  for (const start of [`CONNECT ${HOST}:443`, 'TRACE /open/a']) {
    const refusal = await exchange(lines(start))
    // HP-10
    t.equal(refusal.status, 400, start)
    t.match(JSON.parse(refusal.body.toString()), { code: '401' }, start)
    t.match(refusal.values(ID), [UUID_V4], start)
  }
})

t.test('an answer of the API that breaks off breaks off for the client too', async t => {
  scripted.script(raw('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345'))
  const connection: RawClient = await connectRaw(world, postern)
  connection.write(lines('GET /scripted/1'))
  await scripted.arrived(1)
  for (const { socket } of scripted.connections) socket.destroy()
  const { rest } = await connection.closed()
  // HP-22
  t.match(rest.toString(), /^HTTP\/1\.1 (?:200|502) /)
  t.notMatch(rest.toString(), /1234567/)
  t.ok(!rest.toString().includes(' 200 ') || rest.toString().endsWith('12345'), 'nothing was made up')
})
