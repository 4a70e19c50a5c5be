import { once } from 'node:events'
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import type { ServerResponse } from 'node:http'
import { Agent } from 'node:https'
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { mount } from '../support/mounted-volume.js'
import { createAuthority, EXTENDED_KEY_USAGE, type Issued } from '../support/pki.js'
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
  USUAL_APIS,
  until,
  untilAsync,
} from '../support/postern.js'
import type { RawClient } from '../support/raw-client.js'
import { hang, RecordingUpstream, type Step } from '../support/recording-upstream.js'

const world = await createWorld()
const upstream = await startCounting()
const running: Postern[] = []
t.teardown(async () => {
  for (const { child } of running) child.kill('SIGKILL')
  upstream.close()
  await world.close()
})

/** A policy that differs from others by one route, so that the wire shows which one is in use. */
function release(number: number, parts: Partial<PolicyParts> = {}): string {
  const apis = `${USUAL_APIS}
  - name: Release
    base: /release
    security: public
    routes:
      GET /${number}: {}
`
  return policyText(world, { upstream: upstream.url, apis, ...parts })
}

/** Each sidecar has a policy file of its own: they share the directory, and watch their files. */
async function start(name: string, parts: Partial<PolicyParts> = {}, number = 1): Promise<Postern> {
  const write = (_: string, text: string) => world.write(`${name}.yaml`, text)
  const postern = await startPostern({ write }, release(number, parts))
  running.push(postern)
  return postern
}

/** Whether a release is in use, and no other one. */
async function isServed(postern: Postern, number: number): Promise<boolean> {
  return (await ask(world, postern, { path: `/release/${number}` })).status === 200
}

/** Fast enough that a change was noticed when it happened, not when the slow poll looked. Milliseconds. */
const SOON = 6_000

async function served(postern: Postern, number: number, words: string): Promise<void> {
  await untilAsync(
    () => isServed(postern, number),
    () => `${words}: release ${number} is not served`,
    SOON,
  )
}

/** A sample of /metrics. */
async function metric(postern: Postern, sample: string): Promise<number> {
  const { text } = await postern.admin('/metrics')
  const line = text.split('\n').find(each => each.startsWith(`${sample} `))
  return line === undefined ? 0 : Number(line.slice(sample.length + 1))
}

const failures = (postern: Postern) => metric(postern, 'postern_reload_total{result="failure"}')
const successes = (postern: Postern) => metric(postern, 'postern_reload_total{result="success"}')

async function reload(postern: Postern): Promise<{ status: number; text: string }> {
  return postern.admin('/-/reload', 'POST')
}

async function reloaded(postern: Postern): Promise<void> {
  const { status, text } = await reload(postern)
  if (status !== 200) throw new Error(text)
}

const token = (client: Issued = world.client) =>
  boundToken(world, client, 'authorization_code', { scope: 'basic' })

