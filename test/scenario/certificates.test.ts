import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuthority, type Issued } from '../support/pki.js'
import {
  type Answered,
  type Ask,
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  type PolicyParts,
  type Postern,
  policyText,
  refusedStart,
  startCounting,
  startPostern,
  USUAL_APIS,
  untilAsync,
} from '../support/postern.js'
import type { RawClient } from '../support/raw-client.js'
import type { Overrides } from '../support/token-issuer.js'

/** Beside the usual routes, one of each flow on which a token is asked for and a certificate is not. */
const APIS = `${USUAL_APIS}
  - name: Robots
    base: /robots
    security: [oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: { all: [robots] } }
  - name: People
    base: /people
    security: [oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { all: [people] } }
      GET /{id}/strict: { scopes: { all: [people] }, binding: required }
`

const world = await createWorld()
const upstream = await startCounting()
const running: Postern[] = []
t.teardown(async () => {
  for (const { child } of running) child.kill('SIGKILL')
  upstream.close()
  await world.close()
})

/** Each sidecar has a policy file of its own: they share the directory, and watch their files. */
async function start(name: string, clients?: string): Promise<Postern> {
  const write = (_: string, text: string) => world.write(`${name}.yaml`, text)
  const parts: PolicyParts = {
    upstream: upstream.url,
    apis: APIS,
    ...(clients === undefined ? {} : { clients }),
  }
  const postern = await startPostern({ write }, policyText(world, parts))
  running.push(postern)
  return postern
}

const root = await createAuthority('Root CA')
const intermediate = await root.issueAuthority('Intermediate CA')
const revokedIntermediate = await root.issueAuthority('Revoked intermediate CA')
const HOUR = 60 * 60 * 1000
const OUT_OF_DATE = { thisUpdate: new Date(Date.now() - 2 * HOUR), nextUpdate: new Date(Date.now() - HOUR) }

world.write('live.crl', await world.clientCa.crl())
world.write('old.crl', await world.clientCa.crl({ ...OUT_OF_DATE, revoked: [world.otherClient] }))
world.write(
  'chain.pem',
  root.certificatePem + intermediate.certificatePem + revokedIntermediate.certificatePem,
)
world.write(
  'chain.crl',
  (await root.crl({ revoked: [revokedIntermediate] })) +
    (await intermediate.crl()) +
    (await revokedIntermediate.crl()),
)

world.write('root.pem', root.certificatePem)

const [postern, revoking, lenient, chained, rooted] = await Promise.all([
  start('plain'),
  start('live', '{ trust: pki, ca: [client-ca.pem], crl: [live.crl] }'),
  start('old', '{ trust: pki, ca: [client-ca.pem], crl: [old.crl], onExpiredCrl: allow }'),
  start('chain', '{ trust: pki, ca: [chain.pem], crl: [chain.crl] }'),
  start('root', '{ trust: pki, ca: [root.pem] }'),
])

/** A route of each flow that asks for a certificate and a token, and one that asks for the token alone. */
const FLOWS = [
  { flow: 'authorization_code', mtls: '/accounts/1', oauth: '/people/1', scope: 'basic people' },
  { flow: 'client_credentials', mtls: '/events/1', oauth: '/robots/1', scope: 'events robots' },
] as const

/** The reason of a refusal, null for none. The log has it; the client does not learn it. */
async function reasonOf(id: unknown, at: Postern): Promise<unknown> {
  return (await at.logged(line => line.interactionId === id)).code ?? null
}

const WORDS = {
  certificate_missing: 'A client certificate is required',
  certificate_untrusted: 'The client certificate is not accepted',
  certificate_expired: 'The client certificate is not currently valid',
  certificate_revoked: 'The client certificate is not accepted',
  binding_mismatch: 'The access token is bound to another key',
  binding_missing: 'The access token is not bound to a key of the client',
  proof_missing: 'The access token needs a proof of possession',
}

type Requests = Readonly<Record<string, Ask>>

