/** What an attack on the running process found, one test each: all failed before they were fixed. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import { connect as connectTls, createSecureContext, type TLSSocket } from 'node:tls'
import t from 'tap'
import { createAuthority, type Issued, withUnknownSignature } from '../support/pki.js'
import {
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  type PolicyParts,
  type Postern,
  policyText,
  startPostern,
  USUAL_APIS,
  until,
  untilAsync,
  type World,
} from '../support/postern.js'
import { answer, hang, RecordingUpstream, switchAndEcho } from '../support/recording-upstream.js'

t.setTimeout(150_000)

const SHORT = '{ headersTimeout: 1s, requestTimeout: 2s, idleTimeout: 2s }'

async function start(
  t: Pick<typeof import('tap').t, 'teardown'>,
  parts: Partial<PolicyParts> = {},
): Promise<{ world: World; upstream: RecordingUpstream; postern: Postern }> {
  const world = await createWorld()
  const upstream = await RecordingUpstream.start()
  const postern = await startPostern(world, policyText(world, { upstream: upstream.url, ...parts }))
  t.teardown(async () => {
    postern.child.kill('SIGKILL')
    await upstream.stop()
    await world.close()
  })
  return { world, upstream, postern }
}

/** A client that never closes, whatever it is told. */
async function stubborn(world: World, postern: Postern): Promise<TLSSocket> {
  const options = { host: '127.0.0.1', port: postern.port, servername: HOST, allowHalfOpen: true }
  const socket = connectTls({ ...options, ca: world.serverCa.certificatePem })
  await once(socket, 'secureConnect')
  socket.allowHalfOpen = true
  return socket.on('error', () => {})
}

async function connectionsOf(postern: Postern): Promise<number> {
  const { text } = await postern.admin('/metrics')
  return Number(/^postern_connections (\d+)/m.exec(text)?.[1])
}

function get(path: string, ...lines: string[]): string {
  return [`GET ${path} HTTP/1.1`, `Host: ${HOST}`, ...lines, '', ''].join('\r\n')
}

t.test('a handshake that a change of the CA bundle overtakes is not trusted (TLS-13)', async t => {
  const { world, upstream, postern } = await start(t)
  const tcp = connectTcp(postern.port, '127.0.0.1')
  await once(tcp, 'connect')
  await ask(world, postern, { path: '/nothing' }) // the one before has been accepted by now
  world.write('client-ca.pem', (await createAuthority('Another')).certificatePem)
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  const { certificatePem: cert, keyPem: key } = world.client
  const socket = connectTls({ socket: tcp, servername: HOST, ca: world.serverCa.certificatePem, cert, key })
  let received = ''
  socket.setEncoding('latin1').on('data', chunk => {
    received += chunk
  })
  await once(socket, 'secureConnect')
  const token = boundToken(world, world.client, 'authorization_code', { scope: 'basic' })
  socket.write(get('/accounts/1', `Authorization: Bearer ${token}`))
  await until(
    () => received.includes('\r\n\r\n'),
    () => 'no answer',
  )
  t.match(received, /^HTTP\/1.1 401 /)
  t.equal(upstream.requests.length, 0)
  socket.destroy()
})

t.test('of two lists of one authority the one issued later holds, not the one valid longer', async t => {
  const world = await createWorld()
  const upstream = await RecordingUpstream.start()
  const day = 24 * 3600_000
  const before = await world.clientCa.crl({
    thisUpdate: new Date(Date.now() - 5 * day),
    nextUpdate: new Date(Date.now() + 25 * day),
  })
  const after = await world.clientCa.crl({ revoked: [world.client] })
  const postern = await (async () => {
    world.write('crl.pem', before + after)
    const clients = '{ trust: pki, ca: [client-ca.pem], crl: [crl.pem] }'
    return startPostern(world, policyText(world, { upstream: upstream.url, clients }))
  })()
  t.teardown(async () => {
    postern.child.kill('SIGKILL')
    await upstream.stop()
    await world.close()
  })
  for (const text of [before + after, after + before]) {
    world.write('crl.pem', text)
    t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
    t.equal((await ask(world, postern, { client: world.client, path: '/machines/1' })).status, 401)
  }
})

t.test('percent-encoding does not lead past a literal to a weaker route (HP-11)', async t => {
  const { world, upstream, postern } = await start(t, {
    apis: `
  - name: Weak
    base: /a
    security: public
    routes:
      GET /{id}: {}
  - name: Strong
    base: /a
    security: [mtls]
    routes:
      GET /all:export: {}
      GET /caf%C3%A9: {}
`,
  })
  for (const path of ['/a/all%3Aexport', '/a/all%3aexport', '/a/caf%c3%a9'])
    t.equal((await ask(world, postern, { path })).status, 400, path)
  t.equal(upstream.requests.length, 0)
  for (const path of ['/a/me%40bank', '/a/%c3%a9'])
    t.equal((await ask(world, postern, { path })).status, 200, path)
})