/** One request on a connection that is open. */
async function get(connection: RawClient, path: string, bearer?: string) {
  const authorization = bearer === undefined ? '' : `Authorization: Bearer ${bearer}\r\n`
  connection.write(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${authorization}\r\n`)
  return connection.answer()
}

async function reasonOf(postern: Postern, interactionId: unknown): Promise<unknown> {
  return (await postern.logged(line => line.interactionId === interactionId)).code ?? null
}

/** Requests for /open/held wait in the API until they are released. */
const held: ServerResponse[] = []
upstream.respond = (request, response) => {
  if (request.url === '/open/held') held.push(response)
  else if (request.url === '/open/begun') {
    response.writeHead(200, { 'Content-Length': '9' }).write('begun')
    held.push(response)
  } else response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"ok":true}')
}

/** Sends a request and resolves once it is in the API, with the answer to come and the way to let it come. */
async function hold(postern: Postern) {
  const answer = ask(world, postern, { path: '/open/held' })
  answer.catch(() => {}) // whoever awaits it sees the error
  await until(
    () => held.length > 0,
    () => 'the request did not reach the API',
  )
  const response = held.shift() as ServerResponse
  return { answer, release: () => response.end('held') }
}

const EXIT_DEADLINE_MS = 60_000

/** The exit code, once the process has ended. */
async function exitOf({ child }: Postern): Promise<number | null> {
  await until(
    () => child.exitCode !== null || child.signalCode !== null,
    () => 'the process did not end',
    EXIT_DEADLINE_MS,
  )
  return child.exitCode
}

// --- The longest tests first: they run beside the others, and are looked at last ---

/** After a 101 reads no more, so that it does not even notice when the other side ends. */
const switchAndStall: Step = {
  act: socket => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    socket.pause()
  },
}

/** A sidecar that is told to stop while clients hold on to it for ever. */
async function stopDespiteClients() {
  const recording = await RecordingUpstream.start()
  recording.script(switchAndStall, hang())
  const postern = await start('deadline', { upstream: recording.url })
  const webSocket = await connectRaw(world, postern, world.client)
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  webSocket.write(
    `GET /accounts/1/live HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${token()}\r\n${upgrade}${key}\r\n`,
  )
  const { status } = await webSocket.answer()
  webSocket.socket.pause() // as stubborn as the upstream
  const endless = await connectRaw(world, postern)
  endless.write(`GET /open/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await recording.arrived(2)
  const unfinished = connectTcp({ port: postern.port, host: '127.0.0.1' })
  unfinished.on('error', () => {})
  await once(unfinished, 'connect')
  const stoppedAt = performance.now()
  postern.child.kill('SIGTERM')
  const code = await exitOf(postern)
  const seconds = (performance.now() - stoppedAt) / 1000
  for (const client of [webSocket, endless]) client.destroy()
  unfinished.destroy()
  await recording.stop()
  return { status, code, seconds, log: postern.log() }
}

/** More than the interval of the slow poll. */
const LATE_MS = 25_000

/** A policy that names a certificate which comes later; noticed when the slow poll looks. */
async function takeLateFile() {
  const postern = await start('early')
  const file = join(world.directory, 'early.yaml')
  writeFileSync(file, release(2, { certificates: '[{ cert: coming.pem, key: server.key }]' }))
  const { problem } = await postern.logged(line => line.level === 'error' && line.cause === 'file')
  const servedMeanwhile = await isServed(postern, 1)
  world.write('coming.pem', world.server.certificatePem)
  await untilAsync(
    () => isServed(postern, 2),
    () => 'the policy was not tried again',
    LATE_MS,
  )
  postern.child.kill('SIGKILL')
  return { problem, servedMeanwhile }
}

const stopping = stopDespiteClients()
const late = takeLateFile()
for (const slow of [stopping, late]) slow.catch(() => {}) // told by the tests that await them

// --- What makes a reload happen ---

/** For tests that only change the policy. Each begins with a release of its own. */
const shared = await start('shared')
const sharedFile = join(world.directory, 'shared.yaml')
let latest = 1
const nextRelease = () => {
  latest += 1
  return latest
}

t.test('a new policy is taken into use on SIGHUP', async t => {
  shared.child.kill('SIGHUP')
  t.match(await shared.logged(line => line.msg === 'reloaded'), { cause: 'SIGHUP', changed: false })
  for (let round = 1; round <= 3; round++) {
    const number = nextRelease()
    writeFileSync(sharedFile, release(number))
    shared.child.kill('SIGHUP')
    await served(shared, number, 'SIGHUP')
    t.notOk(await isServed(shared, number - 1), 'the one before is gone')
  }
})

t.test('a new policy is taken into use when its file changes, however it is written', async t => {
  const writers: Readonly<Record<string, (text: string) => void>> = {
    'written in place': text => writeFileSync(sharedFile, text),
    'renamed into place': text => {
      writeFileSync(`${sharedFile}.tmp`, text)
      renameSync(`${sharedFile}.tmp`, sharedFile)
    },
    'removed and made again': text => {
      rmSync(sharedFile)
      writeFileSync(sharedFile, text)
    },
  }
  for (const [words, write] of Object.entries(writers))
    for (let round = 1; round <= 3; round++) {
      const number = nextRelease()
      write(release(number))
      await served(shared, number, words)
      t.notOk(await isServed(shared, number - 1), `${words}: the one before is gone`)
    }
  await shared.logged(line => line.msg === 'reloaded' && line.cause === 'file' && line.changed === true)
})

t.test('a change is noticed in a directory where other files change all the time', async t => {
  const directory = join(world.directory, 'busy')
  mkdirSync(directory)
  const others = ['server.pem', 'server.key', 'client-ca.pem', 'issuer-ca.pem']
  for (const name of others) copyFileSync(join(world.directory, name), join(directory, name))
  const file = join(directory, 'policies.yaml')
  const write = (_: string, text: string) => {
    writeFileSync(file, text)
    return file
  }
  const postern = await startPostern({ write }, release(1))
  running.push(postern)
  const noise = setInterval(() => appendFileSync(join(directory, 'other.log'), 'x'), 20)
  t.teardown(() => clearInterval(noise))
  for (const number of [2, 3, 4]) {
    writeFileSync(file, release(number))
    await served(postern, number, 'in a busy directory')
  }
  t.equal(await successes(postern), 3, 'the other file is no change')
  postern.child.kill('SIGKILL')
})

t.test('a new policy is taken into use when Kubernetes swaps the volume', async t => {
  const directory = join(world.directory, 'volume')
  const others = ['server.pem', 'server.key', 'client-ca.pem', 'issuer-ca.pem']
  const files = Object.fromEntries(
    others.map(name => [name, readFileSync(join(world.directory, name), 'utf8')]),
  )
  const write = (_: string, text: string) => {
    mount(directory, { ...files, 'policies.yaml': text }, 1)
    return join(directory, 'policies.yaml')
  }
  const postern = await startPostern({ write }, release(1))
  running.push(postern)
  for (const number of [2, 3, 4]) {
    mount(directory, { ...files, 'policies.yaml': release(number) }, number)
    await served(postern, number, 'swapped')
    t.notOk(await isServed(postern, number - 1), 'the one before is gone')
  }
  postern.child.kill('SIGKILL')
})

t.test('an operator reloads with POST on the admin port, and learns what came of it', async t => {
  const before = await successes(shared)
  const number = nextRelease()
  writeFileSync(sharedFile, release(number))
  t.match(await reload(shared), { status: 200, text: 'reloaded\n' })
  t.ok(await isServed(shared, number), 'in use when the answer comes')
  t.ok((await successes(shared)) > before)

  writeFileSync(sharedFile, `${release(number + 1)}oops: true\n`)
  const refused = await reload(shared)
  t.equal(refused.status, 422)
  t.match(refused.text, /^not reloaded, the policy before serves on\n.*shared\.yaml:\d+:1 .*"oops"/)
  t.ok(await isServed(shared, number))
})

t.test('a web page cannot make it reload, nor can a link', async t => {
  const number = nextRelease()
  writeFileSync(sharedFile, release(number))
  await served(shared, number, 'for the pages')
  const url = `http://127.0.0.1:${shared.adminPort}/-/reload`
  const before = await successes(shared)
  for (const origin of ['https://evil.example', 'http://127.0.0.1', 'null']) {
    const response = await fetch(url, { method: 'POST', headers: { Origin: origin } })
    t.equal(response.status, 403, origin)
  }
  for (const method of ['GET', 'PUT', 'DELETE']) {
    const response = await fetch(url, { method })
    t.equal(response.status, 405, method)
    t.equal(response.headers.get('allow'), 'POST', method)
  }
  t.equal(await successes(shared), before)
  t.equal((await fetch(url, { method: 'POST' })).status, 200)
  t.equal(await successes(shared), before + 1)
})

// --- What a reload must not break ---

t.test('a wrong policy changes nothing, and is reported with file, line and column', async t => {
  const connection = await connectRaw(world, shared, world.client)
  const good = release(latest + 1)
  const wrong: Readonly<Record<string, readonly [string, RegExp]>> = {
    'an unknown key': [`${good}oops: true\n`, /shared\.yaml:\d+:1 .*"oops"/],
    'no YAML': [`${good}\n  ]]`, /shared\.yaml:\d+:\d+ /],
    empty: ['', /shared\.yaml:1:1 /],
    'a missing file': [
      good.replace('cert: server.pem', 'cert: gone.pem'),
      /shared\.yaml:7:\d+ gone\.pem does not exist/,
    ],
    'a route without security': [
      good.replace('security: public\n    routes:\n      GET /', 'routes:\n      GET /'),
      /shared\.yaml:\d+:\d+ .*security/s,
    ],
  }
  for (const [words, [text, problem]] of Object.entries(wrong)) {
    const [failed, logged] = [await failures(shared), shared.log().length]
    writeFileSync(sharedFile, text)
    await untilAsync(
      async () => (await failures(shared)) > failed,
      () => `${words}: no failure was counted`,
    )
    const isReport = (line: Record<string, unknown>) =>
      line.level === 'error' && line.cause === 'file' && problem.test(String(line.problem))
    await until(
      () => shared.log().slice(logged).some(isReport),
      () => `${words}: not reported`,
    )
    t.ok(await isServed(shared, latest), `${words}: new connections`)
    t.equal((await get(connection, '/accounts/1', token())).status, 200, `${words}: old connections`)
    t.equal((await shared.admin('/readyz')).status, 200, `${words}: ready`)
  }
  const number = nextRelease()
  writeFileSync(sharedFile, release(number))
  await served(shared, number, 'repaired')
  connection.destroy()
})

t.test('a policy made to exhaust the reader is refused, and the process lives on', async t => {
  const KIB = 1024
  const good = release(latest + 1)
  const aliases = Array.from({ length: 30 }, (_, level) => {
    const previous = level === 0 ? 'x' : `*a${level - 1}`
    return `a${level}: &a${level} [${Array(10).fill(previous).join(', ')}]`
  })
  const bombs: Readonly<Record<string, string>> = {
    'more than 1 MiB': `${good}# ${'x'.repeat(2 * KIB * KIB)}\n`,
    'brackets nested deep': '['.repeat(500 * KIB),
    'braces nested deep': '{a: '.repeat(200 * KIB),
    'lists nested deep': '- '.repeat(400 * KIB),
    'indented deep': Array.from({ length: 1200 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
    'aliases of aliases': `${good}${aliases.join('\n')}\n`,
    'one key many times': 'version: 1\n'.repeat(8 * KIB),
    'zero bytes': '\0'.repeat(500 * KIB),
  }
  for (const [words, text] of Object.entries(bombs)) {
    writeFileSync(sharedFile, text)
    const { status, text: answer } = await reload(shared)
    t.equal(status, 422, words)
    t.match(answer, /shared\.yaml:\d+:\d+ /, words)
    t.ok(answer.length < 16 * KIB, `${words}: the report is bounded (${answer.length} bytes)`)
    t.ok(await isServed(shared, latest), words)
  }
  const number = nextRelease()
  writeFileSync(sharedFile, release(number))
  await reloaded(shared)
  t.ok(await isServed(shared, number))
})

/** Asks in several ways without a pause, and tells everything that was not 200. */
function load(postern: Postern) {
  const wrong: string[] = []
  let asked = 0
  let stopped = false
  const kept = new Agent({ keepAlive: true, maxSockets: 4 })
  const loop = async (request: () => Parameters<typeof ask>[2]) => {
    while (!stopped)
      try {
        const { status, text } = await ask(world, postern, request())
        if (status !== 200) wrong.push(`${status} ${text}`)
        asked += 1
      } catch (error) {
        wrong.push((error as Error).message)
      }
  }
  const { client } = world
  const body = 'x'.repeat(4096)
  const loops = [
    loop(() => ({ client, token: token(), agent: kept })),
    loop(() => ({ client, token: token(), agent: kept })),
    loop(() => ({ path: '/open/x', method: 'POST', body, agent: kept })),
    loop(() => ({ client, token: token() })),
  ]
  return {
    wrong,
    asked: () => asked,
    stop: async () => {
      stopped = true
      await Promise.all(loops)
      kept.destroy()
    },
  }
}

t.test('reloads under load lose no request, and one that is under way ends as it began', async t => {
  const postern = await start('load')
  const file = join(world.directory, 'load.yaml')
  const clients = load(postern)
  const long = await hold(postern)
  for (let number = 2; number <= 13; number++) {
    // Every kind of part is replaced in turn: routes, keys and tokens, upstream connections, TLS.
    const parts: Partial<PolicyParts> = [
      {},
      { issuer: `clockSkew: ${number}s` },
      { upstreamMore: `connections: ${100 + number}` },
      { profile: number % 2 === 0 ? 'fapi2' : 'compatible' },
    ][number % 4] as Partial<PolicyParts>
    const before = clients.asked()
    // In one step: half a file that is read would be a failure, if a harmless one.
    writeFileSync(`${file}.tmp`, release(number, parts))
    renameSync(`${file}.tmp`, file)
    if (number % 2 === 0) postern.child.kill('SIGHUP')
    else await reloaded(postern)
    await served(postern, number, 'under load')
    await until(
      () => clients.asked() > before + 4,
      () => 'the clients are stuck',
    )
  }
  long.release()
  t.match(await long.answer, { status: 200, text: 'held' })
  await clients.stop()
  t.strictSame(clients.wrong, [])
  t.ok(clients.asked() > 50, `${clients.asked()} requests`)
  t.equal(await failures(postern), 0)
  postern.child.kill('SIGKILL')
})

// --- Certificates of the server ---

const serverUse = { sanDns: [HOST], extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] }
const newServerCertificate = () => world.serverCa.issue({ commonName: HOST, key: 'rsa-2048', ...serverUse })

function tlsConnection(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { port, host: '127.0.0.1', servername: HOST, ca: world.serverCa.certificatePem, ...options },
      () => resolve(socket),
    )
    socket.on('error', reject)
  })
}

