import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import {
  type ConnectionOptions,
  connect,
  DEFAULT_CIPHERS,
  getCiphers,
  type SecureVersion,
  type TLSSocket,
} from 'node:tls'
import t from 'tap'
import {
  type Authority,
  type CertificateOptions,
  createAuthority,
  EXTENDED_KEY_USAGE,
  type Issued,
  KEY_USAGE,
  needsOpenssl,
  selfSigned,
} from '../support/pki.js'
import {
  type Answered,
  ask,
  boundToken,
  createWorld,
  HOST,
  type PolicyParts,
  type Postern,
  policyText,
  refusedStart,
  startCounting,
  startPostern,
} from '../support/postern.js'

const EVENTS_HOST = 'events.bank.example'
const WILDCARD = '*.partners.bank.example'
const PARTNER_HOST = 'one.partners.bank.example'
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const

const world = await createWorld()
const upstream = await startCounting()
const running: Postern[] = []
t.teardown(async () => {
  for (const { child } of running) child.kill('SIGKILL')
  upstream.close()
  await world.close()
})

// Beside the RSA certificate of every test: a wildcard on an EC key, and another RSA certificate, chosen by SNI.
const serverUse = { extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] }
const ecServer = await world.serverCa.issue({ commonName: HOST, sanDns: [HOST], ...serverUse })
const partners = await world.serverCa.issue({ commonName: 'partners', sanDns: [WILDCARD], ...serverUse })
const events = await world.serverCa.issue({
  commonName: EVENTS_HOST,
  sanDns: [EVENTS_HOST],
  key: 'rsa-2048',
  ...serverUse,
})
for (const [name, { certificatePem, keyPem }] of Object.entries({
  partners,
  events,
  'ec-server': ecServer,
})) {
  world.write(`${name}.pem`, certificatePem)
  world.write(`${name}.key`, keyPem)
}
const certificates =
  '[{ cert: server.pem, key: server.key }, { cert: partners.pem, key: partners.key }, { cert: events.pem, key: events.key }]'

/** Each sidecar has a policy file of its own: they share the directory, and watch their files. */
async function start(
  name: string,
  parts: Partial<PolicyParts>,
  environment: NodeJS.ProcessEnv = {},
): Promise<Postern> {
  const write = (_: string, text: string) => world.write(`${name}.yaml`, text)
  const policy = policyText(world, { upstream: upstream.url, certificates, ...parts })
  const postern = await startPostern({ write }, policy, environment)
  running.push(postern)
  return postern
}

const [fapi1, fapi2, compatible, possession] = await Promise.all([
  start('fapi1', { profile: 'fapi1-advanced' }),
  start('fapi2', { profile: 'fapi2' }),
  start('compatible', { profile: 'compatible' }),
  start('possession', {
    profile: 'fapi2',
    clients: '{ trust: possession }',
    certificates: '[{ cert: ec-server.pem, key: ec-server.key }, { cert: events.pem, key: events.key }]',
  }),
])
const posterns = { fapi1, fapi2, compatible, possession }

/** The reason of a refusal, null for none. The log has it; the client does not learn it. */
async function reasonOf(postern: Postern, answered: Answered): Promise<unknown> {
  const id = answered.headers['x-fapi-interaction-id']
  return (await postern.logged(line => line.interactionId === id)).code ?? null
}

/** The same of many answers of which the last is the newest: the log is written in batches, and waited for once. */
async function reasonsOf(postern: Postern, ids: readonly unknown[]): Promise<unknown[]> {
  await postern.logged(line => line.interactionId === ids.at(-1))
  const reasons = new Map(postern.log().map(line => [line.interactionId, line.code ?? null]))
  return ids.map(id => reasons.get(id))
}

const usualToken = (client: Issued = world.client) =>
  boundToken(world, client, 'authorization_code', { scope: 'basic' })

// --- Handshakes written by hand, so that no TLS library decides what can be asked for ---

interface Hello {
  /** Codes of cipher suites. */
  readonly suites: readonly number[]
  /** Version of the record and the message, as a client says which has none above. Default TLS 1.2. */
  readonly version?: number
  readonly serverName?: string
  readonly groups?: readonly number[]
  readonly signatures?: readonly number[]
}

type Reply =
  | { readonly is: 'hello'; readonly version: number; readonly suite: number }
  | { readonly is: 'alert'; readonly description: number }
  | { readonly is: 'end' }

const TLS12 = 0x0303
const HANDSHAKE_FAILURE = 40
const PROTOCOL_VERSION = 70
const [P256, P384, P521, X25519, SECP224R1] = [23, 24, 25, 29, 21]
/** rsa_pkcs1, rsa_pss_rsae and ecdsa, each with SHA-256. */
const SHA256_SIGNATURES = [0x0401, 0x0804, 0x0403]
const SHA1_SIGNATURES = [0x0201, 0x0203]

