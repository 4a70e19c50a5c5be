import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { createAuthority } from '../support/pki.js'
import {
  ask,
  connectRaw,
  createWorld,
  HOST,
  type Postern,
  policyText,
  startCounting,
  startPostern,
  underName,
  until,
  untilAsync,
  webSocketHandshake,
} from '../support/postern.js'
import { RawClient } from '../support/raw-client.js'
import { RecordingUpstream, switchAndEcho } from '../support/recording-upstream.js'

// What bounds connections and requests, whoever makes them: REQUIREMENTS HP-26, TLS-17 and section 15, API4.

const world = await createWorld()
const [counting, scripted] = await Promise.all([startCounting(), RecordingUpstream.start()])
const APIS = `
  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
  - name: Live
    base: /live
    security: public
    upstream: scripted
    routes:
      GET /{path...}: { upgrade: websocket }
  - name: Guarded
    base: /guarded
    security: [oauth2]
    flow: client_credentials
    routes:
      GET /{path...}: { scopes: none }
`
const start = (name: string, limits: string): Promise<Postern> =>
  startPostern(
    underName(world, name),
    policyText(world, {
      upstream: counting.url,
      moreUpstreams: `  scripted: { url: ${scripted.url} }`,
      apis: APIS,
      limits,
    }),
  )
