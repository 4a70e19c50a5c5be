import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { certificateNames, parseCrlFile, type RevocationList } from '../../src/config/parse-crl.js'
import { type Authority, createAuthority, KEY_USAGE, needsOpenssl, pem, selfSigned } from '../support/pki.js'

const NULL = Buffer.of(5, 0)

const ca = await createAuthority('Test CA')
const revoked = await ca.issue({ commonName: 'revoked' })
const good = await ca.issue({ commonName: 'good' })
const text = await ca.crl({ revoked: [revoked, '80', '01', '0'] })

const derOf = (text: string) => Buffer.from(text.replaceAll(/-----.*-----|\s/g, ''), 'base64')
const only = (text: string | Buffer): RevocationList => {
  const [list, ...more] = parseCrlFile(Buffer.from(text))
  if (list === undefined || more.length > 0) throw new Error('expected one list')
  return list
}
const refused = (t: Test, file: string | Buffer, message: RegExp, name = String(message)) =>
  t.throws(() => parseCrlFile(Buffer.from(file)), { message }, name)

t.test('a revoked certificate is found by the serial number that Node shows for it', async t => {
  const list = only(text)
  t.ok(list.revoked.has(revoked.certificate.serialNumber))
  t.notOk(list.revoked.has(good.certificate.serialNumber))
  t.strictSame(list.revoked, new Set([revoked.certificate.serialNumber, '80', '01', '0']))
})

t.test('dates are read to the second, in both encodings, and a missing nextUpdate is null', async t => {
  const thisUpdate = new Date('2049-12-31T23:59:59Z')
  const nextUpdate = new Date('2051-02-28T01:02:03Z')
  const list = only(await ca.crl({ thisUpdate, nextUpdate }))
  t.equal(list.thisUpdate, thisUpdate.getTime() / 1000)
  t.equal(list.nextUpdate, nextUpdate.getTime() / 1000)
  t.equal(only(await ca.crl({ nextUpdate: null })).nextUpdate, null)
})

t.test('DER, PEM with either label, several blocks and text around them are read alike', async t => {
  const other = await createAuthority('Other CA')
  const second = await other.crl({ revoked: ['0A'] })
  t.strictSame(only(derOf(text)).revoked, only(text).revoked)
  t.strictSame(only(pem('CRL', derOf(text))).revoked, only(text).revoked)
  t.strictSame(only(text.replaceAll('\n', '\r\n')).revoked, only(text).revoked)
  const both = parseCrlFile(Buffer.from(`first\n${text}then the other\n${second}`))
  t.strictSame(
    both.map(list => list.issuer),
    [ca, other].map(authority => certificateNames(authority.certificate.raw).subject),
  )
})

t.test('an authority vouches only for its own lists', async t => {
  const list = only(text)
  t.ok(list.isSignedBy(ca.certificate))
  t.notOk(list.isSignedBy((await createAuthority('Test CA')).certificate), 'same name, other key')
  t.notOk(list.isSignedBy(good.certificate), 'a client')
  t.notOk(
    list.isSignedBy((await createAuthority('Test CA', { key: 'ed25519' })).certificate),
    'other kind of key',
  )

  const noCrlSign = await createAuthority('Test CA', { keyUsage: KEY_USAGE.keyCertSign })
  t.notOk(only(await noCrlSign.crl()).isSignedBy(noCrlSign.certificate), 'keyUsage without cRLSign')
  const noUsage = await createAuthority('Test CA', { keyUsage: null })
  t.ok(only(await noUsage.crl()).isSignedBy(noUsage.certificate), 'no keyUsage')

  const empty = only(await ca.crl())
  t.equal(empty.revoked.size, 0)
  t.ok(empty.isSignedBy(ca.certificate), 'an empty list')
})

