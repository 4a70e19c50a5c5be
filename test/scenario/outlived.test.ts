import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { RS_ID, RS_SECRET, startIntrospectionServer } from '../support/introspection-server.js'
import { createAuthority, EXTENDED_KEY_USAGE, type Issued } from '../support/pki.js'
import {
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  type Postern,
  policyText,
  startPostern,
  underName,
  until,
  webSocketHandshake,
} from '../support/postern.js'
import { answer, RecordingUpstream, switchAndEcho } from '../support/recording-upstream.js'
import { newSigningKey, type Overrides, type SigningKey } from '../support/token-issuer.js'

// Nothing that was judged once outlives what it was judged by: tokens, certificates, authorities, policies.

const MOST_WAIT_MS = 10_000
const world = await createWorld()
const upstream = await RecordingUpstream.start()
t.teardown(async () => {
  await upstream.stop()
  await world.close()
})
const APIS = `
  - name: Notes
    base: /notes
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      POST /{id}: { scopes: none }
      GET /{id}/live: { scopes: none, upgrade: websocket }
  - name: Machines
    base: /machines
    security: [mtls]
    routes:
      GET /{id}: {}
      POST /{id}: {}
      GET /{id}/live: { upgrade: websocket }
`
/** A sidecar that ends with the test. */
async function start(t: Test, name: string, policy: string): Promise<Postern> {
  const postern = await startPostern(underName(world, name), policy)
  t.teardown(() => postern.child.kill('SIGKILL'))
  return postern
}

/** The upstream takes the next request, and ends its connection without an answer when it is told to. */
function endLate(): () => void {
  const ends: (() => void)[] = []
  upstream.script({ act: socket => void ends.push(() => socket.destroy()) }, answer(200, 'ok'))
  return () => {
    for (const end of ends) end()
  }
}

const seen = (path: string) => upstream.requests.filter(({ target }) => target === path).length

/** Half a form that is granted, and how to send the rest. */
async function halfAForm(postern: Postern, client: Issued, path: string, token: string) {
  const raw = await connectRaw(world, postern, client, MOST_WAIT_MS)
  const type = 'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n'
  raw.write(`POST ${path} HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${token}\r\n${type}\r\na=`)
  await sleep(300)
  return async () => {
    raw.write('hello')
    const { status } = await raw.answer()
    raw.destroy()
    return status
  }
}

t.test('a form that is slow is forwarded by what holds when it is complete', async t => {
  const settings = { upstream: upstream.url, apis: APIS, issuer: 'clockSkew: 0s' }
  world.write('clients.crl', await world.clientCa.crl())
  const withList = '{ ca: [client-ca.pem], crl: [clients.crl] }'
  const postern = await start(t, 'forms', policyText(world, { ...settings, clients: withList }))
  const inTime = boundToken(world, world.client, 'authorization_code')
  const otherToken = boundToken(world, world.otherClient, 'authorization_code')
  t.equal(await (await halfAForm(postern, world.client, '/notes/usual', inTime))(), 200)
  t.equal(seen('/notes/usual'), 1)

  const revoked = await halfAForm(postern, world.client, '/notes/revoked', inTime)
  world.write('clients.crl', await world.clientCa.crl({ revoked: [world.client], thisUpdate: new Date() }))
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.equal(await revoked(), 401)
  t.equal(seen('/notes/revoked'), 0)
  t.equal((await postern.logged(({ path }) => path === '/notes/revoked')).code, 'certificate_revoked')

  const kept = await halfAForm(postern, world.otherClient, '/notes/kept', otherToken)
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.equal(await kept(), 200, 'granted by the new policy, too')
  t.match(upstream.requests.at(-1), { target: '/notes/kept', body: Buffer.from('a=hello') })

  const plain = await start(t, 'expiry', policyText(world, settings))
  const began = Math.floor(Date.now() / 1000)
  const brief = boundToken(world, world.client, 'authorization_code', { iat: began, exp: began + 3 })
  const late = await halfAForm(plain, world.client, '/notes/expired', brief)
  await sleep(3500)
  t.equal(await late(), 401)
  t.equal(seen('/notes/expired'), 0)
  t.equal((await plain.logged(({ path }) => path === '/notes/expired')).code, 'token_expired')
})

/** What the issuer says of an active token that is bound to the certificate of the client. */
const active = (): Overrides => ({
  ...{ active: true, iss: world.issuer.url, aud: `https://${HOST}`, sub: 'user-1', client_id: 'client-1' },
  ...{ scope: '', token_type: 'Bearer', exp: Math.floor(Date.now() / 1000) + 300 },
  cnf: { 'x5t#S256': world.client.thumbprint },
})

