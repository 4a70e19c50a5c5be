import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import t from 'tap'
import {
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  type PolicyParts,
  type Postern,
  policyText,
  startCounting,
  startPostern,
  until,
  untilAsync,
  webSocketHandshake,
} from '../support/postern.js'
import { hang, RecordingUpstream, switchAndEcho } from '../support/recording-upstream.js'

// What operators do to a running process, and what its clients notice of it.

const world = await createWorld()
const counting = await startCounting()
const running: Postern[] = []
t.teardown(async () => {
  for (const { child } of running) child.kill('SIGKILL')
  counting.close()
  await world.close()
})

const APIS = `
  - name: One
    base: /one
    security: public
    routes:
      GET /live: { upgrade: websocket, upstream: one }
      GET /slow: { upstream: one }
  - name: Two
    base: /two
    security: public
    routes:
      GET /live: { upgrade: websocket, upstream: two }
  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
`

/** Each process has a policy file of its own. */
async function start(name: string, parts: Partial<PolicyParts> = {}) {
  const write = (_: string, text: string) => world.write(`${name}.yaml`, text)
  const text = (more: Partial<PolicyParts> = {}) =>
    policyText(world, { upstream: counting.url, ...parts, ...more })
  const postern = await startPostern({ write }, text())
  running.push(postern)
  const use = async (more: Partial<PolicyParts>) => {
    writeFileSync(postern.policyFile, text(more))
    const answer = await postern.admin('/-/reload', 'POST')
    if (answer.status !== 200) throw new Error(answer.text)
  }
  return { postern, text, use }
}

async function webSocket(postern: Postern, path: string) {
  const client = await connectRaw(world, postern)
  client.write(webSocketHandshake(path))
  t.equal((await client.answer()).status, 101)
  return client
}

const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9])