t.test('every signature algorithm of today is verified', async t => {
  for (const key of ['rsa-2048', 'rsa-pss-2048', 'ec-p256', 'ed25519'] as const) {
    const authority = await createAuthority('Test CA', { key })
    for (const hash of ['SHA-256', 'SHA-384', 'SHA-512'] as const) {
      const list = only(await authority.crl({ revoked: ['0A'], hash }))
      t.ok(list.isSignedBy(authority.certificate), `${key} ${hash}`)
      t.notOk(list.isSignedBy(ca.certificate), `${key} ${hash}, other authority`)
    }
  }
})

t.test('lists signed with SHA-1 or MD5 are refused, because they can be forged', async t => {
  for (const key of ['rsa-2048', 'rsa-pss-2048', 'ec-p256'] as const) {
    const authority = await createAuthority('Test CA', { key })
    refused(t, await authority.crl({ hash: 'SHA-1' }), /signatureAlgorithm: a signature with SHA1/, key)
  }
  refused(t, crl({ algorithm: sequence(oid('2a864886f70d010104')) }), /a signature with MD5/)
  refused(
    t,
    crl({ algorithm: sequence(oid('2a864886f70d01010a'), sequence()) }),
    /a signature with SHA1/,
    'PSS defaults',
  )
  refused(t, crl({ algorithm: sequence(oid('2a03')) }), /a signature of this kind is not accepted/)
  const sha256 = sequence(oid('608648016503040201'))
  const sha1 = sequence(oid('2b0e03021a'))
  const pss = (hash: Buffer, maskHash: Buffer) => {
    const mask = sequence(oid('2a864886f70d010108'), maskHash)
    return sequence(
      oid('2a864886f70d01010a'),
      sequence(der(0xa0, hash), der(0xa1, mask), der(0xa2, integer(32))),
    )
  }
  t.ok(parseCrlFile(crl({ algorithm: pss(sha256, sha256) })))
  refused(t, crl({ algorithm: pss(sha256, sha1) }), /is not accepted/, 'PSS with a mask of SHA-1')
})

t.test('an algorithm outside the signature that differs from the one inside is refused', async t => {
  refused(
    t,
    crl({ outer: sequence(oid('2a8648ce3d040303')) }),
    /differs from the algorithm that is signed at byte \d+/,
  )
  refused(
    t,
    crl({ outer: sequence(oid('2a8648ce3d040302'), NULL) }),
    /differs from the algorithm that is signed/,
  )
})

t.test('lists that leave certificates out are refused, with the reason', async t => {
  const partition = async (value: Buffer) =>
    ca.crl({ extensions: [{ oid: '2.5.29.28', critical: true, value }] })
  const flag = (number: number) => sequence(der(0x80 + number, [0xff]))
  refused(t, await partition(flag(1)), /covers user certificates only; give the complete list/)
  refused(t, await partition(flag(2)), /covers CA certificates only/)
  refused(t, await partition(sequence(der(0x83, [4, 0x10]))), /covers some reasons only/)
  refused(t, await partition(flag(4)), /indirect lists are not supported/)
  refused(t, await partition(flag(5)), /covers attribute certificates only/)
  const point = der(0xa0, der(0xa0, der(0x86, [...Buffer.from('http://ca.example/1.crl')])))
  refused(t, await partition(sequence(point)), /covers one distribution point only/)
  refused(t, await partition(sequence(point, der(0x84, [0xff]))), /indirect lists are not supported/)

  const delta = { oid: '2.5.29.27', critical: true, value: integer(1) }
  refused(t, await ca.crl({ extensions: [delta] }), /delta lists are not supported/)
  refused(t, await ca.crl({ revoked: ['01'], reason: 8 }), /removeFromCRL belongs in delta lists only/)
  const issuer = { oid: '2.5.29.29', critical: true, value: sequence() }
  refused(t, await ca.crl({ revoked: ['01'], entryExtensions: [issuer] }), /indirect lists are not supported/)
})

