import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
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
  webSocketHandshake,
} from '../support/postern.js'
import { answer, RecordingUpstream } from '../support/recording-upstream.js'

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
  - name: Machines
    base: /machines
    security: [mtls]
    routes:
      GET /{id}: {}
      GET /{id}/live: { upgrade: websocket }
`
const start = (name: string, policy: string) => startPostern(underName(world, name), policy)
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
  const postern = await start('forms', policyText(world, { ...settings, clients: withList }))
  t.teardown(() => postern.child.kill('SIGKILL'))
  const inTime = boundToken(world, world.client, 'authorization_code')
  t.equal(await (await halfAForm(postern, world.client, '/notes/usual', inTime))(), 200)
  t.equal(seen('/notes/usual'), 1)

  const revoked = await halfAForm(postern, world.client, '/notes/revoked', inTime)
  world.write('clients.crl', await world.clientCa.crl({ revoked: [world.client], thisUpdate: new Date() }))
  t.equal((await postern.admin('/-/reload', 'POST')).status, 200)
  t.equal(await revoked(), 408, 'another policy, which has not judged it')
  t.equal(seen('/notes/revoked'), 0)

  const plain = await start('expiry', policyText(world, settings))
  t.teardown(() => plain.child.kill('SIGKILL'))
  const began = Math.floor(Date.now() / 1000)
  const brief = boundToken(world, world.client, 'authorization_code', { iat: began, exp: began + 3 })
  const late = await halfAForm(plain, world.client, '/notes/expired', brief)
  await sleep(3500)
  t.equal(await late(), 401)
  t.equal(seen('/notes/expired'), 0)
  t.equal((await plain.logged(({ path }) => path === '/notes/expired')).code, 'token_expired')
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
    'authorities',
    policyText(world, { upstream: upstream.url, apis: APIS, clients }),
  )
  t.teardown(() => postern.child.kill('SIGKILL'))
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
  const postern = await start('mistake', policy('client-ca.pem'))
  t.teardown(() => postern.child.kill('SIGKILL'))
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