/** Each is refused for this reason, in the form of RFC 6750 and FDX, and nothing reaches the API. */
async function refused(t: Test, code: keyof typeof WORDS, requests: Requests, at = postern): Promise<void> {
  const answers: (readonly [words: string, answered: Answered])[] = []
  for (const [words, request] of Object.entries(requests))
    answers.push([words, await ask(world, at, request)])
  // The log is written in batches: the last one is asked for first, so that this waits once.
  for (const [words, answered] of answers.reverse()) {
    const { status, headers, json } = answered
    t.equal(await reasonOf(headers['x-fapi-interaction-id'], at), code, words)
    t.equal(status, 401, words)
    t.notOk(wasForwarded(answered), `${words}: not forwarded`)
    t.strictSame(json(), { code: '603', message: WORDS[code] }, words)
    const challenge = `Bearer error="invalid_token", error_description="${WORDS[code]}"`
    // RFC 9449 section 7.2: where a DPoP key could bind the token as well, a second challenge says so.
    const [bearer, ...more] = String(headers['www-authenticate']).split(/, (?=DPoP )/)
    t.equal(bearer, challenge, words)
    t.ok(more.length === 0 || /^DPoP algs="[A-Za-z0-9 ]+"$/.test(more.join()), words)
  }
}

async function allowed(t: Test, requests: Requests, at = postern): Promise<void> {
  for (const [words, request] of Object.entries(requests)) {
    const answered = await ask(world, at, request)
    t.equal(answered.status, 200, words)
    t.ok(wasForwarded(answered), `${words}: forwarded`)
  }
}

/** Whether the request of this answer reached the API. */
function wasForwarded({ headers }: Answered): boolean {
  const name = 'x-fapi-interaction-id'
  return upstream.requests.some(request => request.headers[name] === headers[name])
}

/** A certificate that ends within the life of a connection; the test that waits for its end is further below. */
const SHORT_LIFE_MS = 6_000
const notAfter = Math.floor((Date.now() + SHORT_LIFE_MS) / 1000)
const untilExpiry = world.clientCa
  .issue({ notAfter: new Date(notAfter * 1000) })
  .then(client => askUntilRefused(postern, client))