t.test('a critical extension nobody here understands refuses the list; others are passed over', async t => {
  const extension = (critical: boolean) => ({ oid: '1.3.6.1.4.1.32473.1', critical, value: NULL })
  refused(
    t,
    await ca.crl({ extensions: [extension(true)] }),
    /unknown critical extension 1\.3\.6\.1\.4\.1\.32473\.1 at byte \d+/,
  )
  refused(
    t,
    await ca.crl({ revoked: ['01'], entryExtensions: [extension(true)] }),
    /unknown critical extension 1\.3\.6\.1\.4\.1\.32473\.1 of an entry/,
  )
  const number = { oid: '2.5.29.20', value: integer(7) }
  t.ok(only(await ca.crl({ extensions: [extension(false), number] })).isSignedBy(ca.certificate))
  const list = only(await ca.crl({ revoked: ['01'], reason: 1, entryExtensions: [extension(false)] }))
  t.strictSame(list.revoked, new Set(['01']))
  refused(t, await ca.crl({ extensions: [number, number] }), /extension 2\.5\.29\.20 appears twice/)
  const many = Array.from({ length: 100 }, (_, index) => ({ oid: `1.3.6.1.4.1.32473.${index}`, value: NULL }))
  refused(t, await ca.crl({ extensions: many }), /more than 64 extensions/)
})

t.test('a malformed list is refused with the field and the byte', async t => {
  const now = utc('260101000000Z')
  t.ok(parseCrlFile(crl({})), 'the list the following are made from')
  t.strictSame(
    parseCrlFile(crl({ version: null, tail: [sequence(sequence(integer(5), now))] }))[0]?.revoked,
    new Set(['05']),
    'version 1',
  )

  refused(t, crl({ version: integer(2) }), /version is not v2 at byte \d+/)
  refused(t, crl({ version: null, tail: [der(0xa0, sequence())] }), /a version 1 list has extensions/)
  refused(
    t,
    crl({ version: null, tail: [sequence(sequence(integer(5), now, sequence()))] }),
    /entry of a version 1 list/,
  )
  refused(t, crl({ thisUpdate: utc('260230000000Z') }), /thisUpdate is not a date that exists at byte 40/)
  refused(t, crl({ thisUpdate: utc('260229000000Z') }), /not a date that exists/)
  refused(t, crl({ thisUpdate: generalized('21000229000000Z') }), /not a date that exists/)
  t.equal(
    parseCrlFile(crl({ thisUpdate: utc('240229000000Z') }))[0]?.thisUpdate,
    Date.UTC(2024, 1, 29) / 1000,
  )
  t.equal(parseCrlFile(crl({ thisUpdate: utc('500101000000Z') }))[0]?.thisUpdate, Date.UTC(1950, 0, 1) / 1000)
  refused(t, crl({ thisUpdate: utc('260100000000Z') }), /not a date that exists/)
  refused(t, crl({ thisUpdate: utc('260001000000Z') }), /not a date that exists/)
  refused(t, crl({ thisUpdate: utc('261301000000Z') }), /not a date that exists/)
  refused(t, crl({ thisUpdate: utc('260101240000Z') }), /not a date that exists/)
  refused(t, crl({ thisUpdate: utc('2601010000Z') }), /not a time with seconds and Z/)
  refused(t, crl({ thisUpdate: utc('260101000000+0100') }), /not a time with seconds and Z/)
  refused(t, crl({ thisUpdate: utc('26010100000xZ') }), /a character that is not a digit/)
  refused(t, crl({ thisUpdate: generalized('20260101000000.5Z') }), /not a time with seconds and Z/)
  refused(t, crl({ thisUpdate: generalized('00260101000000Z') }), /not a date that exists/)
  refused(t, crl({ thisUpdate: integer(1) }), /thisUpdate is not a time/)
  refused(t, crl({ tail: [utc('250101000000Z')] }), /nextUpdate lies before thisUpdate/)
  refused(t, crl({ tail: [NULL] }), /crlExtensions: expected tag 0xa0, found 0x05/)
  refused(
    t,
    crl({ tail: [der(0xa0, sequence()), NULL] }),
    /tbsCertList: unexpected bytes after its last field/,
  )
  refused(t, crl({ signature: der(3, [1, 0]) }), /signatureValue is not a BIT STRING of whole bytes/)
  refused(t, crl({ signature: Buffer.of(4, 0) }), /signatureValue: expected tag 0x03, found 0x04/)
  refused(
    t,
    Buffer.concat([crl({}), NULL]),
    /CertificateList: unexpected bytes after its last field at byte \d+/,
  )

  const entry = (...fields: Buffer[]) => crl({ tail: [sequence(sequence(...fields))] })
  refused(t, entry(der(2, [0, 1]), now), /userCertificate is an INTEGER with padding/)
  refused(t, entry(der(2, [0xff, 0x80]), now), /userCertificate is an INTEGER with padding/)
  refused(t, entry(der(2, []), now), /userCertificate is an empty INTEGER/)
  refused(t, entry(integer(1)), /revocationDate is not a time/)
  refused(t, entry(integer(1), now, sequence(), NULL), /entry of revokedCertificates: unexpected bytes/)
  refused(t, entry(Buffer.of(2, 0x81, 1, 5), now), /userCertificate has a length with padding/)
  refused(t, entry(Buffer.of(2, 0x82, 0, 0x81), now), /userCertificate has a length with padding/)
  refused(t, entry(Buffer.of(2, 0x80, 5, 0, 0), now), /userCertificate has an indefinite length/)
  refused(t, entry(Buffer.of(2, 0x85, 0, 0, 0, 0, 1, 5), now), /has a length of 5 octets/)
  refused(t, entry(Buffer.of(2, 0x84, 0xff, 0xff, 0xff, 0xff, 5)), /claims 4294967295 bytes and 1 are left/)
  const reason = (value: Buffer) => entry(integer(1), now, sequence(sequence(oid('551d15'), der(4, value))))
  refused(t, reason(der(10, [1, 0, 0, 0, 0])), /reasonCode is out of range/)
  refused(t, reason(integer(1)), /reasonCode: expected tag 0x0a, found 0x02/)
  const extension = (...fields: Buffer[]) => crl({ tail: [der(0xa0, sequence(sequence(...fields)))] })
  refused(t, extension(oid('551d14'), der(1, [1]), der(4, [])), /not a BOOLEAN in DER/)
  refused(t, extension(oid('551d80'), der(4, [])), /incomplete object identifier/)
  refused(t, extension(oid('55801d'), der(4, [])), /object identifier with padding/)
  refused(t, extension(oid('01'.repeat(65)), der(4, [])), /object identifier of 65 bytes/)
  refused(t, extension(oid(''), der(4, [])), /incomplete object identifier/)
  refused(t, crl({ algorithm: sequence(oid('2a8648ce3d040302'), der(5, [0])) }), /NULL with content/)
})