const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff])
const sized16 = (content: Buffer) => Buffer.concat([u16(content.length), content])
const list16 = (values: readonly number[]) => sized16(Buffer.concat(values.map(u16)))
const extension = (type: number, content: Buffer) => Buffer.concat([u16(type), sized16(content)])

function clientHello(hello: Hello): Buffer {
  const { suites, version = TLS12, serverName = HOST } = hello
  const name = Buffer.concat([Buffer.from([0]), sized16(Buffer.from(serverName))])
  const extensions = Buffer.concat([
    extension(0, sized16(name)),
    extension(10, list16(hello.groups ?? [X25519, P256, P384])),
    extension(11, Buffer.from([1, 0])),
    extension(13, list16(hello.signatures ?? SHA256_SIGNATURES)),
    extension(23, Buffer.alloc(0)),
    extension(0xff01, Buffer.from([0])),
  ])
  const body = Buffer.concat([
    u16(version),
    Buffer.alloc(32, 7),
    Buffer.from([0]),
    list16(suites),
    Buffer.from([1, 0]),
    sized16(extensions),
  ])
  const message = Buffer.concat([Buffer.from([1, body.length >> 16]), u16(body.length & 0xffff), body])
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += 16_384) {
    const content = message.subarray(at, at + 16_384)
    records.push(Buffer.from([22]), u16(Math.min(version, 0x0301)), sized16(content))
  }
  return Buffer.concat(records)
}

/** What the server says first. */
async function replyTo({ port }: { readonly port: number }, hello: Hello): Promise<Reply> {
  const bytes = await firstBytes(port, clientHello(hello), received => received.length >= 5 + 4 + 2 + 33 + 34)
  if (bytes[0] === 21) return { is: 'alert', description: bytes[6] ?? -1 }
  if (bytes[0] !== 22 || bytes[5] !== 2) return { is: 'end' }
  const sessionIdBytes = bytes[43] ?? 0
  return { is: 'hello', version: bytes.readUInt16BE(9), suite: bytes.readUInt16BE(44 + sessionIdBytes) }
}

/** Sends bytes over TCP and returns what comes until there is enough, or the other side ends. */
function firstBytes(port: number, bytes: Buffer, enough: (received: Buffer) => boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true })
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error('no reply within 15 s'))
    }, 15_000)
    socket.on('connect', () => socket.write(bytes))
    socket.on('data', chunk => {
      received = Buffer.concat([received, chunk])
      if (enough(received)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(received)
    })
  })
}

/** Every suite code that there can be, but for those of TLS 1.3 and the signal of a fallback. */
const ALL_SUITES = Array.from({ length: 0x10000 }, (_, code) => code).filter(
  code => code >> 8 !== 0x13 && code !== 0x5600,
)

/** Offers every suite, and then again without those that were taken, until the server takes none. */
async function suitesTaken(postern: Postern, serverName: string): Promise<string[]> {
  const taken: number[] = []
  for (let from = 0; from < ALL_SUITES.length; from += 0x4000)
    for (;;) {
      const suites = ALL_SUITES.slice(from, from + 0x4000).filter(code => !taken.includes(code))
      const reply = await replyTo(postern, { suites, serverName })
      if (reply.is !== 'hello') {
        if (!isRefusal(reply)) throw new Error(`alert ${JSON.stringify(reply)}`)
        break
      }
      taken.push(reply.suite)
    }
  return taken.map(code => code.toString(16)).sort()
}

/** Of a suite: the handshake_failure alert, or the end of the connection (REQUIREMENTS TLS-03). */
function isRefusal(reply: Reply): boolean {
  return reply.is === 'end' || (reply.is === 'alert' && reply.description === HANDSHAKE_FAILURE)
}

const ECDHE_RSA_AES128_GCM = 'c02f'
const ECDHE_RSA_AES256_GCM = 'c030'
const ECDHE_ECDSA_AES128_GCM = 'c02b'
const ECDHE_ECDSA_AES256_GCM = 'c02c'
const ECDHE_RSA_CHACHA20 = 'cca8'
const ECDHE_ECDSA_CHACHA20 = 'cca9'

// --- Clients that finish the handshake ---

/** A TLS connection that is up, or the error with which it failed. */
function handshake(
  port: number,
  options: ConnectionOptions = {},
): Promise<TLSSocket | NodeJS.ErrnoException> {
  return new Promise(resolve => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: HOST,
      ca: world.serverCa.certificatePem,
      ...options,
    })
    socket.once('secureConnect', () => resolve(socket))
    socket.on('error', error => resolve(error))
    socket.setTimeout(15_000, () => socket.destroy(new Error('no handshake within 15 s')))
  })
}

async function connected(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = await handshake(port, options)
  if (socket instanceof Error) throw socket
  return socket
}

/** What `openssl s_client` writes about the handshake. */
function opensslClient(args: readonly string[]): Promise<string> {
  return new Promise(resolve => {
    const options = { timeout: 15_000, killSignal: 'SIGKILL' } as const
    const child = execFile('openssl', ['s_client', ...args], options, (_error, stdout, stderr) =>
      resolve(stdout + stderr),
    )
    child.stdin?.end()
  })
}