t.test(
  'what the issuer says is asked again after a form, and judged by the policy that is there by then',
  async t => {
    const endpoint = await startIntrospectionServer(world.issuer)
    t.teardown(() => endpoint.close())
    world.write('endpoint-ca.pem', endpoint.caPem)
    writeFileSync(join(world.directory, 'secret'), RS_SECRET, { mode: 0o600 })
    world.write('asked.crl', await world.clientCa.crl())
    const auth = `{ method: client_secret_basic, clientId: "${RS_ID}", clientSecretFile: secret }`
    const introspection = `{ url: "${endpoint.url}", ca: endpoint-ca.pem, auth: ${auth}, cache: 0s, timeout: 20s }`
    const policy = policyText(world, {
      upstream: upstream.url,
      apis: APIS,
      issuer: `tokens: opaque\n    introspection: ${introspection}`,
      clients: '{ ca: [client-ca.pem], crl: [asked.crl] }',
    })
    const postern = await start(t, 'asked', policy)
    endpoint.tokens.set('opaque', active())
    const { client } = world
    t.equal(await (await halfAForm(postern, client, '/notes/usual', 'opaque'))(), 200)
    const before = endpoint.asked.length
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const whole = { path: '/notes/whole', token: 'opaque', client, method: 'POST', headers, body: 'a=hello' }
    t.equal((await ask(world, postern, whole)).status, 200)
    t.equal(endpoint.asked.length, before + 1, 'once when the form came with its head')
    const withdrawn = await halfAForm(postern, client, '/notes/withdrawn', 'opaque')
    endpoint.tokens.set('opaque', { active: false })
    t.equal(await withdrawn(), 401)
    t.equal(seen('/notes/withdrawn'), 0)

    endpoint.tokens.set('other', active())
    endpoint.failMode = 'stall'
    const asked = endpoint.asked.length
    const waiting = ask(world, postern, { path: '/notes/asked', token: 'other', client, method: 'POST' })
    await until(
      () => endpoint.asked.length > asked,
      () => 'the issuer was not asked',
    )
    world.write('asked.crl', await world.clientCa.crl({ revoked: [client], thisUpdate: new Date() }))
    t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
    endpoint.failMode = null
    endpoint.release()
    t.equal((await waiting).status, 401)
    t.equal(seen('/notes/asked'), 0)
    t.equal((await postern.logged(({ path }) => path === '/notes/asked')).code, 'certificate_revoked')
  },
)