t.test('a damaged PEM file is refused rather than read in part', async t => {
  refused(t, '', /no revocation list/)
  refused(t, 'not a list', /no revocation list/)
  refused(t, ca.certificatePem, /expected a PEM block "X509 CRL" at byte 0, found "CERTIFICATE"/)
  refused(t, text + ca.keyPem, /found "PRIVATE KEY"/)
  refused(t, text.slice(0, -10), /has no line "-----END X509 CRL-----"/)
  refused(t, text.replace('-----BEGIN', '----BEGIN') + text, /unexpected "-----" at byte/)
  refused(t, text + text.slice(text.indexOf('\n')), /unexpected "-----" at byte/)
  refused(t, text.replace('\n', '\n*'), /the PEM block at byte 0 is not valid base64/)
  refused(t, text.replace('\n', '\nProc-Type: 4\n\n'), /not valid base64/)
  refused(
    t,
    `x\n${text}${pem('CRL', derOf(text).subarray(0, 60))}`,
    /^PEM block 2 \(from byte \d+\): CertificateList claims \d+ bytes and \d+ are left at byte 0 of its DER$/,
  )
})

t.test('no cut or flipped bit of a list passes for the list', async t => {
  const whole = derOf(text)
  const passes = (file: Buffer): boolean => {
    try {
      return parseCrlFile(file).some(list => list.isSignedBy(ca.certificate))
    } catch (error) {
      // Only a plain Error is a verdict on the file; a TypeError or RangeError is a fault of the reader.
      if ((error as Error).constructor !== Error) throw error
      return false
    }
  }
  t.ok(passes(whole))
  const passed: string[] = []
  for (let length = 0; length < whole.length; length++)
    if (passes(whole.subarray(0, length))) passed.push(`cut ${length}`)
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const flipped = Buffer.from(whole)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    if (passes(flipped)) passed.push(`bit ${bit}`)
  }
  t.strictSame(passed, [])

  const bytes = fc.uint8Array({ maxLength: 12 })
  const place = fc.nat(whole.length)
  fc.assert(
    fc.property(place, fc.nat(12), bytes, (at, removed, inserted) => {
      const changed = Buffer.concat([whole.subarray(0, at), inserted, whole.subarray(at + removed)])
      return changed.equals(whole) || !passes(changed)
    }),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      noise => !passes(Buffer.concat([Buffer.of(0x30, 0x81), noise])),
    ),
    { numRuns: 1000 },
  )
})

