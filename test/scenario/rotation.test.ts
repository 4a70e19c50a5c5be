import { lstatSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t from 'tap'
import { mount } from '../support/mounted-volume.js'
import { createAuthority, EXTENDED_KEY_USAGE, type Issued } from '../support/pki.js'
import {
  ask,
  connectRaw,
  createWorld,
  HOST,
  policyText,
  startCounting,
  startPostern,
  until,
  untilAsync,
  webSocketHandshake,
} from '../support/postern.js'
import { RecordingUpstream, switchAndEcho } from '../support/recording-upstream.js'
import { newSigningKey, signToken } from '../support/token-issuer.js'

// Every file that Postern reads, replaced in every way that there is, by one process that goes on serving.

const world = await createWorld({ algorithms: ['ES256'] })
const upstream = await startCounting()
const live = await RecordingUpstream.start()
live.script(switchAndEcho())
const otherCa = await createAuthority('Other client CA')
const newClient = await otherCa.issue()
t.teardown(async () => {
  upstream.close()
  await live.stop()
  await world.close()
})

/** Noticed when it happened: less than the interval of the slow poll. Milliseconds. */
const SOON = 8_000

type Files = Readonly<Record<string, string>>

/** Something that is in files of one folder, in two versions that a client can tell apart. */
interface Subject {
  readonly name: string
  readonly versions: readonly [Files, Files]
  /** What the log says of a file that is no such thing. */
  readonly told: RegExp
  /** Which version is in use; null: neither. */
  readonly seen: () => Promise<0 | 1 | null>
}

const folder = (name: string) => join(world.directory, name)
let revision = 0

/** Puts a version in place, in a folder of its own, as a volume. */
function swap(name: string, files: Files): void {
  mkdirSync(folder(name), { recursive: true })
  for (const file of Object.keys(files)) {
    const path = join(folder(name), file)
    // A volume again, after a file was put there in another way.
    if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === true) rmSync(path)
  }
  mount(folder(name), files, ++revision)
}

const certificate = () =>
  world.serverCa.issue({
    commonName: HOST,
    sanDns: [HOST],
    key: 'rsa-2048',
    extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
  })
const [first, second] = await Promise.all([certificate(), certificate()])
const pair = ({ certificatePem, keyPem }: Issued): Files => ({ 'tls.crt': certificatePem, 'tls.key': keyPem })

const [oldKey, newKey] = [newSigningKey('ES256'), newSigningKey('ES256')]
const keySet = (key: typeof oldKey): Files => ({ 'jwks.json': JSON.stringify({ keys: [key.jwk] }) })

const lists = (revoked: readonly Issued[]) =>
  Promise.all([world.clientCa.crl({ revoked }), otherCa.crl()]).then(each => ({ 'crl.pem': each.join('') }))
const [nobody, otherClient] = await Promise.all([lists([]), lists([world.otherClient])])

const route = (number: number) => `
  - name: Release
    base: /release
    security: public
    routes:
      GET /${number}: {}
  - name: Machines
    base: /machines
    security: [mtls]
    routes:
      GET /{id}: {}
      GET /{id}/live: { upgrade: websocket, upstream: live }
  - name: Accounts
    base: /accounts
    security: [oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: none }
`
const policy = (number: number): Files => ({
  'policies.yaml': policyText(world, {
    upstream: upstream.url,
    moreUpstreams: `  live: { url: ${live.url} }`,
    apis: route(number),
    certificates: '[{ cert: ../tls/tls.crt, key: ../tls/tls.key }]',
    clients: '{ trust: pki, ca: [../ca/ca.pem], crl: [../crl/crl.pem] }',
    keys: '{ file: ../keys/jwks.json }',
  }),
})
const bundle = (...authorities: readonly Issued[]): Files => ({
  'ca.pem': authorities.map(({ certificatePem }) => certificatePem).join(''),
})

swap('policy', policy(1))
swap('tls', pair(first))
swap('keys', keySet(oldKey))
swap('ca', bundle(world.clientCa, otherCa))
swap('crl', nobody)
const postern = await startPostern(
  { write: () => join(folder('policy'), 'policies.yaml') },
  'in place already',
)
t.teardown(() => postern.child.kill('SIGKILL'))

const status = async (path: string, more: Parameters<typeof ask>[2] = {}) =>
  (await ask(world, postern, { path, ...more })).status

/** The version for which a request is granted; null unless that is one of the two. */
async function granted(one: Promise<number>, other: Promise<number>): Promise<0 | 1 | null> {
  const [zero, first] = [(await one) === 200, (await other) === 200]
  if (zero === first) return null
  return zero ? 0 : 1
}

function shownSerial(): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const options = { port: postern.port, host: '127.0.0.1', servername: HOST }
    const socket = connect({ ...options, ca: world.serverCa.certificatePem }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber)
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

const claims = { iss: world.issuer.url, sub: 'user-1', aud: `https://${HOST}`, client_id: 'c', jti: 'j' }
const tokenOf = ({ alg, kid, privateKey }: typeof oldKey) => {
  const iat = Math.floor(Date.now() / 1000)
  return signToken({ ...claims, iat, exp: iat + 300 }, { alg, kid, typ: 'at+jwt' }, privateKey)
}

