import { execFileSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls'
import t from 'tap'
import { makeDevelopmentCertificates } from '../../src/cli/certs.js'
import { needsOpenssl } from '../support/pki.js'

const DAY = 24 * 60 * 60 * 1000

// One set for all tests that only read: making five RSA keys takes a second.
const directory = join(t.testdir(), 'new', 'certs')
const written = await makeDevelopmentCertificates(directory)
const read = (file: string) => readFileSync(join(directory, file))
const certificate = (file: string) => new X509Certificate(read(file))

const NAMES = ['ca', 'client', 'client-ca', 'other-client', 'server']
const FILES = NAMES.flatMap(name => [`${name}.key`, `${name}.pem`]).sort()

t.test(
  'a developer gets every file, in a directory that did not exist, and is told what each one is',
  async t => {
    t.strictSame(readdirSync(directory).sort(), FILES)
    t.strictSame(
      written.map(({ path }) => path).sort(),
      FILES.map(file => join(directory, file)),
    )
    t.ok(written.every(({ what }) => what.length > 0))
  },
)

t.test('keys can be read by their owner only', async t => {
  for (const name of NAMES) t.equal(statSync(join(directory, `${name}.key`)).mode & 0o777, 0o600, name)
})

t.test('every key belongs to its certificate and no two are the same', async t => {
  for (const name of NAMES) {
    t.ok(certificate(`${name}.pem`).checkPrivateKey(createPrivateKey(read(`${name}.key`))), name)
  }
  t.equal(new Set(NAMES.map(name => read(`${name}.key`).toString())).size, NAMES.length)
  t.equal(new Set(NAMES.map(name => certificate(`${name}.pem`).serialNumber)).size, NAMES.length)
})

t.test('the server and the clients are signed by different authorities', async t => {
  const issuedBy = (leaf: string, ca: string) => {
    const issuer = certificate(ca)
    return certificate(leaf).checkIssued(issuer) && certificate(leaf).verify(issuer.publicKey)
  }
  t.ok(issuedBy('server.pem', 'ca.pem'))
  t.ok(issuedBy('client.pem', 'client-ca.pem'))
  t.ok(issuedBy('other-client.pem', 'client-ca.pem'))
  t.ok(issuedBy('ca.pem', 'ca.pem'))
  t.ok(issuedBy('client-ca.pem', 'client-ca.pem'))
  t.notOk(issuedBy('client.pem', 'ca.pem'))
  t.notOk(issuedBy('server.pem', 'client-ca.pem'))
})

t.test('names, purposes and dates are what the README of the directory says', async t => {
  t.match(certificate('ca.pem').subject, /CN=Postern development CA$/)
  t.match(certificate('client-ca.pem').subject, /CN=Postern development client CA$/)
  t.equal(certificate('client.pem').subject, 'O=Postern development\nCN=data-recipient')
  t.equal(certificate('other-client.pem').subject, 'O=Postern development\nCN=other-recipient')

  const server = certificate('server.pem')
  t.equal(server.subjectAltName, 'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
  t.strictSame(server.keyUsage, ['1.3.6.1.5.5.7.3.1'])
  t.strictSame(certificate('client.pem').keyUsage, ['1.3.6.1.5.5.7.3.2'])

  for (const name of NAMES) {
    const made = certificate(`${name}.pem`)
    const isAuthority = name.endsWith('ca')
    const days = (Date.parse(made.validTo) - Date.parse(made.validFrom)) / DAY
    t.equal(made.ca, isAuthority, name)
    t.ok(
      Date.parse(made.validFrom) < Date.now() - 60_000,
      `${name} is valid for a clock that is a minute behind`,
    )
    t.ok(isAuthority ? days > 1800 : days > 364 && days <= 397, `${name}: ${days} days`)
    t.match(made.serialNumber, /^[4-7][0-9A-F]{31}$/, 'positive, 16 bytes')
    t.equal(made.publicKey.asymmetricKeyDetails?.modulusLength, 2048)
  }
})

t.test('openssl accepts both chains in its strictest mode', needsOpenssl, async t => {
  const verify = (purpose: string, ca: string, leaf: string) => {
    const files = ['-CAfile', join(directory, ca), join(directory, leaf)]
    return execFileSync('openssl', ['verify', '-x509_strict', '-purpose', purpose, ...files], {
      stdio: 'pipe',
    }).toString()
  }
  t.match(verify('sslserver', 'ca.pem', 'server.pem'), /: OK/)
  t.match(verify('sslclient', 'client-ca.pem', 'client.pem'), /: OK/)
  t.match(verify('sslclient', 'client-ca.pem', 'other-client.pem'), /: OK/)
  t.throws(() => verify('sslserver', 'client-ca.pem', 'client.pem'), 'a client certificate for a server')
  t.throws(() => verify('sslclient', 'ca.pem', 'client.pem'), 'the authority of the server for a client')
})

t.test('a client with its certificate completes a mutual TLS handshake; one without does not', async t => {
  const server = createServer({
    cert: read('server.pem'),
    key: read('server.key'),
    ca: read('client-ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
  })
  // Refused handshakes end here too.
  server.on('tlsClientError', () => {})
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => {})
    socket.end(String(socket.getPeerCertificate().subject.CN))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo

  // Node ends the connection of an untrusted client with an alert or without one: either way there is no greeting.
  const greeting = async (servername: string, identity: ConnectionOptions) => {
    const socket = connect({ ...identity, host: '127.0.0.1', port, ca: read('ca.pem'), servername })
    let text = ''
    try {
      for await (const chunk of socket) text += chunk
    } catch {
      return 'refused'
    }
    return text || 'refused'
  }
  const client = { cert: read('client.pem'), key: read('client.key') }
  t.equal(await greeting('', client), 'data-recipient', 'by address')
  t.equal(await greeting('localhost', client), 'data-recipient', 'by name')
  const other = { cert: read('other-client.pem'), key: read('other-client.key') }
  t.equal(await greeting('localhost', other), 'other-recipient')
  t.equal(await greeting('localhost', {}), 'refused', 'no certificate')
  const stranger = { cert: read('server.pem'), key: read('server.key') }
  t.equal(await greeting('localhost', stranger), 'refused', 'a certificate of the other authority')
})

t.test('existing files are never replaced unasked, and a refusal writes nothing', async t => {
  const directory = t.testdir({ 'ca.key': 'precious', 'client.pem': 'mine', 'README.md': 'about' })
  await t.rejects(makeDevelopmentCertificates(directory), {
    message: `ca.key, client.pem exist already in ${directory}: nothing was written; use --force to replace all of them`,
  })
  t.strictSame(readdirSync(directory).sort(), ['README.md', 'ca.key', 'client.pem'])
  t.equal(readFileSync(join(directory, 'ca.key'), 'utf8'), 'precious')
})

t.test('force replaces the whole set, narrows the mode of keys, and leaves other files alone', async t => {
  const directory = t.testdir({ 'README.md': 'about' })
  writeFileSync(join(directory, 'ca.key'), 'old', { mode: 0o644 })
  await makeDevelopmentCertificates(directory, { force: true })
  t.strictSame(readdirSync(directory).sort(), ['README.md', ...FILES].sort())
  t.match(readFileSync(join(directory, 'ca.key'), 'utf8'), /^-----BEGIN PRIVATE KEY-----\n/)
  t.equal(statSync(join(directory, 'ca.key')).mode & 0o777, 0o600)
  t.equal(readFileSync(join(directory, 'README.md'), 'utf8'), 'about')
})