async function shownSerial(postern: Postern): Promise<string | undefined> {
  const socket = await tlsConnection(postern.port)
  const serial = socket.getPeerX509Certificate()?.serialNumber
  socket.destroy()
  return serial
}

t.test('a renewed server certificate is shown to new connections, and old ones go on', async t => {
  const directory = join(world.directory, 'secret')
  const secret = ({ certificatePem, keyPem }: Issued) => ({ 'tls.crt': certificatePem, 'tls.key': keyPem })
  let current = await newServerCertificate()
  mount(directory, secret(current), 1)
  const postern = await start('rotation', { certificates: '[{ cert: secret/tls.crt, key: secret/tls.key }]' })
  const connection = await connectRaw(world, postern, world.client)
  const expiry = 'postern_certificate_expiry_timestamp_seconds{name="secret/tls.crt"}'
  for (const revision of [2, 3, 4]) {
    t.equal(await shownSerial(postern), current.certificate.serialNumber)
    t.equal((await get(connection, '/accounts/1', token())).status, 200)
    const notAfter = Math.floor(Date.now() / 1000) + revision * 30 * 86_400
    current = await world.serverCa.issue({
      ...{ commonName: HOST, key: 'rsa-2048', notAfter: new Date(notAfter * 1000) },
      ...serverUse,
    })
    mount(directory, secret(current), revision)
    await untilAsync(
      async () => (await shownSerial(postern)) === current.certificate.serialNumber,
      () => 'the new certificate is not shown',
      SOON,
    )
    t.equal(await metric(postern, expiry), notAfter)
  }
  t.equal(
    (await get(connection, '/accounts/1', token())).status,
    200,
    'the connection of the first certificate',
  )
  t.equal(connection.ending, 'open')
  t.equal(await failures(postern), 0)
  connection.destroy()
  postern.child.kill('SIGKILL')
})