t.test('a field that is repeated thousands of times costs no more than many fields', async t => {
  const { world, postern } = await start(t)
  const client = await connectRaw(world, postern)
  client.write(get('/open/x', ...Array.from({ length: 7000 }, () => 'a:')))
  t.equal((await client.answer()).status, 200)
  const line = await postern.logged(({ route }) => route === 'GET /open/{path...}')
  t.ok((line.ms as number) < 500, `${line.ms} ms`)
  client.destroy()
})

t.test('no client keeps a connection that we have ended', async t => {
  const { world, postern } = await start(t, { limits: SHORT })
  const upgrade = ['Connection: Upgrade', 'Upgrade: x']
  const ways: Record<string, (socket: TLSSocket) => void> = {
    'a client that never sends': () => {},
    'half a header': socket => socket.write('GET / HT'),
    'half a body': socket =>
      socket.write(`POST /open/x HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 9\r\n\r\nx`),
    'a refused upgrade': socket => socket.write(get('/nothing', ...upgrade)),
    'a refused upgrade and bytes after it': socket => {
      socket.write(get('/nothing', ...upgrade))
      setTimeout(() => socket.write('x'.repeat(200_000)), 300)
    },
    CONNECT: socket => socket.write(`CONNECT a:1 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
    'an upgrade pipelined behind a request': socket =>
      socket.write(get('/nothing') + get('/nothing', ...upgrade)),
    'an upgrade pipelined behind a request, and bytes after it': socket => {
      socket.write(get('/nothing') + get('/nothing', ...upgrade))
      setTimeout(() => socket.write('x'.repeat(200_000)), 300)
    },
  }
  for (const [name, act] of Object.entries(ways)) {
    const socket = await stubborn(world, postern)
    act(socket)
    await untilAsync(
      async () => (await connectionsOf(postern)) === 1,
      () => `${name}: not counted`,
    )
    await untilAsync(
      async () => (await connectionsOf(postern)) === 0,
      () => `${name}: kept`,
      9000,
    ).then(
      () => t.pass(name),
      error => t.fail(String(error)),
    )
    socket.destroy()
  }
  t.notMatch(postern.output(), /fault outside/)
})

t.test('an upgrade pipelined behind a request is answered after it', async t => {
  const { world, postern } = await start(t)
  const client = await connectRaw(world, postern)
  client.write(get('/nothing') + get('/open/x', 'Connection: Upgrade', 'Upgrade: x'))
  t.equal((await client.answer()).status, 404)
  t.equal((await client.answer()).status, 400)
  client.destroy()
})

t.test('clients that neither send nor read do not keep the places of an upstream', async t => {
  const server = createServer((request, response) => {
    response.on('error', () => {})
    if (request.url === '/open/big') response.end(Buffer.alloc(60_000_000))
    else request.resume().on('end', () => response.end('ok'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const upstreamMore = 'connections: 2, timeouts: { connect: 1s, response: 1s }'
  const { world, postern } = await start(t, { upstream, upstreamMore, limits: SHORT })
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const requests = {
    'half a body': `POST /open/x HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 9\r\n\r\nx`,
    'an answer that nobody reads': get('/open/big'),
  }
  for (const [name, bytes] of Object.entries(requests)) {
    const clients = await Promise.all([1, 2].map(() => stubborn(world, postern)))
    for (const client of clients) client.pause().write(bytes)
    await untilAsync(
      async () => (await ask(world, postern, { path: '/open/y' })).status !== 200,
      () => `${name}: both places were never taken`,
    )
    await untilAsync(
      async () => (await ask(world, postern, { path: '/open/y' })).status === 200,
      () => `${name}: the places are gone`,
      45_000,
    ).then(
      () => t.pass(name),
      error => t.fail(String(error)),
    )
    for (const client of clients) client.destroy()
  }
})

t.test('requests pipelined by a client that leaves end with it', async t => {
  const { world, upstream, postern } = await start(t, { upstreamMore: 'connections: 4' })
  upstream.script(hang())
  const client = await connectRaw(world, postern)
  client.write(get('/open/x').repeat(8))
  await upstream.arrived(1)
  client.destroy()
  await untilAsync(
    async () => /^postern_requests_in_flight 0$/m.test((await postern.admin('/metrics')).text),
    () => 'still in flight',
    5000,
  ).then(
    () => t.pass('none is in flight'),
    error => t.fail(String(error)),
  )
  upstream.script(answer(200, 'ok'))
  t.equal((await ask(world, postern, { path: '/open/y' })).status, 200)
})

t.test('what arrives on a connection that we have ended is not done', async t => {
  const { world, upstream, postern } = await start(t)
  const socket = await stubborn(world, postern)
  socket.resume().write(get('/nothing'))
  await postern.logged(({ status }) => status === 404)
  world.write('client-ca.pem', (await createAuthority('Another')).certificatePem)
  const ended = once(socket, 'end')
  await postern.admin('/-/reload', 'POST')
  await ended
  socket.write(`POST /open/pay HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 0\r\n\r\n`)
  await new Promise(resolve => setTimeout(resolve, 700))
  t.equal(upstream.requests.length, 0)
  socket.destroy()
})

t.test('a tunnel ends with the certificate and the token that opened it', async t => {
  const world = await createWorld()
  const upstream = await RecordingUpstream.start()
  upstream.script(switchAndEcho())
  world.write('crl.pem', await world.clientCa.crl())
  const clients = '{ trust: pki, ca: [client-ca.pem], crl: [crl.pem] }'
  const live = 'upgrade: websocket'
  const text = policyText(world, {
    ...{ upstream: upstream.url, clients, issuer: 'clockSkew: 0s' },
    apis: `${USUAL_APIS}      GET /live: { ${live} }
  - name: Live
    base: /live
    routes:
      GET /machine: { security: [mtls], ${live} }
      GET /user: { security: [oauth2], flow: authorization_code, scopes: none, ${live} }
`,
  })
  const postern = await startPostern(world, text)
  t.teardown(async () => {
    postern.child.kill('SIGKILL')
    await upstream.stop()
    await world.close()
  })
  const openWith = async (client: Issued, path: string, ...lines: string[]) => {
    const raw = await connectRaw(world, postern, client)
    raw.write(get(path, ...lines, 'Connection: Upgrade', 'Upgrade: websocket'))
    t.equal((await raw.answer()).status, 101)
    return raw
  }
  const open = (client: Issued, seconds: number, path = '/accounts/1/live') => {
    const exp = Math.floor(Date.now() / 1000) + seconds
    const token = boundToken(world, client, 'authorization_code', { scope: 'basic', exp })
    return openWith(client, path, `Authorization: Bearer ${token}`)
  }
  const revoked = await open(world.client, 300)
  const other = await open(world.otherClient, 300)
  const short = await open(world.otherClient, 2)
  world.write('crl.pem', await world.clientCa.crl({ revoked: [world.client] }))
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  await revoked.closed()
  await short.closed()
  const notAfter = new Date(Date.now() + 4000)
  const brief = await world.clientCa.issue({ commonName: 'client-b', notAfter })
  const public_ = await openWith(brief, '/open/live')
  const expiring = await Promise.all([
    openWith(brief, '/live/machine'),
    open(brief, 300),
    open(brief, 300, '/live/user'), // bound to the certificate, which the route does not ask for
  ])
  for (const raw of expiring) t.same((await raw.closed()).rest, Buffer.from([0x88, 0x02, 0x03, 0xe9]))
  public_.write('ping')
  t.same(await public_.bytes(4), Buffer.from('ping'), 'where no certificate is asked for, it may expire')
  public_.destroy()
  other.write('ping')
  t.same(await other.bytes(4), Buffer.from('ping'), 'the tunnel of another client goes on')
  other.destroy()
})

t.test('a reload that OpenSSL refuses changes nothing at all', async t => {
  const { world, upstream, postern } = await start(t)
  const wrong = await withUnknownSignature(HOST)
  try {
    createSecureContext({ cert: wrong.certificatePem, key: wrong.keyPem, ciphers: 'DEFAULT:@SECLEVEL=2' })
    return t.comment('the OpenSSL of this Node refuses nothing that the reader of the policy lets through')
  } catch {
    // as it should
  }
  const machines = { client: world.client, path: '/machines/1' }
  world.write('client-ca.pem', (await createAuthority('Another')).certificatePem)
  world.write('server.pem', wrong.certificatePem)
  world.write('server.key', wrong.keyPem)
  const text = policyText(world, { upstream: upstream.url })
  world.write('policies.yaml', `${text}      GET /extra/route/{path...}: {}\n`.replace(/\/open\b/, '/opened'))
  t.equal((await postern.admin('/-/reload', 'POST')).status, 422)
  t.equal((await ask(world, postern, { path: '/open/x' })).status, 200, 'the policy before serves on')
  t.equal((await ask(world, postern, { path: '/opened/x' })).status, 404, 'the refused one does not')
  t.equal((await ask(world, postern, machines)).status, 200, 'with its own authorities')
})