t.test(
  'a reload that changes one upstream leaves the WebSockets and exchanges of the others alone',
  async t => {
    const [one, two] = await Promise.all([RecordingUpstream.start(), RecordingUpstream.start()])
    t.teardown(() => Promise.all([one.stop(), two.stop()]))
    one.script(switchAndEcho(), hang())
    two.script(switchAndEcho())
    const upstreams = (connections: number) =>
      `  one: { url: ${one.url} }\n  two: { url: ${two.url}, connections: ${connections} }`
    const { postern, use } = await start('upstreams', { apis: APIS, moreUpstreams: upstreams(10) })
    const [kept, ended] = [await webSocket(postern, '/one/live'), await webSocket(postern, '/two/live')]
    const slow = await connectRaw(world, postern)
    slow.write(`GET /one/slow HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
    await one.arrived(2)
    await use({ moreUpstreams: upstreams(11) })
    t.same((await ended.closed()).rest, GOING_AWAY, 'that of the changed one hears why')
    kept.write('still here')
    t.equal((await kept.bytes(10)).toString(), 'still here')
    t.equal(slow.ending, 'open')

    await t.test('SIGTERM ends the rest with the same words', async t => {
      postern.child.kill('SIGTERM')
      t.same((await kept.closed()).rest.subarray(-4), GOING_AWAY)
      for (const client of [kept, ended, slow]) client.destroy()
    })
  },
)

t.test('settings that need a restart are compared with those of the start', async t => {
  const { postern, use } = await start('restart')
  const warned = () => postern.log().filter(({ msg }) => /at the next start$/.test(String(msg))).length
  const limits = (text: string) => ({ limits: `{ headersTimeout: 10s, ${text} }` })
  // The change of the file makes a reload as well, some milliseconds later; the log is written with a delay.
  const settled = () => delay(1500)
  await use(limits('bodyBytes: 1MiB'))
  await settled()
  t.equal(warned(), 0, 'bodyBytes takes effect at once')
  await use(limits('idleTimeout: 10s'))
  await settled()
  const first = warned()
  t.ok(first >= 1)
  await use(limits('idleTimeout: 10s, bodyBytes: 2MiB'))
  await settled()
  t.ok(warned() > first, 'still not in effect, and said again')
  const second = warned()
  await use({})
  await settled()
  t.equal(warned(), second, 'as at the start: nothing to say')
})

t.test('an issuer that is taken out is gone from the metrics', async t => {
  const other = `  other: { issuer: https://other.example, audience: a, algorithms: [ES256], keys: { url: https://127.0.0.1:1/jwks }, flow: { preset: rfc9068 } }`
  const apis = `
  - name: Accounts
    base: /accounts
    security: [mtls, oauth2]
    flow: authorization_code
    issuer: [main, other]
    routes:
      GET /{id}: { scopes: { all: [basic] } }
`
  const write = (_: string, text: string) => world.write('issuers.yaml', text)
  const postern = await startPostern(
    { write },
    policyText(world, { upstream: counting.url, moreIssuers: other, apis }),
    {},
    'serving',
  )
  running.push(postern)
  const mentioned = async () => (await postern.admin('/metrics')).text.includes('issuer="other"')
  await untilAsync(mentioned, () => 'no series of the issuer')
  writeFileSync(
    postern.policyFile,
    policyText(world, { upstream: counting.url, apis: apis.replace('[main, other]', 'main') }),
  )
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.notOk(await mentioned())
  t.match(
    (await postern.admin('/metrics')).text,
    /postern_keys_last_success_timestamp_seconds\{issuer="main"\}/,
  )
})

t.test('a certificate that is taken out of the clients of an issuer is refused at once', async t => {
  const clients = (commonName: string) => ({
    issuer: `clients: { client-1: { certificates: [{ commonName: ${commonName} }] } }`,
  })
  const { postern, use } = await start('clients', clients('client-a'))
  const token = boundToken(world, world.client, 'authorization_code', { scope: 'basic' })
  const status = async () => (await ask(world, postern, { client: world.client, token })).status
  t.equal(await status(), 200)
  await use(clients('another'))
  t.equal(await status(), 403, 'certificate_not_allowed')
  await use(clients('client-a'))
  t.equal(await status(), 200)
})

t.test('connections beyond the limit are counted, and told of once a second', async t => {
  const { postern } = await start('crowded', { limits: '{ connections: 2 }' })
  const held = [await connectRaw(world, postern), await connectRaw(world, postern)]
  for (let i = 0; i < 20; i++) {
    const socket = connect({ port: postern.port, host: '127.0.0.1', rejectUnauthorized: false })
    socket.on('error', () => {})
    await new Promise(resolve => socket.once('close', resolve))
  }
  const { text } = await postern.admin('/metrics')
  t.match(text, /^postern_connections_dropped_total\{limit="connections"\} 20$/m)
  await postern.logged(({ msg }) => /connections are dropped/.test(String(msg)))
  const told = postern.log().filter(({ msg }) => /connections are dropped/.test(String(msg))).length
  t.ok(told < 5, `${told} lines`)
  for (const client of held) client.destroy()
})

t.test('a refused policy is taken once the file it names is there, in whichever directory', async t => {
  const { postern, text } = await start('late')
  const directory = join(world.directory, 'late-keys')
  const certificates = '[{ cert: late-keys/server.pem, key: late-keys/server.key }]'
  const moreUpstreams = `  one: { url: ${counting.url} }\n  two: { url: ${counting.url} }`
  writeFileSync(postern.policyFile, text({ certificates, apis: APIS, moreUpstreams }))
  await postern.logged(({ level, cause }) => level === 'error' && cause === 'file')
  mkdirSync(directory)
  writeFileSync(join(directory, 'server.pem'), world.server.certificatePem)
  writeFileSync(join(directory, 'server.key'), world.server.keyPem)
  await untilAsync(
    async () => (await ask(world, postern, { path: '/two/live' })).status !== 404,
    () => 'not taken',
    25_000,
  )
  t.pass('taken')
})

t.test(
  'an upgrade behind a request that is still being answered does not bring the process down',
  async t => {
    const held: (() => void)[] = []
    counting.respond = (_, response) => held.push(() => response.end('late'))
    const { postern } = await start('pipelined')
    const token = boundToken(world, world.client, 'authorization_code', { scope: 'basic' })
    const client = await connectRaw(world, postern, world.client)
    client.write(
      `GET /open/a HTTP/1.1\r\nHost: ${HOST}\r\n\r\nGET /accounts/1/live HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    )
    await until(
      () => held.length > 0 || client.ending !== 'open',
      () => 'neither served nor ended',
    )
    for (const release of held) release()
    client.destroy()
    counting.respond = (_, response) => response.end('ok')
    t.equal((await ask(world, postern, { path: '/open/a' })).status, 200)
    t.notMatch(postern.output(), /ERR_HTTP_SOCKET_ASSIGNED|fault outside a request/)
  },
)