const TLS10 = 0x0301
const TLS11 = 0x0302
const SSL3 = 0x0300

// TLS-01
t.test('clients of SSL 3, TLS 1.0 and TLS 1.1 get no connection', async t => {
  for (const [name, postern] of Object.entries(posterns))
    for (const version of [SSL3, TLS10, TLS11]) {
      const suites = [0x002f, 0x0035, 0xc013, 0xc014, 0xc009, 0xc00a]
      const reply = await replyTo(postern, { suites, version })
      const words = `${name}, version ${version.toString(16)}`
      if (version === SSL3) t.not(reply.is, 'hello', words)
      else t.strictSame(reply, { is: 'alert', description: PROTOCOL_VERSION }, words)
    }
})

// TLS-01
t.test('plain HTTP at the TLS port gets no HTTP answer, and never reaches the API', async t => {
  const before = upstream.requests.length
  const request = `GET /open/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
  const bytes = await firstBytes(fapi1.port, Buffer.from(request), () => false)
  t.notMatch(bytes.toString('latin1'), /HTTP\//)
  t.equal(upstream.requests.length, before)
})

// TLS-02
t.test('a client that can do TLS 1.2 and 1.3 gets 1.3, one of 1.2 alone gets 1.2', async t => {
  for (const [name, { port }] of Object.entries(posterns)) {
    const both = await connected(port)
    t.equal(both.getProtocol(), 'TLSv1.3', name)
    both.destroy()
    const old = await connected(port, { maxVersion: 'TLSv1.2' })
    t.equal(old.getProtocol(), 'TLSv1.2', name)
    old.destroy()
  }
})

// TLS-03, TLS-04: of all 65,000 codes, by certificate, because a suite needs a key of its kind.
t.test('TLS 1.2 offers the cipher suites of the profile and no other', async t => {
  const rsa = [ECDHE_RSA_AES128_GCM, ECDHE_RSA_AES256_GCM]
  const ecdsa = [ECDHE_ECDSA_AES128_GCM, ECDHE_ECDSA_AES256_GCM]
  // Node 20 keeps the default certificate beside the one of the name, for clients that can use no other; Node 24 does not,
  // and then an EC certificate has no suite of fapi1-advanced.
  const ofEc = await suitesTaken(fapi1, PARTNER_HOST)
  const ofName = (own: string[], others: string[]) => (ofEc.length === 0 ? own : [...own, ...others].sort())
  t.strictSame(await suitesTaken(fapi1, HOST), rsa, 'fapi1-advanced')
  t.strictSame(ofEc, ofName([], rsa), 'fapi1-advanced, EC certificate')
  t.strictSame(await suitesTaken(fapi2, HOST), rsa, 'fapi2')
  t.strictSame(await suitesTaken(fapi2, PARTNER_HOST), ofName(ecdsa, rsa), 'fapi2, EC certificate')
  t.strictSame(await suitesTaken(possession, HOST), ecdsa, 'fapi2, EC certificate alone')
  t.strictSame(await suitesTaken(compatible, HOST), [...rsa, ECDHE_RSA_CHACHA20], 'compatible')
  t.strictSame(
    await suitesTaken(compatible, PARTNER_HOST),
    ofName([...ecdsa, ECDHE_ECDSA_CHACHA20], [...rsa, ECDHE_RSA_CHACHA20]),
    'compatible, EC certificate',
  )
})

// TLS-03: the same as a conformance suite asks it, one suite at a time.
t.test('a client with one suite that the profile lacks is refused with handshake_failure', async t => {
  const blocks = [
    [0x0000, 0x00fe],
    [0xc001, 0xc0b5],
    [0xcca8, 0xccae],
    [0xd001, 0xd005],
  ] as const
  const allowed = [0xc02f, 0xc030]
  const others = blocks.flatMap(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, offset) => from + offset).filter(
      code => !allowed.includes(code),
    ),
  )
  const wrong: string[] = []
  for (const suite of others) {
    const reply = await replyTo(fapi1, { suites: [suite] })
    if (!isRefusal(reply)) wrong.push(`${suite.toString(16)}: ${JSON.stringify(reply)}`)
  }
  t.strictSame(wrong, [], `${others.length} suites`)
})

// TLS-03, with a real client, for what it makes of the refusal.
t.test('every other TLS 1.2 suite of this Node is refused, and the two of fapi1-advanced work', async t => {
  const works: string[] = []
  const refused: string[] = []
  const odd: string[] = []
  for (const suite of getCiphers().filter(name => !name.startsWith('tls_'))) {
    const ciphers = `${suite.toUpperCase()}:@SECLEVEL=0`
    const result = await handshake(fapi1.port, { maxVersion: 'TLSv1.2', ciphers })
    if (!(result instanceof Error)) {
      works.push(suite)
      result.destroy()
    } else if (/^(?:ERR_SSL_SSL.*_ALERT_HANDSHAKE_FAILURE|ECONNRESET)$/.test(result.code ?? ''))
      refused.push(suite)
    // A client without a shared secret cannot even offer the suites that need one.
    else if (result.code !== 'ERR_SSL_NO_CIPHERS_AVAILABLE') odd.push(`${suite}: ${result.code}`)
  }
  t.strictSame(works.sort(), ['ecdhe-rsa-aes128-gcm-sha256', 'ecdhe-rsa-aes256-gcm-sha384'])
  t.strictSame(odd, [])
  t.ok(refused.length > 20, `${refused.length} suites were refused`)
})

// TLS-05
t.test('a probe without a client certificate gets a ServerHello', async t => {
  for (const [name, postern] of Object.entries(posterns)) {
    const suite = postern === possession ? 0xc02b : 0xc02f
    t.strictSame(await replyTo(postern, { suites: [suite] }), { is: 'hello', version: TLS12, suite }, name)
  }
})

// TLS-06
t.test('key exchange is on X25519, P-256 and P-384, and nothing is signed with SHA-1', async t => {
  const suites = [0xc02f]
  for (const group of [X25519, P256, P384])
    t.match(await replyTo(fapi1, { suites, groups: [group] }), { is: 'hello' }, `group ${group}`)
  for (const group of [SECP224R1, P521])
    t.ok(isRefusal(await replyTo(fapi1, { suites, groups: [group] })), `group ${group}`)
  t.ok(isRefusal(await replyTo(fapi1, { suites, signatures: SHA1_SIGNATURES })), 'SHA-1')
})

// TLS-08
t.test('a client of TLS 1.2 cannot renegotiate', async t => {
  for (const servername of [HOST, EVENTS_HOST]) {
    const socket = await connected(fapi1.port, { maxVersion: 'TLSv1.2', servername })
    const error = await new Promise<Error | null>(resolve => {
      socket.renegotiate({ rejectUnauthorized: false }, resolve)
      socket.once('error', resolve)
      socket.once('close', () => resolve(new Error('closed')))
    })
    t.ok(error instanceof Error, `${servername}: ${error?.message}`)
    socket.destroy()
  }
})

// TLS-08
t.test('openssl reports secure renegotiation, and that it is denied', needsOpenssl, async t => {
  const client = spawn('openssl', [
    ...['s_client', '-connect', `127.0.0.1:${fapi1.port}`],
    ...['-servername', HOST, '-tls1_2'],
  ])
  t.teardown(() => client.kill('SIGKILL'))
  let output = ''
  let asked = false
  for (const stream of [client.stdout, client.stderr])
    stream.setEncoding('utf8').on('data', chunk => {
      output += chunk
      if (!asked && output.includes('Verify return code')) {
        asked = true
        client.stdin.write('R\n')
      }
    })
  client.stdin.on('error', () => {})
  const timer = setTimeout(() => client.kill('SIGKILL'), 15_000)
  await once(client, 'close')
  clearTimeout(timer)
  t.match(output, /Secure Renegotiation IS supported/)
  t.match(output, /Extended master secret: yes/)
  t.match(output, /RENEGOTIATING\s[\s\S]*error/)
  t.notMatch(output, /RENEGOTIATING\s[\s\S]*verify return/, 'no second handshake')
})

// TLS-09
t.test(
  'the certificate follows the name that the client asks for, whatever kinds of keys there are',
  async t => {
    const cases: readonly (readonly [Postern, Issued, string, string])[] = [
      [fapi2, world.server, HOST, 'default'],
      [fapi2, events, EVENTS_HOST, 'another'],
      [fapi2, events, 'EVENTS.Bank.Example', 'case does not matter'],
      [fapi2, partners, PARTNER_HOST, 'wildcard'],
      [fapi2, world.server, 'partners.bank.example', 'a wildcard is a whole label'],
      [fapi2, world.server, 'a.b.partners.bank.example', 'a wildcard is one label'],
      [fapi2, world.server, 'unknown.example', 'unknown name'],
      [fapi2, world.server, '', 'no name'],
      [compatible, partners, PARTNER_HOST, 'EC beside a default of RSA'],
      [possession, ecServer, HOST, 'default on EC'],
      [possession, events, EVENTS_HOST, 'RSA beside a default of EC'],
      [possession, ecServer, '', 'default on EC, no name'],
    ]
    for (const [{ port }, expected, servername, words] of cases)
      for (const version of VERSIONS) {
        const socket = await connected(port, { servername, maxVersion: version, rejectUnauthorized: false })
        const shown = socket.getPeerX509Certificate()?.serialNumber
        t.equal(shown, expected.certificate.serialNumber, `${words}, ${version}`)
        socket.destroy()
      }
  },
)

// TLS-10
t.test('a client that speaks other protocols only is told no_application_protocol', async t => {
  for (const protocols of [['smtp'], ['h2'], ['http/1.0', 'h2c']]) {
    const result = await handshake(fapi1.port, { ALPNProtocols: protocols })
    t.equal((result as NodeJS.ErrnoException).code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL')
  }
  const both = await connected(fapi1.port, { ALPNProtocols: ['h2', 'http/1.1'] })
  t.equal(both.alpnProtocol, 'http/1.1')
  both.destroy()
  const none = await connected(fapi1.port)
  t.equal(none.alpnProtocol, false, 'a client without ALPN is served')
  none.destroy()
})

// --- Resumption ---

interface Resumption {
  readonly resumed: boolean
  readonly status: number
  readonly interactionId: string
}

/** Connects, asks once, connects again with all the session that can be had of the first, and asks again. */
async function resume(
  port: number,
  path: string,
  version: SecureVersion,
  options: ConnectionOptions,
  headers: readonly string[] = [],
): Promise<Resumption> {
  const pinned = { ...options, minVersion: version, maxVersion: version }
  const request = [`GET ${path} HTTP/1.1`, `Host: ${HOST}`, 'Connection: close', ...headers, '', ''].join(
    '\r\n',
  )
  const first = await connected(port, pinned)
  // With TLS 1.2 the session is known after the handshake, with TLS 1.3 when the server sends tickets after it.
  let session = version === 'TLSv1.2' ? first.getSession() : undefined
  first.on('session', data => {
    session = data
  })
  await exchange(first, request)
  const second = await connected(port, session === undefined ? pinned : { ...pinned, session })
  const resumed = second.isSessionReused()
  const answer = await exchange(second, request)
  second.destroy()
  return {
    resumed,
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0),
    interactionId: /x-fapi-interaction-id: (\S+)/i.exec(answer)?.[1] ?? '',
  }
}

/** Writes, and reads to the end of the connection. */
async function exchange(socket: TLSSocket, request: string): Promise<string> {
  let received = ''
  socket.setEncoding('latin1').on('data', chunk => {
    received += chunk
  })
  const closed = once(socket, 'close')
  socket.write(request)
  await closed
  return received
}

const BOUND = `Authorization: Bearer ${usualToken()}`

// TLS-07, TLS-12, TLS-13, TLS-23
t.test('no session is resumed, so a client without a certificate never comes to count as one', async t => {
  for (const [name, postern] of Object.entries(posterns)) {
    const ids: string[] = []
    for (const version of VERSIONS)
      for (const servername of [HOST, EVENTS_HOST]) {
        const words = `${name}, ${version}, ${servername}`
        // Where any certificate will do, no route is satisfied with one alone.
        const needsToken = postern === possession
        for (const [path, headers] of [
          [needsToken ? '/accounts/2' : '/machines/1', needsToken ? [BOUND] : []],
          ['/accounts/1', [`Authorization: Bearer ${usualToken()}`]],
        ] as const) {
          const without = await resume(postern.port, path, version, { servername }, headers)
          t.notOk(without.resumed, words)
          t.equal(without.status, 401, words)
          ids.push(without.interactionId)
        }
        const identity = { cert: world.client.certificatePem, key: world.client.keyPem }
        const path = needsToken ? '/accounts/2' : '/machines/1'
        const options = { servername, ...identity }
        const again = await resume(postern.port, path, version, options, needsToken ? [BOUND] : [])
        t.notOk(again.resumed, `${words}, with a certificate`)
        t.equal(again.status, 200, `${words}, with a certificate`)
      }
    t.strictSame(
      await reasonsOf(postern, ids),
      ids.map(() => 'certificate_missing'),
      name,
    )
  }
})

// TLS-12: what the test above would see if tickets were on. Node's own answer differs by version (nodejs/node#35317).
t.test(
  'the same client does resume at a plain Node server, where it can come to count as authorized',
  async t => {
    const seen: { reused: boolean; authorized: boolean; certificate: boolean }[] = []
    const server = createServer(
      {
        cert: world.server.certificatePem,
        key: world.server.keyPem,
        ca: world.clientCa.certificatePem,
        requestCert: true,
        rejectUnauthorized: false,
      },
      (request, response) => {
        const socket = request.socket as TLSSocket
        seen.push({
          reused: socket.isSessionReused(),
          authorized: socket.authorized,
          certificate: socket.getPeerX509Certificate() !== undefined,
        })
        response.end('ok')
      },
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    for (const version of VERSIONS) {
      seen.length = 0
      const { resumed } = await resume(port, '/', version, {})
      t.ok(resumed, `${version}: resumed`)
      t.match(seen, [
        { reused: false, authorized: false, certificate: false },
        { reused: true, certificate: false },
      ])
      t.comment(
        `${process.version}, ${version}: resumed without certificate, authorized=${seen[1]?.authorized}`,
      )
      if (process.version.startsWith('v20.') && version === 'TLSv1.3') t.ok(seen[1]?.authorized, 'the bypass')
    }
  },
)

// --- Client certificates ---

const DAY = 24 * 60 * 60 * 1000
const EXPIRED = { notBefore: new Date(Date.now() - 2 * DAY), notAfter: new Date(Date.now() - DAY) }
const FUTURE = { notBefore: new Date(Date.now() + DAY), notAfter: new Date(Date.now() + 2 * DAY) }
const otherCa = await createAuthority('Another CA')
/** The name of the trusted authority on a key that is not its own. */
const sameNameCa = await createAuthority('Test client CA')

interface Presented {
  readonly what: string
  readonly client: Issued
  /** Reason in the log; null: accepted. */
  readonly pki: string | null
  readonly possession: string | null
}

const issue = world.clientCa.issue
const UNTRUSTED = 'certificate_untrusted'
const presented: readonly Presented[] = [
  {
    what: 'expired',
    client: await issue(EXPIRED),
    pki: 'certificate_expired',
    possession: 'certificate_expired',
  },
  {
    what: 'not yet valid',
    client: await issue(FUTURE),
    pki: 'certificate_expired',
    possession: 'certificate_expired',
  },
  { what: 'of another CA', client: await otherCa.issue(), pki: UNTRUSTED, possession: null },
  {
    what: 'of a CA with the trusted name',
    client: await sameNameCa.issue(),
    pki: UNTRUSTED,
    possession: null,
  },
  { what: 'self-signed', client: await selfSigned(), pki: UNTRUSTED, possession: null },
  {
    what: 'self-signed with the name of the CA',
    client: await selfSigned({ commonName: 'Test client CA', isCa: true }),
    pki: UNTRUSTED,
    possession: null,
  },
  {
    what: 'for servers only',
    client: await issue({ extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] }),
    pki: UNTRUSTED,
    possession: UNTRUSTED,
  },
  {
    what: 'of an authority',
    client: await issue({ isCa: true, keyUsage: KEY_USAGE.digitalSignature | KEY_USAGE.keyCertSign }),
    pki: UNTRUSTED,
    possession: null,
  },
  {
    what: 'of an authority (no keyUsage)',
    client: await issue({ isCa: true, keyUsage: null }),
    pki: UNTRUSTED,
    possession: null,
  },
  {
    what: 'with an unknown critical extension',
    client: await issue({ unknownCriticalExtension: true }),
    pki: UNTRUSTED,
    possession: null,
  },
  {
    what: 'for encryption only (keyUsage)',
    client: await issue({ keyUsage: KEY_USAGE.keyEncipherment, key: 'rsa-2048' }),
    pki: UNTRUSTED,
    possession: UNTRUSTED,
  },
  {
    // OpenSSL alone would let it in.
    what: 'for key agreement only (keyUsage)',
    client: await issue({ keyUsage: KEY_USAGE.keyAgreement }),
    pki: UNTRUSTED,
    possession: UNTRUSTED,
  },
  { what: 'without keyUsage', client: await issue({ keyUsage: null }), pki: null, possession: null },
  {
    what: 'signed with SHA-1',
    client: await issue({ signatureHash: 'SHA-1' }),
    pki: UNTRUSTED,
    possession: null,
  },
  {
    what: 'on an RSA key of 1024 bits',
    client: await issue({ key: 'rsa-1024' }),
    pki: UNTRUSTED,
    possession: UNTRUSTED,
  },
  { what: 'on EC P-256', client: await issue(), pki: null, possession: null },
  { what: 'on RSA 2048', client: await issue({ key: 'rsa-2048' }), pki: null, possession: null },
  { what: 'on RSASSA-PSS 2048', client: await issue({ key: 'rsa-pss-2048' }), pki: null, possession: null },
  { what: 'on Ed25519', client: await issue({ key: 'ed25519' }), pki: null, possession: null },
  {
    what: 'without extended key usage',
    client: await issue({ extendedKeyUsage: null }),
    pki: null,
    possession: null,
  },
  {
    // OpenSSL wants clientAuth by name, which is the safe reading of RFC 5280 section 4.2.1.12.
    what: 'for any usage',
    client: await issue({ extendedKeyUsage: [EXTENDED_KEY_USAGE.any] }),
    pki: UNTRUSTED,
    possession: null,
  },
]

/** A client that would send anything, also what OpenSSL finds too weak. */
const lenient = (version: SecureVersion) => ({
  minVersion: version,
  maxVersion: version,
  ciphers: `${DEFAULT_CIPHERS}:@SECLEVEL=0`,
})

// TLS-06, TLS-15, TLS-18
t.test(
  'a certificate that is not good enough is refused where one is asked for, and for the right reason',
  async t => {
    for (const mode of ['pki', 'possession'] as const) {
      const postern = mode === 'pki' ? fapi1 : possession
      const seen: { words: string; reason: string | null; answered: Answered }[] = []
      for (const { what, client, [mode]: reason } of presented)
        for (const version of VERSIONS) {
          const token = usualToken(client)
          const answered = await ask(world, postern, { client, token, tls: lenient(version) })
          seen.push({ words: `${what}, ${mode}, ${version}`, reason, answered })
        }
      const reasons = await reasonsOf(
        postern,
        seen.map(({ answered }) => answered.headers['x-fapi-interaction-id']),
      )
      for (const [index, { words, reason, answered }] of seen.entries()) {
        t.equal(reasons[index], reason, words)
        t.equal(answered.status, reason === null ? 200 : 401, words)
        if (reason === null) continue
        // The client learns no more than that: the reason would help whoever tries out certificates.
        const message =
          reason === 'certificate_expired'
            ? 'The client certificate is not currently valid'
            : 'The client certificate is not accepted'
        t.strictSame(answered.json(), { code: '603', message }, words)
        const challenge = `Bearer error="invalid_token", error_description="${message}"`
        t.equal(answered.headers['www-authenticate'], challenge, words)
      }
    }
  },
)

// TLS-15, MT-10: the handshake itself refuses nobody.
t.test('the same certificates do no harm where none is asked for', async t => {
  const token = world.issuer.token({ sub: 'client-1', scope: 'partners' })
  for (const { what, client } of presented)
    for (const version of VERSIONS) {
      const tls = lenient(version)
      const path = '/partners/1'
      t.equal((await ask(world, fapi1, { client, token, path, tls })).status, 200, `${what}, ${version}`)
    }
})

// TLS-18b
t.test('a client without a certificate reaches the routes that ask for none', async t => {
  const token = world.issuer.token({ sub: 'client-1', scope: 'partners' })
  for (const [name, postern] of Object.entries(posterns)) {
    t.equal((await ask(world, postern, { path: '/open/x' })).status, 200, name)
    t.equal((await ask(world, postern, { path: '/partners/1', token })).status, 200, name)
    const refused = await ask(world, postern, { path: '/accounts/1', token: usualToken() })
    t.equal(refused.status, 401, name)
    t.equal(await reasonOf(postern, refused), 'certificate_missing', name)
  }
})

// TLS-09, TLS-15: each name has a TLS context of its own, and the same rules must hold in each.
t.test('the same clients are trusted under every server name', async t => {
  for (const servername of [HOST, EVENTS_HOST, PARTNER_HOST, 'unknown.example']) {
    const tls = { servername, rejectUnauthorized: false }
    const good = await ask(world, fapi1, { client: world.client, token: usualToken(), tls })
    t.equal(good.status, 200, servername)
    const client = await otherCa.issue()
    const bad = await ask(world, fapi1, { client, token: usualToken(client), tls })
    t.equal(await reasonOf(fapi1, bad), UNTRUSTED, servername)
  }
})

// TLS-15
t.test('a client may bring the intermediate authorities that lead to a trusted one', async t => {
  const intermediate = await world.clientCa.issueAuthority('Intermediate CA')
  const leaf = await intermediate.issue()
  const withChain = { ...leaf, certificatePem: leaf.certificatePem + intermediate.certificatePem }
  const path = '/machines/1'
  t.equal((await ask(world, fapi1, { client: withChain, path })).status, 200)
  const alone = await ask(world, fapi1, { client: leaf, path })
  t.equal(await reasonOf(fapi1, alone), UNTRUSTED, 'without the intermediate')
  // A leaf cannot vouch for anybody, whatever it signs (basicConstraints).
  const leafAsCa = await world.clientCa.issueAuthority('Not an authority', { isCa: false })
  const below = await leafAsCa.issue()
  const forged = { ...below, certificatePem: below.certificatePem + leafAsCa.certificatePem }
  t.equal(await reasonOf(fapi1, await ask(world, fapi1, { client: forged, path })), UNTRUSTED, 'below a leaf')
})

/** RFC 5280 section 4.2.1.10: names below partner.example are permitted, no others. */
const PARTNER_NAMES_ONLY = {
  oid: '2.5.29.30',
  value: sequence(0x30, sequence(0xa0, sequence(0x30, sequence(0x82, Buffer.from('partner.example'))))),
}

function sequence(tag: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(tag, content.length), content])
}

// TLS-15
t.test('an authority vouches for nobody without keyCertSign, and for nobody but its own names', async t => {
  const path = '/machines/1'
  const reason = async (authority: Authority, options: CertificateOptions = {}) => {
    const leaf = await authority.issue(options)
    const client = { ...leaf, certificatePem: leaf.certificatePem + authority.certificatePem }
    const answered = await ask(world, fapi1, { client, path })
    return answered.status === 200 ? 'allowed' : await reasonOf(fapi1, answered)
  }
  const below = (options: CertificateOptions) => world.clientCa.issueAuthority('Intermediate CA', options)
  t.equal(await reason(await below({})), 'allowed')
  t.equal(await reason(await below({ keyUsage: KEY_USAGE.crlSign })), UNTRUSTED, 'for lists only')
  t.equal(
    await reason(await below({ keyUsage: KEY_USAGE.digitalSignature })),
    UNTRUSTED,
    'for signatures only',
  )
  for (const critical of [true, false]) {
    const partners = await below({ extensions: [{ ...PARTNER_NAMES_ONLY, critical }] })
    const words = `constraint ${critical ? 'critical' : 'not critical'}`
    t.equal(await reason(partners, { sanDns: ['a.partner.example'] }), 'allowed', words)
    t.equal(await reason(partners, { sanDns: ['a.other.example'] }), UNTRUSTED, words)
    t.equal(await reason(partners, { sanDns: ['a.partner.example', 'b.example'] }), UNTRUSTED, words)
  }
})

// TLS-18
t.test('with trust: possession the token alone decides who a certificate is', async t => {
  const client = await selfSigned()
  const bound = await ask(world, possession, { client, token: usualToken(client) })
  t.equal(bound.status, 200, 'bound to it')
  const unbound = world.issuer.token({ scope: 'basic' })
  const free = await ask(world, possession, { client, token: unbound })
  t.equal(free.status, 401, 'unbound')
  t.equal(await reasonOf(possession, free), 'binding_missing')
  const other = await ask(world, possession, { client, token: usualToken() })
  t.equal(other.status, 401, 'bound to another')
  t.equal(await reasonOf(possession, other), 'binding_mismatch')
  const chain = await ask(world, fapi1, { client, token: usualToken(client) })
  t.equal(await reasonOf(fapi1, chain), UNTRUSTED, 'with trust: pki')
})

// TLS-06, TLS-20
t.test('it does not start with a weak server certificate, nor without knowing whom to trust', async t => {
  const server = { commonName: HOST, sanDns: [HOST], ...serverUse }
  const weakKey = await world.serverCa.issue({ ...server, key: 'rsa-1024' })
  const weakHash = await world.serverCa.issue({ ...server, key: 'rsa-2048', signatureHash: 'SHA-1' })
  const [key, hash, noCa, emptyCa] = await Promise.all(
    (
      [
        ['weak-key', weakKey, {}],
        ['weak-hash', weakHash, {}],
        ['no-ca', world.server, { clients: '{ trust: pki }' }],
        ['empty-ca', world.server, { clients: '{ trust: pki, ca: [] }' }],
      ] as const
    ).map(([name, { certificatePem, keyPem }, parts]) => {
      world.write(`${name}.pem`, certificatePem)
      world.write(`${name}.key`, keyPem)
      const certificates = `[{ cert: ${name}.pem, key: ${name}.key }]`
      return refusedStart(world, name, policyText(world, { upstream: upstream.url, certificates, ...parts }))
    }),
  )
  t.match(key, { code: 78, text: /weak key: RSA key of 1024 bits/ })
  t.match(hash, { code: 78, text: /signed with SHA1/ })
  t.match(noCa, { code: 78, text: /routes ask for a client certificate, and no authority is named/ })
  t.match(emptyCa, { code: 78, text: /no authority is named/ })
  for (const refused of [key, hash, noCa, emptyCa]) t.match(refused, { text: /yaml:\d+:\d+ / })
})

// TLS-20: the stranger is an authority of the system here, as far as Node can tell.
t.test('the authorities of the system vouch for no client', async t => {
  const apis = `
  - name: People
    base: /people
    security: [oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { all: [basic] } }
`
  const environment = { NODE_EXTRA_CA_CERTS: world.write('system.pem', otherCa.certificatePem) }
  const [without, beside] = await Promise.all([
    start('no-authority', { apis, clients: '{ trust: pki }' }, environment),
    start('own-authority', { apis }, environment),
  ])
  const client = await otherCa.issue()
  const path = '/people/1'
  for (const postern of [without, beside]) {
    const bound = await ask(world, postern, { path, client, token: usualToken(client) })
    t.equal(bound.status, 401)
    t.equal(await reasonOf(postern, bound), UNTRUSTED)
    const unbound = world.issuer.token({ scope: 'basic' })
    t.equal((await ask(world, postern, { path, client, token: unbound })).status, 200)
    postern.child.kill('SIGKILL')
  }
})

// TLS-20: what the server says it trusts.
t.test(
  'only the configured authorities are asked for, none with possession, and no SHA-1',
  needsOpenssl,
  async t => {
    for (const version of ['-tls1_2', '-tls1_3'])
      for (const servername of [HOST, EVENTS_HOST]) {
        const probe = ({ port }: Postern) =>
          opensslClient([
            ...['-connect', `127.0.0.1:${port}`, '-servername', servername, version],
            ...['-CAfile', join(world.directory, 'server-ca.pem'), '-verify_return_error'],
          ])
        world.write('server-ca.pem', world.serverCa.certificatePem)
        const pki = await probe(fapi1)
        const names =
          /Acceptable client certificate CA names\n([\s\S]*?)\n(?:Client Certificate Types|Requested)/.exec(
            pki,
          )
        t.strictSame(names?.[1]?.split('\n'), ['CN = Test client CA'], `${version} ${servername}`)
        t.match(pki, /Requested Signature Algorithms: /)
        t.notMatch(pki, /Requested Signature Algorithms:.*SHA1/)
        t.match(pki, /Verification: OK/)
        const none = await probe(possession)
        t.match(none, /No client certificate CA names sent/, `${version} ${servername}`)
        t.match(none, /Requested Signature Algorithms: /, 'a certificate is asked for all the same')
      }
  },
)
