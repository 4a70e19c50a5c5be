import t from 'tap'
import { parseCrlFile } from '../../src/config/parse-crl.js'
import { fingerprintOf } from '../../src/request/certificate-facts.js'
import { trustBundle } from '../../src/server/client-trust.js'
import { createAuthority, type Issued } from '../support/pki.js'

const DAY = 24 * 3600_000
const at = (days: number) => new Date(Date.now() + days * DAY)

t.test('of two lists of one authority the newer one holds, however long the other is valid', async t => {
  const authority = await createAuthority()
  const client: Issued = await authority.issue({ commonName: 'client' })
  const old = await authority.crl({ thisUpdate: at(-2), nextUpdate: at(30) })
  const emergency = await authority.crl({ revoked: [client], thisUpdate: at(-1), nextUpdate: at(1) })
  for (const order of [
    [old, emergency],
    [emergency, old],
  ]) {
    const signers = [fingerprintOf(authority.certificate)]
    const lists = order.flatMap(pem => parseCrlFile(Buffer.from(pem)))
    const crl = lists.map(list => ({ ...list, name: 'list.pem', signers }))
    const { trust } = trustBundle({ trust: 'pki', ca: [authority.certificatePem], crl, onExpiredCrl: 'deny' })
    const held = trust.revocations?.get(fingerprintOf(authority.certificate))
    t.same([...(held?.serials ?? [])], [client.certificate.serialNumber])
  }
})