for (const engine of ['builtin', 'http-proxy'])
  t.test(engine, async t => {
    /** A sidecar before this upstream, and how to revoke the certificate of the client. */
    const startRevocable = async (t: Test, name: string, url: string, more: string) => {
      const write = async (...revoked: readonly Issued[]) =>
        world.write(`${name}.crl`, await world.clientCa.crl({ revoked, thisUpdate: new Date() }))
      await write()
      const clients = `{ ca: [client-ca.pem], crl: [${name}.crl] }`
      const upstreamMore = `engine: ${engine}, ${more}`
      const postern = await start(
        t,
        name,
        policyText(world, { upstream: url, upstreamMore, apis: APIS, clients }),
      )
      return {
        postern,
        get: (path: string, client: Issued) => ask(world, postern, { path, client }),
        revoke: async () => {
          await write(world.client)
          return (await postern.admin('/-/reload', 'POST')).status
        },
      }
    }

    await t.test(
      'a request that waits for a place of the upstream is sent by the policy that is there by then',
      async t => {
        const { postern, get, revoke } = await startRevocable(
          t,
          `places-${engine}`,
          upstream.url,
          'connections: 2',
        )
        const answers: (() => void)[] = []
        upstream.script({
          act: (socket, request) => void answers.push(() => answer(200, 'ok').act(socket, request)),
        })
        const first = [1, 2].map(number => get(`/machines/${number}`, world.otherClient))
        await upstream.arrived(2)
        const revoked = get('/machines/revoked', world.client)
        const granted = get('/machines/granted', world.otherClient)
        await sleep(300)
        t.equal(await revoke(), 200)
        upstream.script(answer(200, 'ok'))
        for (const go of answers) go()
        for (const each of first) t.equal((await each).status, 200)
        t.equal((await revoked).status, 401)
        t.equal((await granted).status, 200)
        t.equal(seen('/machines/revoked'), 0)
        t.equal(seen('/machines/granted'), 1)
        const line = await postern.logged(({ path }) => path === '/machines/revoked')
        t.match(line, { code: 'certificate_revoked', attempts: undefined, address: undefined })
      },
    )

    await t.test(
      'a request that waits for its connection is sent by the policy that is there by then',
      async t => {
        const issued = await world.serverCa.issue({
          ...{ commonName: 'localhost', sanDns: ['localhost'] },
          extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
        })
        world.write('upstream-ca.pem', world.serverCa.certificatePem)
        const secure = await RecordingUpstream.start({ key: issued.keyPem, cert: issued.certificatePem })
        t.teardown(() => secure.stop())
        const held: (() => void)[] = []
        // Takes connections, and brings them to the upstream when it is told to.
        const door = createServer(socket => {
          socket.on('error', () => {})
          held.push(() => {
            const onwards = connectTcp(secure.port, '127.0.0.1')
            onwards.on('error', () => socket.destroy())
            socket.pipe(onwards).pipe(socket)
          })
        })
        door.listen(0, '127.0.0.1')
        await once(door, 'listening')
        t.teardown(() => door.close())
        const url = `https://localhost:${(door.address() as AddressInfo).port}`
        const more = 'tls: { ca: upstream-ca.pem }, timeouts: { connect: 10s }'
        const { get, revoke } = await startRevocable(t, `slow-${engine}`, url, more)
        const [revoked, granted] = [
          get('/machines/revoked', world.client),
          get('/machines/granted', world.otherClient),
        ]
        await until(
          () => held.length === 2,
          () => `${held.length} connections`,
        )
        t.equal(await revoke(), 200)
        const isOver = Promise.all([revoked, granted])
        const letIn = setInterval(() => {
          for (const go of held.splice(0)) go()
        }, 50)
        t.teardown(() => clearInterval(letIn))
        t.same(
          (await isOver).map(({ status }) => status),
          [401, 200],
        )
        t.same(
          secure.requests.map(({ target }) => target),
          ['/machines/granted'],
        )
        t.notMatch(Buffer.concat(secure.connections.map(({ bytes }) => bytes)).toString('latin1'), /revoked/)
      },
    )

    await t.test('the head of a request that is granted leaves, and does not wait for its body', async t => {
      const { postern, revoke } = await startRevocable(t, `body-${engine}`, upstream.url, 'connections: 2')
      upstream.script(answer(200, 'ok'))
      const arrived = () =>
        upstream.connections.filter(({ bytes }) => bytes.includes('POST /machines/body ')).length
      const raw = await connectRaw(world, postern, world.client, MOST_WAIT_MS)
      raw.write(`POST /machines/body HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 5\r\n\r\n`)
      await until(
        () => arrived() === 1,
        () => 'no head',
      )
      t.equal(await revoke(), 200)
      raw.destroy()
    })

    await t.test(
      'a request whose connection from before ends without an answer is not repeated by a new policy',
      async t => {
        const { get, revoke } = await startRevocable(t, `stale-${engine}`, upstream.url, 'connections: 2')
        upstream.script(answer(200, 'ok'))
        t.equal((await get('/machines/warm', world.client)).status, 200)
        const end = endLate()
        const revoked = get('/machines/stale', world.client)
        await upstream.arrived(1)
        t.equal(await revoke(), 200)
        end()
        t.equal((await revoked).status, 502, 'it may have arrived')
        t.equal(seen('/machines/stale'), 1)
      },
    )

    await t.test('what may have arrived is not sent again by a policy that came since', async t => {
      const { get, revoke } = await startRevocable(
        t,
        `again-${engine}`,
        upstream.url,
        'retry: { attempts: 3 }',
      )
      const end = endLate()
      const granted = get('/machines/again', world.otherClient)
      await upstream.arrived(1)
      t.equal(await revoke(), 200)
      end()
      t.equal((await granted).status, 502)
      t.equal(seen('/machines/again'), 1)
    })
  })

