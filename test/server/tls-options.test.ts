import t from 'tap'
import type { TlsSettings } from '../../src/config/settings.js'
import { tlsContexts } from '../../src/server/tls-options.js'
import { createAuthority } from '../support/pki.js'

t.test('a certificate that OpenSSL refuses is refused before it is used, the first one too', async t => {
  const authority = await createAuthority()
  const good = await authority.issue({ sanDns: ['a.example'], key: 'rsa-2048' })
  const other = await authority.issue({ sanDns: ['a.example'], key: 'rsa-2048' })
  const certificate = (cert: string, key: string) => ({
    ...{ name: 'server.pem', cert, key, dnsNames: ['a.example'], notAfter: 0 },
  })
  const settings = (cert: string, key: string): TlsSettings => ({
    profile: 'fapi2',
    certificates: [certificate(cert, key)],
    clients: { trust: 'pki', ca: [], crl: null, onExpiredCrl: 'deny' },
  })
  t.ok(tlsContexts(settings(good.certificatePem, good.keyPem)))
  t.throws(() => tlsContexts(settings(good.certificatePem, other.keyPem)), /key values mismatch/i)
})