t.test('a changed character of a PEM file never changes what is revoked', async t => {
  const before = only(text).revoked
  const original = Buffer.from(text)
  const isSame = (list: RevocationList) =>
    list.revoked.size === before.size && [...before].every(serial => list.revoked.has(serial))
  const change = fc.property(fc.nat(original.length - 1), fc.nat(255), (at, value) => {
    const changed = Buffer.from(original)
    changed[at] = value
    let lists: RevocationList[]
    try {
      lists = parseCrlFile(changed)
    } catch (error) {
      return (error as Error).constructor === Error
    }
    return lists.filter(list => list.isSignedBy(ca.certificate)).every(isSame)
  })
  t.doesNotThrow(() => fc.assert(change, { numRuns: 2000 }))
})

t.test('lists made by openssl are read and verified', needsOpenssl, async t => {
  const pss = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:20']
  for (const [key, hash, options] of [
    ['rsa-2048', 'sha256', []],
    ['rsa-2048', 'sha384', pss],
    ['ec-p256', 'sha512', []],
  ] as const) {
    const authority = await createAuthority('OpenSSL CA', { key })
    const list = only(opensslCrl(t.testdir(), authority, ['-md', hash, ...options]))
    t.strictSame(list.revoked, new Set(['01', 'FF0A', '7B']), `${key} ${hash}`)
    t.ok(list.isSignedBy(authority.certificate), `${key} ${hash}`)
    t.equal(list.nextUpdate, list.thisUpdate + 7 * 24 * 60 * 60)
  }
})

t.test('serial numbers and names of certificates have one form everywhere', async t => {
  const leaf = certificateNames(good.certificate.raw)
  t.equal(leaf.serial, good.certificate.serialNumber)
  t.equal(leaf.issuer, certificateNames(ca.certificate.raw).subject)
  t.equal(leaf.issuer, only(text).issuer)
  t.not(leaf.subject, leaf.issuer)
  t.notOk(leaf.maySignLists)
  t.ok(certificateNames(ca.certificate.raw).maySignLists)
  for (const serial of ['00FF', '01', '7FFF', '8000']) {
    const { certificate } = await selfSigned({ serial })
    t.equal(certificateNames(certificate.raw).serial, certificate.serialNumber)
  }
  t.throws(
    () => certificateNames(Buffer.concat([good.certificate.raw, NULL])),
    /Certificate: unexpected bytes/,
  )
  for (let length = 0; length < good.certificate.raw.length; length++) {
    t.throws(() => certificateNames(good.certificate.raw.subarray(0, length)), Error)
  }
})

t.test('zero, negative and long serial numbers read as Node shows them', needsOpenssl, async t => {
  const directory = t.testdir()
  for (const serial of [
    '0',
    '1',
    '128',
    '-1',
    '-5',
    '-128',
    '-129',
    '-256',
    '-65536',
    `0x${'F'.repeat(40)}`,
  ]) {
    const file = join(directory, 'certificate.pem')
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null']
    execFileSync('openssl', ['req', '-x509', ...key, '-out', file, '-subj', '/CN=x', '-set_serial', serial], {
      stdio: 'pipe',
    })
    const certificate = new X509Certificate(readFileSync(file))
    t.equal(certificateNames(certificate.raw).serial, certificate.serialNumber, serial)
  }
})

