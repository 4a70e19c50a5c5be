import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { createAuthority, type Issued, KEY_USAGE, pem, selfSigned } from '../support/pki.js'
import {
  type Ask,
  ask,
  boundToken,
  createWorld,
  type Postern,
  policyText,
  startCounting,
  startPostern,
} from '../support/postern.js'

const world = await createWorld()
const counting = await startCounting()
const edge = await world.clientCa.issue({ commonName: 'edge', organization: 'Bank' })
t.teardown(async () => {
  counting.close()
  await world.close()
})

const der = ({ certificate }: Issued) => certificate.raw
const clientCert = (issued: Issued) => `:${der(issued).toString('base64')}:`
const xfcc = (issued: Issued, before = '') =>
  `${before}Cert="${encodeURIComponent(pem('CERTIFICATE', der(issued)))}"`
const hash = (issued: Issued) => createHash('sha256').update(der(issued)).digest('hex')

async function started(t: Test, terminators: string, clients?: string): Promise<Postern> {
  const policy = policyText(world, {
    upstream: counting.url,
    upstreamMore: 'clientCert: forward',
    ...(clients === undefined ? {} : { clients }),
  }).replace('admin:', `${terminators === '' ? '' : `trustedTerminators: ${terminators}\n`}admin:`)
  const postern = await startPostern(world, policy)
  t.teardown(() => postern.stop())
  return postern
}

const token = (client: Issued) => boundToken(world, client, 'authorization_code', { scope: 'basic' })

/** Status and code of one request for a token that is bound to `holder`. */
async function verdict(postern: Postern, holder: Issued, options: Ask): Promise<string> {
  const id = crypto.randomUUID()
  const headers = { 'x-fapi-interaction-id': id, ...options.headers }
  const { status } = await ask(world, postern, { token: token(holder), ...options, headers })
  const line = await postern.logged(({ interactionId }) => interactionId === id)
  return `${status} ${line.code ?? 'allowed'}`
}

t.test('the header of somebody else is ignored and removed', async t => {
  for (const terminators of ['', '[{ address: 10.0.0.0/8, header: client-cert }]']) {
    const postern = await started(t, terminators)
    const headers = { 'Client-Cert': clientCert(world.client), 'X-Forwarded-Client-Cert': xfcc(world.client) }
    t.equal(await verdict(postern, world.client, { headers }), '401 certificate_missing')
    t.equal(
      await verdict(postern, world.client, { headers, client: world.otherClient }),
      '401 binding_mismatch',
      'the certificate of the connection counts',
    )
    t.equal(await verdict(postern, world.otherClient, { headers, client: world.otherClient }), '200 allowed')
    const seen = counting.requests.at(-1)?.headers
    t.equal(seen?.['client-cert'], clientCert(world.otherClient))
    t.notOk(seen?.['x-forwarded-client-cert'])
    t.equal(
      await verdict(postern, world.otherClient, {
        headers: { 'Client-Cert': 'junk' },
        client: world.otherClient,
      }),
      '200 allowed',
      'not even read',
    )
  }
})