const [postern, aging] = await Promise.all([
  start(
    'crowded',
    '{ requests: 2, handshakes: 5, handshakeTimeout: 2s, connectionsPerAddress: 12, headersTimeout: 2s, idleTimeout: 1s }',
  ),
  start('aging', '{ connectionAge: 2s }'),
])
t.teardown(async () => {
  await Promise.all([postern.stop(), aging.stop()])
  counting.close()
  await scripted.stop()
  await world.close()
})

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`

/** The API holds its answers until it is told to give them; to paths with `begun` it has begun. */
function holding() {
  const usual = counting.respond
  const held: ServerResponse[] = []
  counting.respond = (request, response) => {
    if (request.url?.includes('begun')) response.write('early, ')
    held.push(response)
  }
  return {
    held,
    release: () => {
      counting.respond = usual
      for (const response of held) response.end('late')
    },
  }
}

const dropped = async (limit: string): Promise<number> => {
  const { text } = await postern.admin('/metrics')
  return Number(
    new RegExp(`^postern_connections_dropped_total\\{limit="${limit}"\\} (\\d+)$`, 'm').exec(text)?.[1],
  )
}

t.test(
  'beyond the requests that are handled at a time everybody is told at once, and comes back',
  async t => {
    const { held, release } = holding()
    const busy = [await connectRaw(world, postern), await connectRaw(world, postern)]
    for (const client of busy) client.write(get('/open/slow'))
    await until(
      () => held.length === 2,
      () => `${held.length} held`,
    )
    const crowd = await connectRaw(world, postern)
    for (const path of ['/open/a', '/guarded/a', '/nothing', '/open//ambiguous']) {
      crowd.write(get(path))
      const refusal = await crowd.answer()
      t.equal(refusal.status, 503, path)
      t.strictSame(JSON.parse(refusal.body.toString()), { code: '503', message: 'The service is busy' })
      t.strictSame(refusal.values('retry-after'), ['1'])
      t.strictSame(
        refusal.values('connection').includes('close'),
        false,
        'another handshake would be more work',
      )
    }
    t.match(await postern.logged(({ code }) => code === 'overloaded'), { outcome: 'failed', status: 503 })
    t.equal((await postern.admin('/readyz')).status, 200, 'the admin port answers')
    release()
    for (const client of busy) t.equal((await client.answer()).body.toString(), 'late')
    crowd.write(get('/open/a'))
    t.equal((await crowd.answer()).status, 200)
    for (const client of [...busy, crowd]) client.destroy()
  },
)

/** A TCP connection that says nothing. */
async function silent(localAddress: string): Promise<Socket> {
  const socket = connect({ port: postern.port, host: '127.0.0.1', localAddress })
  socket.on('error', () => {}).resume()
  await once(socket, 'connect')
  return socket
}

t.test('whoever opens connections and says nothing keeps nobody out', async t => {
  const before = await dropped('handshakes')
  const sockets: Socket[] = []
  for (let i = 1; i <= 50; i++) sockets.push(await silent(`127.0.1.${i}`))
  const started = performance.now()
  t.equal((await ask(world, postern, { path: '/open/a' })).status, 200, 'a client gets in')
  await until(
    () => sockets.filter(({ destroyed }) => destroyed).length >= 45,
    () => `${sockets.filter(({ destroyed }) => destroyed).length} ended`,
  )
  t.ok((await dropped('handshakes')) - before >= 45, 'counted')
  t.ok(performance.now() - started < 1900, 'before the time for a handshake')
  await postern.logged(({ msg }) => /server\.limits\.handshakes reached/.test(String(msg)))
  await until(
    () => sockets.every(({ destroyed }) => destroyed),
    () => 'a handshake without an end',
  )
})

t.test('a handshake that comes drop by drop ends at its time', async t => {
  const socket = await silent('127.0.0.2')
  const started = performance.now()
  // A record that announces 512 bytes of a ClientHello.
  socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]))
  const drip = setInterval(() => socket.write(Buffer.of(0)), 100)
  await once(socket, 'close')
  clearInterval(drip)
  const took = performance.now() - started
  t.ok(took > 1500 && took < 8000, `${Math.round(took)} ms`)
})

t.test('a connection on which nothing is asked, or nothing more, ends', async t => {
  const [silent, done] = [await connectRaw(world, postern), await connectRaw(world, postern)]
  done.write(get('/open/a'))
  t.equal((await done.answer()).status, 200)
  t.equal((await done.closed()).rest.length, 0)
  t.match((await silent.closed()).rest.toString(), /^(?:$|HTTP\/1\.1 408 )/)
})

t.test('the connections of one address are bounded, and those of others are not touched', async t => {
  const from = (localAddress: string) => ask(world, postern, { path: '/open/a', tls: { localAddress } })
  const tls = { ca: world.serverCa.certificatePem, servername: HOST }
  const all: RawClient[] = []
  const before = await dropped('connectionsPerAddress')
  // One after the other: handshakes under way are bounded as well.
  for (let i = 0; i < 12; i++) all.push(await RawClient.connect({ port: postern.port, tls }))
  await t.rejects(from('127.0.0.1'), 'the thirteenth')
  t.equal((await dropped('connectionsPerAddress')) - before, 1)
  t.equal((await from('127.0.0.3')).status, 200)
  for (const client of all) client.destroy()
  await untilAsync(
    () =>
      from('127.0.0.1').then(
        ({ status }) => status === 200,
        () => false,
      ),
    () => 'the places stayed taken',
  )
})

t.test(
  'a connection ends at its age: idle, with its present answer, and at once when it is over',
  async t => {
    scripted.script(switchAndEcho())
    const { held, release } = holding()
    const [idle, busy, begun, tunnel] = await Promise.all([
      connectRaw(world, aging),
      connectRaw(world, aging),
      connectRaw(world, aging),
      connectRaw(world, aging),
    ])
    const started = performance.now()
    tunnel.write(webSocketHandshake('/live/a'))
    t.equal((await tunnel.answer()).status, 101)
    busy.write(get('/open/slow'))
    begun.write(get('/open/begun'))
    await idle.closed()
    const age = performance.now() - started
    t.ok(age > 1500 && age < 6000, `${Math.round(age)} ms`)
    await new Promise(resolve => setTimeout(resolve, 500))
    t.equal(busy.ending, 'open', 'its answer is still due')
    t.equal(held.length, 2)
    release()
    const last = await busy.answer()
    t.equal(last.body.toString(), 'late')
    t.strictSame(last.values('connection'), ['close'])
    await busy.closed()
    t.equal((await begun.answer()).body.toString(), 'early, late')
    await begun.closed()
    tunnel.write('still here')
    t.equal((await tunnel.bytes(10)).toString(), 'still here', 'a tunnel lasts')
    tunnel.destroy()
  },
)

t.test('a certificate of a stranger costs no memory: one that is too large ends its connection', async t => {
  const sanDns = Array.from({ length: 1500 }, (_, number) => `n${number}.example`)
  const stranger = await createAuthority('Another CA').then(ca => ca.issue({ sanDns }))
  const connection = await connectRaw(world, aging, stranger)
  connection.write(`GET /open/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await t.rejects(connection.answer())
  t.equal((await ask(world, aging, { path: '/open/x' })).status, 200, 'and nobody else’s')
})