t.test('a connection does not outlive the authority that vouched for its certificate', async t => {
  const end = Math.ceil(Date.now() / 1000) * 1000 + 5000
  const root = await createAuthority('Lasting root')
  const [short, middle] = await Promise.all([
    createAuthority('Short root', { notAfter: new Date(end) }),
    root.issueAuthority('Short intermediate', { notAfter: new Date(end) }),
  ])
  const [byRoot, byMiddle, lasting] = await Promise.all([
    short.issue({ commonName: 'client-s' }),
    middle.issue({ commonName: 'client-m' }),
    root.issue({ commonName: 'client-l' }),
  ])
  world.write('roots.pem', root.certificatePem + short.certificatePem)
  const clients = '{ trust: pki, ca: [roots.pem] }'
  const postern = await start(
    t,
    'authorities',
    policyText(world, { upstream: upstream.url, apis: APIS, clients }),
  )
  // Behind others that lead nowhere, where somebody might not look for it.
  const strangers = await Promise.all(Array.from({ length: 8 }, () => createAuthority('Stranger')))
  const sent = [byMiddle, ...strangers, middle].map(({ certificatePem }) => certificatePem)
  const sendsMiddle = { ...byMiddle, certificatePem: sent.join('') }
  const get = `GET /machines/1 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
  const open = await Promise.all(
    [byRoot, sendsMiddle, lasting].map(client => connectRaw(world, postern, client, MOST_WAIT_MS)),
  )
  const statuses = () =>
    Promise.all(
      open.map(async raw => {
        raw.write(get)
        return (await raw.answer()).status
      }),
    )
  t.same(await statuses(), [200, 200, 200])
  upstream.script({
    act: socket =>
      void socket.write('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
    switches: true,
  })
  const tunnel = await connectRaw(world, postern, byRoot, MOST_WAIT_MS)
  tunnel.write(webSocketHandshake('/machines/1/live'))
  t.equal((await tunnel.answer()).status, 101)
  t.ok(Date.now() < end, 'all of it in time')
  await tunnel.closed()
  t.ok(Date.now() >= end - 1000, 'no sooner than its authority')
  await sleep(Math.max(end + 500 - Date.now(), 0))
  upstream.script(answer(200, 'ok'))
  // Node 24 shows nobody what a client sends beside its certificate (docs/limits.md).
  t.same(await statuses(), [401, process.version.startsWith('v24.') ? 200 : 401, 200])
  for (const raw of open) raw.destroy()
})

t.test('a WebSocket does not outlive the key that its token was signed with', async t => {
  const write = (keys: readonly SigningKey[]) =>
    world.write('keys.json', JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }))
  write(world.issuer.keys)
  const policy = policyText(world, { upstream: upstream.url, apis: APIS, keys: '{ file: keys.json }' })
  const postern = await start(t, 'keys', policy)
  const token = boundToken(world, world.client, 'authorization_code')
  upstream.script(switchAndEcho())
  const tunnel = await connectRaw(world, postern, world.client, MOST_WAIT_MS)
  tunnel.write(webSocketHandshake('/notes/1/live', `Authorization: Bearer ${token}`))
  t.equal((await tunnel.answer()).status, 101)
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  tunnel.write('still here')
  t.equal((await tunnel.bytes(10)).toString(), 'still here')
  write([newSigningKey('PS256')])
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.same((await tunnel.closed()).rest.subarray(-4), Buffer.from([0x88, 0x02, 0x03, 0xe9]))
  upstream.script(answer(200, 'ok'))
})

t.test('a certificate that was judged under a trust of the past is not one of the present', async t => {
  const [second, stranger] = await Promise.all([
    world.serverCa.issue({
      ...{ commonName: 'second.bank.example', sanDns: ['second.bank.example'] },
      ...{ key: 'rsa-2048', extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] },
    }),
    createAuthority('Added by mistake'),
  ])
  const leaf = await stranger.issue({ commonName: 'stranger' })
  world.write('second.pem', second.certificatePem)
  world.write('second.key', second.keyPem)
  world.write('mistake.pem', stranger.certificatePem)
  const certificates = '[{ cert: server.pem, key: server.key }, { cert: second.pem, key: second.key }]'
  const policy = (ca: string) =>
    policyText(world, {
      upstream: upstream.url,
      apis: APIS,
      certificates,
      clients: `{ trust: pki, ca: [${ca}] }`,
    })
  const postern = await start(t, 'mistake', policy('client-ca.pem'))
  const use = async (ca: string) => {
    world.write('mistake.yaml', policy(ca))
    t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  }
  for (const servername of [HOST, 'second.bank.example']) {
    const before = upstream.requests.length
    const socket = connectTcp(postern.port, '127.0.0.1')
    await once(socket, 'connect')
    await sleep(200)
    await use('client-ca.pem, mistake.pem')
    const { certificatePem: cert, keyPem: key } = leaf
    const tls = connectTls({ socket, servername, ca: world.serverCa.certificatePem, cert, key })
    await once(tls, 'secureConnect')
    let received = ''
    const isOver = new Promise<void>(resolve => {
      tls.on('data', bytes => {
        received += bytes
        resolve()
      })
      for (const event of ['end', 'error', 'close']) tls.once(event, () => resolve())
    })
    await sleep(200)
    await use('client-ca.pem')
    tls.write(`GET /machines/1 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
    await Promise.race([isOver, sleep(MOST_WAIT_MS)])
    t.notMatch(received, /^HTTP\/1.1 200/, servername)
    t.equal(upstream.requests.length, before)
    tls.destroy()
    socket.destroy()
  }
  t.equal((await ask(world, postern, { path: '/machines/1', client: world.client })).status, 200)
})