t.test('a terminator passes on the certificate of its client, judged like one of ours', async t => {
  const postern = await started(t, '[{ address: 127.0.0.0/8, header: client-cert }]')
  const passOn = (issued: Issued, holder = issued, more: Ask = {}) =>
    verdict(postern, holder, { headers: { 'Client-Cert': clientCert(issued) }, ...more })
  t.equal(await passOn(world.client), '200 allowed')
  t.equal(counting.requests.at(-1)?.headers['client-cert'], clientCert(world.client))
  t.equal(counting.requests.at(-1)?.headers['x-forwarded-for'], '127.0.0.1', 'the address of the socket')
  t.equal(await passOn(world.client, world.client, { client: edge }), '200 allowed', 'with one of its own')
  t.equal(await passOn(world.otherClient, world.client), '401 binding_mismatch')
  t.match(
    await postern.logged(({ code }) => code === 'binding_mismatch'),
    { certificate: world.otherClient.thumbprint.slice(0, 12) },
    'the log names the certificate of the client',
  )

  const other = await createAuthority('Other CA')
  const hour = 3_600_000
  const bad: Readonly<Record<string, Issued>> = {
    'another authority': await other.issue(),
    'self-signed': await selfSigned(),
    'an authority of the same name': await (await createAuthority('Test client CA')).issue(),
    'for servers': await world.clientCa.issue({ extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }),
    'an authority': await world.clientCa.issueAuthority('Sub'),
    'a weak key': await world.clientCa.issue({ key: 'rsa-1024' }),
    'a weak signature': await world.clientCa.issue({ signatureHash: 'SHA-1' }),
    'an unknown critical extension': await world.clientCa.issue({ unknownCriticalExtension: true }),
    'not for signatures': await world.clientCa.issue({ keyUsage: 4 }),
    'an intermediate that is not in the bundle': await (await world.clientCa.issueAuthority('Sub')).issue(),
    'a leaf as issuer': await (await world.clientCa.issueAuthority('No CA', { isCa: false })).issue(),
  }
  for (const [name, issued] of Object.entries(bad))
    t.equal(await passOn(issued), '401 certificate_untrusted', name)
  const expired = await world.clientCa.issue({ notAfter: new Date(Date.now() - 1000) })
  const early = await world.clientCa.issue({ notBefore: new Date(Date.now() + hour) })
  t.equal(await passOn(expired), '401 certificate_expired')
  t.equal(await passOn(early), '401 certificate_expired')
})

t.test('a terminator without a header has a client without a certificate', async t => {
  const postern = await started(t, '[{ address: [127.0.0.1, "::1"], header: client-cert }]')
  t.equal(await verdict(postern, edge, { client: edge }), '401 certificate_missing')
  t.equal((await ask(world, postern, { path: '/machines/1', client: edge })).status, 401)
  const other = { 'X-Forwarded-Client-Cert': xfcc(world.client), Client_Cert: clientCert(world.client) }
  t.equal(
    await verdict(postern, world.client, { client: edge, headers: other }),
    '401 certificate_missing',
    'only the header that the policy names',
  )
})

t.test('what a terminator garbles is refused', async t => {
  const postern = await started(t, '[{ address: 127.0.0.1, header: client-cert }]')
  const good = clientCert(world.client)
  const bad: Readonly<Record<string, string | readonly string[]>> = {
    'two fields': [good, clientCert(world.otherClient)],
    'the same twice': [good, good],
    'a list': `${good}, ${clientCert(world.otherClient)}`,
    'a parameter': `${good};a=1`,
    'no colons': good.slice(1, -1),
    base64url: good.replace(/[+/]/g, '-'),
    empty: '',
    'an empty sequence': '::',
    'bytes after the certificate': `:${Buffer.concat([der(world.client), Buffer.from([0])]).toString('base64')}:`,
    'a certificate cut short': `:${der(world.client).subarray(0, -1).toString('base64')}:`,
    'PEM in base64': `:${Buffer.from(world.client.certificatePem).toString('base64')}:`,
    'no certificate': `:${Buffer.from('hello').toString('base64')}:`,
    'too long': `:${'A'.repeat(25_000)}:`,
  }
  for (const [name, value] of Object.entries(bad))
    t.equal(
      await verdict(postern, world.client, { headers: { 'Client-Cert': value } }),
      '400 request_malformed',
      name,
    )
})

t.test('the certificate of the terminator is asked for where the policy names it', async t => {
  const byThumbprint = `{ x5t#S256: ${edge.thumbprint} }`
  for (const named of [byThumbprint, '{ subject: "O=Bank, CN=edge" }']) {
    const postern = await started(t, `[{ address: 127.0.0.1, certificate: ${named}, header: client-cert }]`)
    const headers = { 'Client-Cert': clientCert(world.client) }
    t.equal(await verdict(postern, world.client, { headers, client: edge }), '200 allowed', named)
    t.equal(await verdict(postern, world.client, { headers }), '401 certificate_missing', named)
    const impostor = await selfSigned({ commonName: 'edge', organization: 'Bank' })
    for (const client of [world.otherClient, impostor])
      t.equal(
        await verdict(postern, world.client, { headers, client }),
        client === impostor ? '401 certificate_untrusted' : '401 binding_mismatch',
        named,
      )
  }
})