t.test('the hash of a signature is told for each kind, so that SHA-1 can be refused', async t => {
  const hashOf = async (options: Parameters<typeof selfSigned>[0]) =>
    certificateNames((await selfSigned(options)).certificate.raw).signatureHash
  t.equal(await hashOf({}), 'sha256')
  t.equal(await hashOf({ signatureHash: 'SHA-1' }), 'sha1')
  t.equal(await hashOf({ key: 'rsa-2048', signatureHash: 'SHA-1' }), 'sha1')
  t.equal(await hashOf({ key: 'rsa-2048', signatureHash: 'SHA-512' }), 'sha512')
  t.equal(await hashOf({ key: 'rsa-pss-2048', signatureHash: 'SHA-384' }), 'sha384')
  t.equal(await hashOf({ key: 'rsa-pss-2048', signatureHash: 'SHA-1' }), 'sha1')
  t.equal(await hashOf({ key: 'ed25519' }), 'sha512')
})

/** A list with three revoked certificates, made by `openssl ca`. */
function opensslCrl(directory: string, authority: Authority, options: readonly string[]): Buffer {
  const path = (name: string, content: string) => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  const row = (serial: string, reason: string) =>
    `R\t400101000000Z\t260101000000Z${reason}\t${serial}\tunknown\t/CN=${serial}\n`
  const index = path('index.txt', row('01', '') + row('FF0A', ',keyCompromise') + row('7B', ''))
  const crlNumber = path('crlnumber', '01\n')
  const config = path(
    'ca.cnf',
    `[ca]\ndefault_ca=x\n[x]\ndatabase=${index}\ncrlnumber=${crlNumber}\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n`,
  )
  const out = join(directory, 'list.pem')
  const signer = [
    '-cert',
    path('ca.pem', authority.certificatePem),
    '-keyfile',
    path('ca.key', authority.keyPem),
  ]
  execFileSync(
    'openssl',
    ['ca', '-gencrl', '-config', config, ...signer, '-crldays', '7', '-out', out, ...options],
    { stdio: 'pipe' },
  )
  return readFileSync(out)
}

/** One DER element. */
function der(tag: number, ...content: (Buffer | readonly number[])[]): Buffer {
  const body = Buffer.concat(content.map(part => Buffer.from(part)))
  const length = body.length < 0x80 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff]
  if (body.length >= 0x80 && body.length < 0x100) length.splice(0, 3, 0x81, body.length)
  return Buffer.concat([Buffer.of(tag, ...length), body])
}

function sequence(...content: Buffer[]): Buffer {
  return der(0x30, ...content)
}

function integer(value: number): Buffer {
  return der(2, [value])
}

function oid(hex: string): Buffer {
  return der(6, Buffer.from(hex, 'hex'))
}

function utc(text: string): Buffer {
  return der(0x17, Buffer.from(text))
}

function generalized(text: string): Buffer {
  return der(0x18, Buffer.from(text))
}

/** A list in DER with one field of choice, right or wrong. Its signature is not one: refusals come before it is looked at. */
function crl(fields: {
  version?: Buffer | null
  algorithm?: Buffer
  outer?: Buffer
  thisUpdate?: Buffer
  tail?: Buffer[]
  signature?: Buffer
}): Buffer {
  const { version = integer(1), algorithm = sequence(oid('2a8648ce3d040302')), tail = [] } = fields
  const issuer = sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from('Test CA')))))
  const thisUpdate = fields.thisUpdate ?? utc('260101000000Z')
  const tbs = sequence(...(version === null ? [] : [version]), algorithm, issuer, thisUpdate, ...tail)
  const signature = fields.signature ?? der(3, Buffer.alloc(71))
  return sequence(tbs, fields.outer ?? algorithm, signature)
}