t.test('a certificate whose key has not come yet is not used, and is once it has', async t => {
  const first = await newServerCertificate()
  const second = await newServerCertificate()
  world.write('late.pem', first.certificatePem)
  world.write('late.key', first.keyPem)
  const postern = await start('late', { certificates: '[{ cert: late.pem, key: late.key }]' })
  world.write('late.pem', second.certificatePem)
  await untilAsync(
    async () => (await failures(postern)) > 0,
    () => 'the pair that does not match was taken',
  )
  t.equal(await shownSerial(postern), first.certificate.serialNumber)
  world.write('late.key', second.keyPem)
  await untilAsync(
    async () => (await shownSerial(postern)) === second.certificate.serialNumber,
    () => 'the new certificate is not shown',
    SOON,
  )
  t.equal((await ask(world, postern, { client: world.client, token: token() })).status, 200)
  postern.child.kill('SIGKILL')
})

// TLS-03, TLS-12, TLS-20: what holds for the first TLS context must hold for every later one.
t.test('the TLS rules hold after a reload', async t => {
  const chacha = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-CHACHA20-POLY1305' } as const
  const stranger = await createAuthority('Another CA').then(ca => ca.issue())
  const offersChacha = () =>
    tlsConnection(shared.port, chacha).then(
      socket => socket.destroy() !== undefined,
      () => false,
    )
  for (const profile of ['compatible', 'fapi1-advanced', 'fapi2', 'compatible']) {
    writeFileSync(sharedFile, release(nextRelease(), { profile }))
    await reloaded(shared)
    t.equal(await offersChacha(), profile === 'compatible', `CHACHA20 with ${profile}`)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const options = { minVersion: version, maxVersion: version } as const
      const first = await tlsConnection(shared.port, options)
      let session = version === 'TLSv1.2' ? first.getSession() : undefined
      first.on('session', data => {
        session = data
      })
      first.end(`GET /open/x HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`)
      first.resume()
      await once(first, 'close')
      const second = await tlsConnection(
        shared.port,
        session === undefined ? options : { ...options, session },
      )
      t.notOk(second.isSessionReused(), `${profile}, ${version}: no resumption`)
      second.destroy()
    }
    const unknown = await ask(world, shared, { client: stranger, token: token(stranger) })
    t.equal(
      await reasonOf(shared, unknown.headers['x-fapi-interaction-id']),
      'certificate_untrusted',
      profile,
    )
    t.equal((await ask(world, shared, { client: world.client, token: token() })).status, 200, profile)
    await t.rejects(tlsConnection(shared.port, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }), profile)
  }
})

