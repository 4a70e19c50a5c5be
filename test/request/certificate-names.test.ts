import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import t from 'tap'
import { certificateFacts } from '../../src/request/certificate-facts.js'
import { certificateNames, subjectAlternativeNames } from '../../src/request/certificate-names.js'
import { canonicalName, commonNameOf } from '../../src/request/distinguished-name.js'
import { needsOpenssl, selfSigned } from '../support/pki.js'

const NOT_JUDGED = { chainError: null, trustId: '', chain: [], paths: [], keyUsage: null }

t.test('a distinguished name has one spelling', async t => {
  const cases: [string, string | null][] = [
    ['CN=client-a,O=Acme,C=US', 'CN=client-a,O=Acme,C=US'],
    ['cn=client-a, o=Acme , C = US', 'CN=client-a,O=Acme,C=US'],
    ['CN=a+OU=b', 'CN=a+OU=b'],
    ['OU=b + CN=a', 'CN=a+OU=b'],
    ['O=Acme\\, Inc.', 'O=Acme\\, Inc.'],
    ['O=Acme\\2C Inc.', 'O=Acme\\, Inc.'],
    ['CN=Z\\C3\\BCrich', 'CN=Zürich'],
    ['CN=Zürich', 'CN=Zürich'],
    ['CN=a\\0Ab', 'CN=a\\0Ab'],
    ['CN=\\ a\\ ', 'CN=\\ a\\ '],
    ['CN=a\\\\ ', 'CN=a\\\\'],
    ['CN=\\#a', 'CN=\\#a'],
    ['2.5.4.97=#0C03414243', '2.5.4.97=#0c03414243'],
    ['CN=', 'CN='],
    ['', null],
    ['client-a', null],
    ['CN=a,', null],
    ['CN=a,,O=b', null],
    ['=a', null],
    ['CN=a;O=b', null],
    ['CN="a"', null],
    ['CN=a\\', null],
    ['CN=a\\z', null],
    ['CN=a\\FF', null],
    ['CN=#zz', null],
    ['/C=US/CN=a', null],
  ]
  for (const [written, expected] of cases) t.equal(canonicalName(written), expected, written)
})

t.test('the one spelling is its own spelling, whatever the values are', async t => {
  const value = fc.string({
    unit: fc.constantFrom('a', 'B', ' ', ',', '+', '\\', '"', '=', '#', ';', '<', '\n', '\0', 'ü', '𝄞'),
  })
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 4 }), values => {
      const text = values
        .map(
          one =>
            `CN=${[...Buffer.from(one)].map(byte => `\\${byte.toString(16).padStart(2, '0')}`).join('')}`,
        )
        .join(',')
      const canonical = canonicalName(text)
      t.not(canonical, null)
      t.equal(canonicalName(canonical as string), canonical)
      t.notMatch(canonical as string, /\p{Cc}/u)
      if (values.length === 1) t.equal(commonNameOf(canonical as string), values[0])
      else t.equal(commonNameOf(canonical as string), null, 'of several common names none counts')
    }),
  )
})

t.test('a value cannot pass for another part of the name', async t => {
  const { certificate } = await selfSigned({
    commonName: 'x,CN=admin\nCN=admin+CN=admin',
    organization: 'Acme, Inc.',
  })
  const names = certificateNames(certificate)
  t.equal(names.commonName, 'x,CN=admin\nCN=admin+CN=admin')
  t.equal(names.subject, 'CN=x\\,CN\\=admin\\0ACN\\=admin\\+CN\\=admin,O=Acme\\, Inc.'.replaceAll('\\=', '='))
  t.not(names.subject, canonicalName('CN=admin'))
  t.equal(names.issuer, names.subject)
})

t.test('alternative names are told apart, also hostile ones (CVE-2021-44532)', async t => {
  const { certificate } = await selfSigned({
    sanDns: ['A.Example', 'x.example, DNS:admin.example'],
    sanUri: ['spiffe://bank/a"b', 'spiffe://bank/a, URI:spiffe://bank/admin'],
    sanIp: ['127.0.0.1'],
  })
  const names = certificateNames(certificate)
  t.same(names.dns, ['a.example', 'x.example, dns:admin.example'])
  t.same(names.uri, ['spiffe://bank/a"b', 'spiffe://bank/a, URI:spiffe://bank/admin'])
  t.same(names.email, [])
})

t.test('when one alternative name is not understood, none counts', async t => {
  t.same(subjectAlternativeNames('DNS:a, email:x@y, othername:<unsupported>'), [
    { kind: 'DNS', value: 'a' },
    { kind: 'email', value: 'x@y' },
    { kind: 'othername', value: '<unsupported>' },
  ])
  t.same(subjectAlternativeNames('DNS:"a\\u002c b"'), [{ kind: 'DNS', value: 'a, b' }])
  for (const text of ['DNS:"a', 'DNS:a"b', 'DNS:a,DNS:b', 'DNS:a, b', 'DNS:"\\x"', 'DNS:a\\b'])
    t.same(subjectAlternativeNames(text), [], text)
})

t.test('a certificate without names has none', async t => {
  const { certificate } = await selfSigned({})
  t.same(certificateNames(certificate).dns, [])
})

t.test('name and pin are what the openssl command says', needsOpenssl, async t => {
  const { certificatePem, certificate } = await selfSigned({
    commonName: 'client "a", Zürich',
    organization: 'Acme+Sons',
  })
  const openssl = (args: string[], input: string | Buffer) => execFileSync('openssl', args, { input })
  const subject = openssl(['x509', '-noout', '-subject', '-nameopt', 'RFC2253'], certificatePem)
    .toString()
    .trim()
  const facts = certificateFacts(certificate, NOT_JUDGED)
  t.equal(canonicalName(subject.replace(/^subject=/, '')), facts.names.subject)
  const publicKey = openssl(['x509', '-noout', '-pubkey'], certificatePem)
  const der = openssl(['pkey', '-pubin', '-outform', 'der'], publicKey)
  t.equal(facts.spki, openssl(['dgst', '-sha256', '-binary'], der).toString('base64'))
})