const SUBJECTS: readonly Subject[] = [
  {
    name: 'policy',
    told: /policies\.yaml/,
    versions: [policy(1), policy(2)],
    seen: () => granted(status('/release/1'), status('/release/2')),
  },
  {
    name: 'tls',
    told: /tls\.(?:crt|key)/,
    versions: [pair(first), pair(second)],
    seen: async () => {
      const serial = await shownSerial()
      return serial === first.certificate.serialNumber
        ? 0
        : serial === second.certificate.serialNumber
          ? 1
          : null
    },
  },
  {
    name: 'keys',
    told: /jwks\.json/,
    versions: [keySet(oldKey), keySet(newKey)],
    seen: () =>
      granted(
        status('/accounts/1', { token: tokenOf(oldKey) }),
        status('/accounts/1', { token: tokenOf(newKey) }),
      ),
  },
  {
    name: 'crl',
    told: /crl\.pem|revocation list/,
    versions: [nobody, otherClient],
    seen: async () => ((await status('/machines/1', { client: world.otherClient })) === 200 ? 0 : 1),
  },
]

const failures = async () => {
  const { text } = await postern.admin('/metrics')
  return Number(/^postern_reload_total\{result="failure"\} (\d+)/m.exec(text)?.[1] ?? 0)
}

const WAYS: Readonly<Record<string, (name: string, files: Files) => void>> = {
  'swapped as a volume': swap,
  'written in place': (name, files) => {
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder(name), file), text)
  },
  'renamed into place': (name, files) => {
    for (const [file, text] of Object.entries(files)) {
      writeFileSync(join(folder(name), 'new'), text)
      renameSync(join(folder(name), 'new'), join(folder(name), file))
    }
  },
}

/** What is left behind must not be used: the version of before serves on, and that is told. */
const HARMS: Readonly<Record<string, (file: string, text: string) => void>> = {
  'half-written': (file, text) => writeFileSync(file, half(text)),
  deleted: file => rmSync(file),
}

/** The first half and some: cut where what is left is nothing whole, of JSON, PEM and YAML alike. */
function half(text: string): string {
  const bracket = text.indexOf('{ scopes', text.length / 2)
  return text.slice(0, bracket === -1 ? text.length / 2 : bracket + 4)
}

for (const { name, versions, told, seen } of SUBJECTS)
  t.test(`${name}: each version is taken into use, however it is written`, async t => {
    const isUsed = (version: 0 | 1, words: string) =>
      untilAsync(
        async () => (await seen()) === version,
        () => `${words}: not in use`,
        SOON,
      )
    await isUsed(0, 'at first')
    for (const [words, write] of Object.entries(WAYS)) {
      write(name, versions[1])
      await isUsed(1, words)
      write(name, versions[0])
      await isUsed(0, `${words}, back again`)
      t.pass(words)
    }
    for (const [words, harm] of Object.entries(HARMS))
      for (const [file, text] of Object.entries(versions[0])) {
        const [failed, logged] = [await failures(), postern.log().length]
        harm(join(folder(name), file), text)
        await untilAsync(
          async () => (await failures()) > failed,
          () => `${file} ${words}: not counted`,
          SOON,
        )
        await until(
          () =>
            postern
              .log()
              .slice(logged)
              .some(({ level, problem }) => level === 'error' && told.test(String(problem))),
          () => `${file} ${words}: not told`,
        )
        t.equal(await seen(), 0, `${file} ${words}: the one before serves on`)
        t.equal((await postern.admin('/readyz')).status, 200)
        WAYS['written in place']?.(name, versions[0])
      }
  })

t.test('an authority comes and goes, however its file is written', async t => {
  const isLetIn = async () => (await status('/machines/1', { client: newClient })) === 200
  const versions = [bundle(world.clientCa, otherCa), bundle(world.clientCa)] as const
  const crls = [nobody, { 'crl.pem': await world.clientCa.crl() }] as const
  for (const [words, write] of Object.entries(WAYS))
    for (const version of [1, 0] as const) {
      // Between the two writes there is a list without its authority, or the other way round: that is refused.
      write('crl', crls[version])
      write('ca', versions[version])
      await untilAsync(
        async () => (await isLetIn()) === (version === 0),
        () => `${words}: not in use`,
        SOON,
      )
      t.equal(await status('/machines/1', { client: world.client }), 200, `${words}: the other one stays`)
    }
  for (const [words, harm] of Object.entries(HARMS)) {
    const failed = await failures()
    harm(join(folder('ca'), 'ca.pem'), versions[0]['ca.pem'] as string)
    await untilAsync(
      async () => (await failures()) > failed,
      () => `${words}: not counted`,
      SOON,
    )
    t.ok(await isLetIn(), `${words}: the bundle before serves on`)
    WAYS['written in place']?.('ca', versions[0])
  }
})

t.test('a WebSocket whose client is revoked ends, and those of others go on', async t => {
  const open = async (client: Issued) => {
    const connection = await connectRaw(world, postern, client)
    connection.write(webSocketHandshake('/machines/1/live'))
    t.equal((await connection.answer()).status, 101)
    return connection
  }
  swap('crl', nobody)
  const revoked = await open(world.otherClient)
  const other = await open(world.client)
  swap('crl', otherClient)
  await revoked.closed()
  other.write('still here')
  t.equal((await other.bytes(10)).toString(), 'still here')
  other.destroy()
})