// --- Trust in clients ---

/** A TCP relay that keeps back what the client says after its first words, until it is told to go on. */
async function haltingRelay(port: number) {
  let open: (() => void) | null = null
  let kept = 0
  const sockets: Socket[] = []
  const server = createServer(client => {
    const target = connectTcp({ port, host: '127.0.0.1' })
    sockets.push(client, target)
    for (const socket of [client, target]) socket.on('error', () => {})
    target.pipe(client)
    client.once('data', first => {
      target.write(first)
      const rest: Buffer[] = []
      const keep = (chunk: Buffer) => {
        kept += chunk.length
        rest.push(chunk)
      }
      client.on('data', keep)
      open = () => {
        client.off('data', keep)
        for (const chunk of rest) target.write(chunk)
        client.pipe(target)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    /** Bytes kept back. */
    kept: () => kept,
    goOn: () => open?.(),
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

t.test('a client whose authority is taken out loses access, on open connections too', async t => {
  const newCa = await createAuthority('New client CA')
  const newClient = await newCa.issue()
  const { client: oldClient } = world
  const oldOf = (path: string) => ({ client: oldClient, token: token(), path })
  world.write('trust.pem', world.clientCa.certificatePem)
  const postern = await start('trust', { clients: '{ trust: pki, ca: [trust.pem] }' })

  const idle = await connectRaw(world, postern, oldClient)
  t.equal((await get(idle, '/accounts/1', token())).status, 200)
  const fresh = await connectRaw(world, postern, oldClient)
  const early = await connectRaw(world, postern, newClient)
  const refused = await get(early, '/accounts/1', token(newClient))
  t.equal(await reasonOf(postern, refused.values('x-fapi-interaction-id')[0]), 'certificate_untrusted')
  const underWay = await hold(postern)

  // One handshake begins under the old bundle and ends under the new one.
  const relay = await haltingRelay(postern.port)
  const identity = { cert: oldClient.certificatePem, key: oldClient.keyPem }
  const between = await tlsConnection(relay.port, { ...identity, minVersion: 'TLSv1.3' })
  await until(
    () => relay.kept() > 0,
    () => 'the client did not answer the server',
  )

  world.write('trust.pem', newCa.certificatePem)
  await reloaded(postern)

  for (const [words, connection] of Object.entries({ idle, fresh, early }))
    t.match(await nextOn(postern, connection), /^closed$|^certificate_untrusted$/, words)
  const later = await ask(world, postern, oldOf('/accounts/1'))
  t.equal(await reasonOf(postern, later.headers['x-fapi-interaction-id']), 'certificate_untrusted')
  t.equal(
    (await ask(world, postern, { client: newClient, token: token(newClient) })).status,
    200,
    'new authority',
  )
  underWay.release()
  t.equal((await underWay.answer).status, 200, 'what was under way')

  between.write(`GET /machines/1 HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`)
  let answer = ''
  between.setEncoding('latin1').on('data', chunk => {
    answer += chunk
  })
  relay.goOn()
  await once(between, 'close')
  t.notMatch(answer, /^HTTP\/1\.1 200/, 'a handshake from before')
  relay.close()
  postern.child.kill('SIGKILL')
})

/** What a client finds that asks once more: that its connection is closed, or the reason of the answer. */
async function nextOn(postern: Postern, connection: RawClient): Promise<unknown> {
  try {
    const answer = await get(connection, '/machines/1')
    return await reasonOf(postern, answer.values('x-fapi-interaction-id')[0])
  } catch {
    return connection.ending === 'open' ? 'no answer' : 'closed'
  } finally {
    connection.destroy()
  }
}

t.test('an authority that is added leaves nobody out', async t => {
  const newCa = await createAuthority('New client CA')
  const newClient = await newCa.issue()
  world.write('more.pem', world.clientCa.certificatePem)
  const postern = await start('more', { clients: '{ trust: pki, ca: [more.pem] }' })
  const underWay = await hold(postern)
  appendFileSync(join(world.directory, 'more.pem'), newCa.certificatePem)
  await untilAsync(
    async () => (await ask(world, postern, { client: newClient, token: token(newClient) })).status === 200,
    () => 'the new authority is not trusted',
    SOON,
  )
  t.equal((await ask(world, postern, { client: world.client, token: token() })).status, 200, 'the old one')
  underWay.release()
  t.equal((await underWay.answer).status, 200)
  postern.child.kill('SIGKILL')
})

// --- The end ---

/** Sends SIGTERM and looks until no connection is accepted any more: what was seen before that. */
async function watchDrain(t: Test, postern: Postern) {
  postern.child.kill('SIGTERM')
  let sawUnready = false
  let servedWhileUnready = 0
  await untilAsync(
    async () => {
      const { status, text } = await postern.admin('/readyz').catch(() => ({ status: 0, text: '' }))
      sawUnready ||= status === 503 && text.includes('[-]accepting failed: draining')
      try {
        const answered = await ask(world, postern, { path: '/open/x' })
        t.equal(answered.status, 200)
        if (!sawUnready) return false
        t.equal(answered.headers.connection, 'close')
        servedWhileUnready += 1
        return false
      } catch (error) {
        t.match(error, { code: /ECONNREFUSED|ECONNRESET/ })
        return true
      }
    },
    () => 'it still accepts connections',
  )
  t.ok(sawUnready, 'unready before it refuses')
  t.ok(servedWhileUnready > 0, 'load balancers had time to see it')
}

t.test('on SIGTERM it is unready first, then accepts no more, and ends what is under way', async t => {
  const postern = await start('drain')
  const idle = await connectRaw(world, postern)
  t.equal((await get(idle, '/open/x')).status, 200)
  const long = await hold(postern)
  await watchDrain(t, postern)
  t.equal((await idle.closed()).ending, 'ended', 'idle connections are ended')
  t.equal((await postern.admin('/livez')).status, 200, 'alive until the last answer')
  t.equal(postern.child.exitCode, null, 'not before the last answer')
  long.release()
  t.match(await long.answer, { status: 200, text: 'held' })
  t.equal(await exitOf(postern), 0)
  t.match(postern.log().at(-1), { msg: 'stopped' })
})

t.test('no connection ends under a client that was not told so', async t => {
  const postern = await start('polite')
  const clients = [await connectRaw(world, postern), await connectRaw(world, postern)] as const
  const [waiting, begun] = clients
  waiting.write(`GET /open/held HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  begun.write(`GET /open/begun HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await until(
    () => held.length === 2 && begun.received.includes('begun'),
    () => 'the requests are not under way',
  )
  postern.child.kill('SIGTERM')
  await untilAsync(
    async () => (await postern.admin('/readyz')).status === 503,
    () => 'it does not drain',
  )
  for (const response of held.splice(0)) response.end('held')
  t.match((await waiting.answer()).values('connection'), ['close'], 'an answer that had not begun says it')
  t.match((await begun.answer()).values('connection'), ['keep-alive'], 'one that had begun cannot')
  const next = await get(begun, '/open/x')
  t.equal(next.status, 200, 'so the next request is served')
  t.match(next.values('connection'), ['close'])
  t.equal(await exitOf(postern), 0)
  for (const client of clients) client.destroy()
})

t.test(
  'a request that crosses the end of an idle connection is answered or untouched, and never reset',
  async t => {
    const postern = await start('crossing')
    const clients = await Promise.all(Array.from({ length: 50 }, () => connectRaw(world, postern)))
    for (const client of clients) t.equal((await get(client, '/open/x')).status, 200)
    const stoppedAt = performance.now()
    postern.child.kill('SIGTERM')
    const ends = clients.map(async (client, index) => {
      // Spread over the moment at which it stops accepting, two seconds from now.
      await delay(1950 + index * 2 - (performance.now() - stoppedAt))
      return get(client, '/open/x').then(
        ({ status }) => status,
        () => client.ending,
      )
    })
    const seen = [...new Set(await Promise.all(ends))]
    t.notOk(seen.includes('reset'), seen.join(', '))
    t.ok(seen.includes('ended') || seen.includes(200), seen.join(', '))
    for (const client of clients) client.destroy()
    t.equal(await exitOf(postern), 0)
  },
)

t.test('an instance without any connection is unready first, too', async t => {
  await untilAsync(
    async () => (await metric(shared, 'postern_connections')) === 0,
    () => 'connections are open',
  )
  await watchDrain(t, shared)
  t.equal(await exitOf(shared), 0)
})

t.test('a second signal ends it at once', async t => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const postern = await start('impatient')
    const long = await hold(postern)
    postern.child.kill(signal)
    await untilAsync(
      async () => (await postern.admin('/readyz')).status === 503,
      () => 'it does not drain',
    )
    postern.child.kill(signal)
    // Far less than the drain would take.
    await until(
      () => postern.child.exitCode !== null,
      () => 'it did not end',
      10_000,
    )
    t.equal(postern.child.exitCode, 1, signal)
    await t.rejects(long.answer, signal)
    long.release()
  }
})

t.test('a policy that names a file which comes later is taken into use when it has come', async t => {
  const { problem, servedMeanwhile } = await late
  t.match(problem, /early\.yaml:7:\d+ coming\.pem does not exist/)
  t.ok(servedMeanwhile, 'the one before serves on meanwhile')
})

t.test('clients that hold on for ever do not keep it beyond the time that Kubernetes gives', async t => {
  const { status, code, seconds, log } = await stopping
  t.equal(status, 101, 'the WebSocket was there')
  t.equal(code, 0)
  t.ok(seconds < 30, `${seconds.toFixed(1)} s`)
  t.ok(
    log.some(line => line.msg === 'cut off at the deadline'),
    'the operator is told',
  )
})