/** Asks on one connection until the answer is not 200. Times in seconds since the epoch. */
async function askUntilRefused(at: Postern, client: Issued) {
  const token = bound(client)
  const connection = await connectRaw(world, at, client, 30_000)
  let lastAllowedAt = 0
  for (;;) {
    const startedAt = Date.now() / 1000
    const answer = await get(connection, token)
    if (answer.status !== 200) {
      connection.destroy()
      return { ...answer, lastAllowedAt, endedAt: Date.now() / 1000 }
    }
    lastAllowedAt = startedAt
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

/** One request on a connection that is open. */
async function get(connection: RawClient, token: string): Promise<{ status: number; interactionId: string }> {
  connection.write(`GET /accounts/1 HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${token}\r\n\r\n`)
  const answer = await connection.answer()
  return { status: answer.status, interactionId: answer.values('x-fapi-interaction-id')[0] ?? '' }
}

function bound(client: Issued, claims: Overrides = {}): string {
  return boundToken(world, client, 'authorization_code', { scope: 'basic people', ...claims })
}

// --- A token is bound to the certificate of its client (RFC 8705 section 3) ---

// MT-01, TLS-19
t.test('a token works with the certificate that it is bound to, and with no other', async t => {
  const { client, otherClient } = world
  for (const { flow, mtls, scope } of FLOWS) {
    const token = boundToken(world, client, flow, { scope })
    await allowed(t, { [`${flow}, own certificate`]: { path: mtls, client, token } })
    await refused(t, 'binding_mismatch', {
      [`${flow}, certificate of another client`]: { path: mtls, client: otherClient, token },
    })
  }
})

// MT-02
t.test('a bound token without a certificate is refused', async t => {
  for (const { flow, mtls, scope } of FLOWS) {
    const token = boundToken(world, world.client, flow, { scope })
    await refused(t, 'certificate_missing', { [flow]: { path: mtls, token } })
  }
})

// MT-03: nothing is repaired.
t.test('a thumbprint in any other spelling is refused', async t => {
  const { client } = world
  const digest = Buffer.from(client.thumbprint, 'base64url')
  const spellings: Readonly<Record<string, unknown>> = {
    'with padding': `${client.thumbprint}=`,
    hex: digest.toString('hex'),
    'hex with colons': client.certificate.fingerprint256,
    'base64, not base64url': `${digest.toString('base64').slice(0, 42)}+`,
    'base64 with padding': digest.toString('base64'),
    'a space before': ` ${client.thumbprint}`,
    'a line break behind': `${client.thumbprint}\n`,
    'cut short': client.thumbprint.slice(0, 42),
    empty: '',
    'another case': swapCase(client.thumbprint),
    'a list': [client.thumbprint],
    'an object': { value: client.thumbprint },
    'a number': 1,
    true: true,
    'SHA-1 of the certificate': client.certificate.fingerprint.replaceAll(':', '').toLowerCase(),
  }
  for (const { flow, mtls, scope } of FLOWS) {
    const requests: Record<string, Ask> = {}
    for (const [words, thumbprint] of Object.entries(spellings)) {
      const token = boundToken(world, client, flow, { scope, cnf: { 'x5t#S256': thumbprint } })
      requests[`${flow}, ${words}`] = { path: mtls, client, token }
    }
    await refused(t, 'binding_mismatch', requests)
  }
})

// MT-05: an attacker who stole a bound token must not find a route that forgets the binding.
t.test('a bound token keeps its binding on routes that ask for no certificate', async t => {
  const { client, otherClient } = world
  for (const { flow, oauth, scope } of FLOWS) {
    const token = boundToken(world, client, flow, { scope })
    const untrusted = await createAuthority('Another CA').then(ca => ca.issue())
    const tokenOfUntrusted = boundToken(world, untrusted, flow, { scope })
    await allowed(t, { [`${flow}, own certificate`]: { path: oauth, client, token } })
    await refused(t, 'binding_mismatch', {
      [`${flow}, no certificate`]: { path: oauth, token },
      [`${flow}, certificate of another client`]: { path: oauth, client: otherClient, token },
    })
    await refused(t, 'certificate_untrusted', {
      [`${flow}, own certificate of another CA`]: { path: oauth, client: untrusted, token: tokenOfUntrusted },
    })
  }
})

// MT-06
t.test('a cnf that names no key that can be checked is refused, on every route', async t => {
  const { client } = world
  const confirmations: Readonly<Record<string, unknown>> = {
    'no member': {},
    kid: { kid: 'key-1' },
    jwk: { jwk: world.issuer.keys[0]?.jwk },
    'the SHA-1 member': { 'x5t#S1': client.thumbprint, x5t: client.thumbprint },
    'another case': { 'X5T#S256': client.thumbprint },
    'null inside': { 'x5t#S256': null },
    'an inherited name': { toString: client.thumbprint },
    text: client.thumbprint,
    'a list': [client.thumbprint],
    null: null,
    false: false,
    0: 0,
  }
  for (const { flow, mtls, oauth, scope } of FLOWS) {
    const requests: Record<string, Ask> = {}
    for (const [words, cnf] of Object.entries(confirmations))
      for (const path of [mtls, oauth]) {
        const token = boundToken(world, client, flow, { scope, cnf })
        requests[`${words}, ${path}`] = { path, client, token }
      }
    await refused(t, 'binding_mismatch', requests)
  }
})

// MT-07, DP-20: the scheme here is Bearer, with which no proof counts. dpop.test.ts has the other one.
t.test('a token that is bound to a certificate and to a DPoP key needs both', async t => {
  const { client, otherClient } = world
  const jkt = 'A'.repeat(43)
  for (const { flow, mtls, oauth, scope } of FLOWS) {
    const both = { 'x5t#S256': client.thumbprint, jkt }
    const token = boundToken(world, client, flow, { scope, cnf: both })
    const keyOnly = boundToken(world, client, flow, { scope, cnf: { jkt } })
    const withoutProof: Record<string, Ask> = {
      [`${oauth}, key alone`]: { path: oauth, client, token: keyOnly },
    }
    const mismatch: Record<string, Ask> = {}
    for (const path of [mtls, oauth]) {
      withoutProof[`${path}, both, certificate given`] = { path, client, token }
      withoutProof[`${path}, with a proof`] = { path, client, token, headers: { DPoP: 'e30.e30.AA' } }
      mismatch[`${path}, both, other certificate`] = { path, client: otherClient, token }
    }
    await refused(t, 'proof_missing', withoutProof)
    await refused(t, 'binding_mismatch', mismatch)
    // FAPI 1.0 Part 2 section 5.2.2-5: only the certificate binds.
    await refused(t, 'binding_missing', { [`${mtls}, key alone`]: { path: mtls, client, token: keyOnly } })
  }
})

// MT-08
t.test('a renewed certificate needs a new token', async t => {
  const before = await world.clientCa.issue({ commonName: 'renewing' })
  const after = await world.clientCa.issue({ commonName: 'renewing' })
  for (const { flow, mtls, scope } of FLOWS) {
    const token = boundToken(world, before, flow, { scope })
    await allowed(t, { 'before the renewal': { path: mtls, client: before, token } })
    await refused(t, 'binding_mismatch', { 'old token': { path: mtls, client: after, token } })
    const renewed = boundToken(world, after, flow, { scope })
    await allowed(t, { 'new token': { path: mtls, client: after, token: renewed } })
  }
})

// MT-09
t.test('a token that is not bound is refused where binding is asked for', async t => {
  const { client } = world
  for (const { flow, mtls, oauth, scope } of FLOWS) {
    const token = boundToken(world, client, flow, { scope, cnf: undefined })
    await refused(t, 'binding_missing', { [flow]: { path: mtls, client, token } })
    await allowed(t, { [`${flow}, where it is not`]: { path: oauth, token } })
  }
  const strict = { path: '/people/1/strict' }
  await refused(t, 'binding_missing', {
    'binding: required': { ...strict, client, token: bound(client, { cnf: undefined }) },
    'binding: required, no certificate': { ...strict, token: bound(client, { cnf: undefined }) },
  })
  await refused(t, 'binding_mismatch', { 'no certificate': { ...strict, token: bound(client) } })
  await allowed(t, { 'binding: required, bound': { ...strict, client, token: bound(client) } })
})

// MT-10, HP-21: the refusal is an HTTP answer that can be diagnosed, and the connection goes on.
t.test('a refused certificate leaves the connection open for what needs none', async t => {
  const stranger = await createAuthority('Another CA').then(ca => ca.issue())
  const connection = await connectRaw(world, postern, stranger)
  t.equal((await get(connection, bound(stranger))).status, 401)
  connection.write(`GET /open/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  t.equal((await connection.answer()).status, 200)
  t.equal((await get(connection, bound(stranger))).status, 401)
  t.equal(connection.ending, 'open')
  connection.destroy()
})

// --- What changes while a connection is open ---

// TLS-17
t.test('a certificate that ends while its connection is open is refused from that second on', async t => {
  const { status, interactionId, lastAllowedAt, endedAt } = await untilExpiry
  t.equal(status, 401)
  t.equal(await reasonOf(interactionId, postern), 'certificate_expired')
  t.ok(lastAllowedAt > 0, 'it was good before')
  t.ok(lastAllowedAt < notAfter, 'not allowed after its end')
  t.ok(endedAt >= notAfter, 'not refused before its end')
})

/** Asks without a pause on one connection until `stop`. */
function askSteadily(at: Postern, client: Issued) {
  const statuses: number[] = []
  let stopped = false
  let ending = 'open'
  const run = async () => {
    const connection = await connectRaw(world, at, client, 30_000)
    const token = bound(client)
    while (!stopped) statuses.push((await get(connection, token)).status)
    ending = connection.ending
    connection.destroy()
  }
  const ended = run()
  ended.catch(() => {}) // told by `stop`
  return {
    statuses,
    stop: async () => {
      stopped = true
      await ended
      return ending
    },
  }
}

/** Asks on an open connection until the answer has this status, and says how many milliseconds that took. */
async function untilStatus(connection: RawClient, token: string, status: number) {
  const started = performance.now()
  let last = { status: 0, interactionId: '' }
  await untilAsync(
    async () => {
      last = await get(connection, token)
      return last.status === status
    },
    () => `status ${last.status} instead of ${status}`,
  )
  return { ...last, milliseconds: performance.now() - started }
}

/** Connects until the list of revoked certificates lets the client in; the connection is as good as its first answer. */
async function untilAdmitted(token: string): Promise<RawClient> {
  let connection: RawClient | null = null
  await untilAsync(
    async () => {
      connection?.destroy()
      connection = await connectRaw(world, revoking, world.client, 30_000)
      return (await get(connection, token)).status === 200
    },
    () => 'still refused',
  )
  return connection as unknown as RawClient
}

const replaceList = (revoked: readonly Issued[]) =>
  world.clientCa.crl({ revoked }).then(list => world.write('live.crl', list))

// TLS-16
t.test(
  'a revoked client is refused on its open connection within a second, and nobody else notices',
  async t => {
    const { client, otherClient } = world
    const others = askSteadily(revoking, otherClient)
    const token = bound(client)
    const took: number[] = []
    for (let round = 0; round < 3; round++) {
      const connection = await untilAdmitted(token)
      await replaceList([client])
      const { milliseconds, interactionId } = await untilStatus(connection, token, 401)
      took.push(milliseconds)
      t.equal(await reasonOf(interactionId, revoking), 'certificate_revoked', 'the same connection')
      t.equal((await connection.closed()).ending, 'ended', 'and it is over: only a new handshake can help')
      await refused(t, 'certificate_revoked', { 'a new connection': { client, token } }, revoking)
      await refused(
        t,
        'certificate_revoked',
        { 'no way round': { client, token, path: '/people/1' } },
        revoking,
      )
      await replaceList([])
    }
    ;(await untilAdmitted(token)).destroy()
    t.equal(await others.stop(), 'open', 'the other client was not disconnected')
    t.ok(others.statuses.length > 10, `the other client asked ${others.statuses.length} times`)
    t.strictSame(
      others.statuses.filter(status => status !== 200),
      [],
      'the other client saw no refusal',
    )
    // Of three rounds one may be slow on a busy machine, not all.
    t.ok(Math.min(...took) < 1000, `took ${took.map(Math.round).join(', ')} ms`)
  },
)

// TLS-16
t.test('a list that cannot be used is reported, and the one before stays in force', async t => {
  const { client, otherClient } = world
  await replaceList([client])
  const connection = await connectRaw(world, revoking, client, 30_000)
  await untilStatus(connection, bound(client), 401)
  const forger = await createAuthority('Test client CA')
  const broken: Readonly<Record<string, () => void>> = {
    garbage: () => world.write('live.crl', 'no list'),
    'cut short': () => world.write('live.crl', '-----BEGIN X509 CRL-----\nMIIB'),
    empty: () => world.write('live.crl', ''),
    gone: () => rmSync(join(world.directory, 'live.crl')),
    forged: () => world.write('live.crl', forged),
  }
  const forged = await forger.crl()
  for (const [words, breakList] of Object.entries(broken)) {
    const failures = () => revoking.log().filter(line => line.msg === REFUSED).length
    const before = failures()
    breakList()
    await untilAsync(
      async () => failures() > before,
      () => `no reload was refused: ${words}`,
    )
    const line = revoking.log().findLast(each => each.msg === REFUSED)
    t.match(line, { level: 'error', problem: /live\.yaml:\d+:\d+ .*live\.crl/ }, words)
    await refused(t, 'certificate_revoked', { [words]: { client, token: bound(client) } }, revoking)
    await allowed(t, { [words]: { client: otherClient, token: bound(otherClient) } }, revoking)
  }
  connection.destroy()
})

const REFUSED = 'reload refused; the policy before serves on'

// TLS-16
t.test(
  'a list that goes out of date refuses every client of its authority, until there is a newer one',
  async t => {
    const { otherClient } = world
    const nextUpdate = Math.floor(Date.now() / 1000) + 4
    world.write('live.crl', await world.clientCa.crl({ nextUpdate: new Date(nextUpdate * 1000) }))
    await untilAsync(
      async () => (await revoking.admin('/metrics')).text.includes(`{name="live.crl"} ${nextUpdate}\n`),
      () => 'the list was not taken',
    )
    const { status, interactionId, lastAllowedAt, endedAt } = await askUntilRefused(revoking, otherClient)
    t.equal(status, 401)
    t.equal(await reasonOf(interactionId, revoking), 'certificate_untrusted')
    t.match(await revoking.logged(line => line.interactionId === interactionId), {
      detail: /the CRL of the authority [0-9A-F]+ expired/,
    })
    t.ok(lastAllowedAt > 0 && lastAllowedAt < nextUpdate, 'allowed until then')
    t.ok(endedAt >= nextUpdate, 'refused from then on')

    const connection = await connectRaw(world, revoking, otherClient, 30_000)
    await replaceList([])
    await untilStatus(connection, bound(otherClient), 200)
    connection.destroy()
  },
)

// TLS-16
t.test('with onExpiredCrl: allow an old list still names the revoked, and lets the others in', async t => {
  const { client, otherClient } = world
  await allowed(t, { 'not on the list': { client, token: bound(client) } }, lenient)
  await refused(
    t,
    'certificate_revoked',
    { 'on the list': { client: otherClient, token: bound(otherClient) } },
    lenient,
  )
  t.match(lenient.output(), /old\.crl is out of date since/, 'the operator is told')
})

// TLS-16, TLS-15
t.test('the certificates of a revoked intermediate authority are refused', async t => {
  const withChain = async (ca: typeof intermediate) => {
    const issued = await ca.issue()
    return { ...issued, certificatePem: issued.certificatePem + ca.certificatePem }
  }
  const path = '/machines/1'
  await allowed(t, { good: { client: await withChain(intermediate), path } }, chained)
  const below = await withChain(revokedIntermediate)
  await refused(t, 'certificate_revoked', { 'below the revoked': { client: below, path } }, chained)
  // A chain that runs over an authority outside the bundle is covered by no list.
  const unlisted = await withChain(await root.issueAuthority('Unlisted CA'))
  await refused(t, 'certificate_untrusted', { 'not covered': { client: unlisted, path } }, chained)
})

// Facts of a certificate are kept from one connection to the next; whether its chain verified is not one of them.
t.test('each handshake is judged by itself, also of a certificate that was seen before', async t => {
  const leaf = await intermediate.issue()
  const whole = { ...leaf, certificatePem: leaf.certificatePem + intermediate.certificatePem }
  const path = '/machines/1'
  for (const time of ['first', 'second']) {
    const alone = { [`without the intermediate, ${time} time`]: { client: leaf, path } }
    await refused(t, 'certificate_untrusted', alone, rooted)
    await allowed(t, { [`with it, ${time} time`]: { client: whole, path } }, rooted)
  }
})

// TLS-16
t.test('it does not start when the list of an authority is missing', async t => {
  const other = await createAuthority('Another CA')
  world.write('two.pem', world.clientCa.certificatePem + other.certificatePem)
  world.write('one.crl', await world.clientCa.crl())
  const policy = (crl: string) =>
    policyText(world, { upstream: upstream.url, clients: `{ trust: pki, ca: [two.pem], crl: [${crl}] }` })
  const [uncovered, absent] = await Promise.all([
    refusedStart(world, 'uncovered', policy('one.crl')),
    refusedStart(world, 'absent', policy('one.crl, absent.crl')),
  ])
  t.match(uncovered, { code: 78, text: /yaml:\d+:\d+ no revocation list is signed by ".*Another CA"/ })
  t.match(absent, { code: 78, text: /yaml:\d+:\d+ absent\.crl does not exist/ })
})

function swapCase(text: string): string {
  return text.replace(/[A-Za-z]/g, letter => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase()))
}