t.test('x-forwarded-client-cert of Envoy', async t => {
  const postern = await started(t, '[{ address: 127.0.0.1, header: xfcc }]')
  const send = (value: string | readonly string[]) =>
    verdict(postern, world.client, { headers: { 'X-Forwarded-Client-Cert': value } })
  const by = 'By=spiffe://bank/edge;'
  const whole = `${by}Hash=${hash(world.client)};${xfcc(world.client)};Subject="O=\\"x\\", CN=client-a";URI=`
  t.equal(await send(xfcc(world.client)), '200 allowed')
  t.equal(await send(whole), '200 allowed')
  t.notOk(counting.requests.at(-1)?.headers['x-forwarded-client-cert'])
  t.equal(await send(xfcc(world.otherClient)), '401 binding_mismatch')
  const bad: Readonly<Record<string, string | readonly string[]>> = {
    'two elements': `${xfcc(world.otherClient)},${xfcc(world.client)}`,
    'two fields': [xfcc(world.client), xfcc(world.client)],
    'two certificates': `${xfcc(world.otherClient)};${xfcc(world.client)}`,
    'the hash of another': `Hash=${hash(world.otherClient)};${xfcc(world.client)}`,
    'the hash alone': `Hash=${hash(world.client)}`,
    'two PEM blocks': `Cert="${encodeURIComponent(world.client.certificatePem.repeat(2))}"`,
    'an unknown key': `${xfcc(world.client)};Evil=1`,
    'a cut quote': xfcc(world.client).slice(0, -1),
    'a bad escape': 'Cert="%zz"',
    'an open end': `${xfcc(world.client)};`,
    'the other header': clientCert(world.client),
  }
  for (const [name, value] of Object.entries(bad)) t.equal(await send(value), '400 request_malformed', name)
})

t.test('revoked certificates, intermediates of the bundle, and proof of possession', async t => {
  const sub = await world.clientCa.issueAuthority('Sub')
  const [good, revoked] = [await sub.issue(), await sub.issue()]
  world.write('bundle.pem', world.clientCa.certificatePem + sub.certificatePem)
  world.write('crls.pem', (await world.clientCa.crl()) + (await sub.crl({ revoked: [revoked] })))
  const terminators = '[{ address: 127.0.0.1, header: client-cert }]'
  const passOn = (postern: Postern, issued: Issued) =>
    verdict(postern, issued, { headers: { 'Client-Cert': clientCert(issued) } })
  const pki = await started(t, terminators, '{ ca: [bundle.pem], crl: [crls.pem] }')
  t.equal(await passOn(pki, good), '200 allowed')
  t.equal(await passOn(pki, revoked), '401 certificate_revoked')
  const possession = await started(t, terminators, '{ trust: possession }')
  const own = await selfSigned()
  t.equal(await passOn(possession, own), '200 allowed')
  t.equal(
    await verdict(possession, good, { headers: { 'Client-Cert': clientCert(own) } }),
    '401 binding_mismatch',
  )
})

// What OpenSSL judges on a connection nobody judges here: names are constrained for a reason, so nobody passes.
t.test('an authority that may name only some vouches for nobody in a header', async t => {
  const someNames = Buffer.from(`301da01b30198217${Buffer.from('a'.repeat(23)).toString('hex')}`, 'hex')
  const constrained = await world.clientCa.issueAuthority('Sub', {
    extensions: [{ oid: '2.5.29.30', critical: false, value: someNames }],
  })
  world.write('constrained.pem', world.clientCa.certificatePem + constrained.certificatePem)
  const terminators = '[{ address: 127.0.0.1, header: client-cert }]'
  const postern = await started(t, terminators, '{ ca: [constrained.pem] }')
  for (const leaf of [
    await constrained.issue(),
    await world.clientCa.issue({ keyUsage: KEY_USAGE.keyAgreement }),
  ]) {
    const headers = { 'Client-Cert': clientCert(leaf) }
    t.equal(await verdict(postern, leaf, { headers }), '401 certificate_untrusted')
  }
})

t.test('it is said at start who is trusted', async t => {
  const postern = await started(t, '[{ address: 10.0.0.0/8, header: client-cert }]')
  const words = /connects from 10\.0\.0\.0\/8 can claim any client certificate in Client-Cert/
  t.ok(await postern.logged(({ problem }) => words.test(String(problem))))
})
