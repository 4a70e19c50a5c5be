import { randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import t from 'tap'
import { isWithin } from '../../src/request/certificate-facts.js'
import { pathsUp } from '../../src/server/certificate-paths.js'

import '../support/pki.js' // gives @peculiar/x509 what it needs to be loaded

const x509 = await import('@peculiar/x509')

// Ways from a certificate up to the bundle, where an authority has several certificates.

const HOUR = 3600
const NOW = Date.now() / 1000
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])

interface Named {
  readonly name: string
  readonly keys: webcrypto.CryptoKeyPair
}

const [root, other, middle, client] = (await Promise.all(
  ['Root', 'Other', 'Middle', 'client'].map(
    async (name): Promise<Named> => ({ name, keys: await newKeys() }),
  ),
)) as [Named, Named, Named, Named]

/** A certificate of `of`, signed by `by`, valid from and to so many hours from now. */
async function issue(of: Named, by: Named, from: number, to: number): Promise<X509Certificate> {
  const isAuthority = of !== client
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: `40${randomBytes(8).toString('hex')}`,
    subject: `CN=${of.name}`,
    issuer: `CN=${by.name}`,
    notBefore: new Date((NOW + from * HOUR) * 1000),
    notAfter: new Date((NOW + to * HOUR) * 1000),
    publicKey: of.keys.publicKey,
    signingKey: by.keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(isAuthority, undefined, true),
      new x509.KeyUsagesExtension(
        isAuthority ? x509.KeyUsageFlags.keyCertSign : x509.KeyUsageFlags.digitalSignature,
        true,
      ),
    ],
  })
  return new X509Certificate(made.toString('pem'))
}

/** Whole hours from now in which some way holds: until when the certificate counts, or null when it does not. */
function until(
  leaf: X509Certificate,
  bundle: readonly X509Certificate[],
  sent: readonly X509Certificate[] = [],
): number | null {
  const ends = pathsUp(leaf, bundle, sent)
    .filter(path => isWithin(path, NOW))
    .map(({ notAfter }) => Math.round((notAfter - NOW) / HOUR))
  return ends.length === 0 ? null : Math.max(...ends)
}

t.test('an authority that is renewed counts before its successor begins, and as long as either', async t => {
  const leaf = await issue(client, root, -1, 500)
  const [inUse, renewed] = [await issue(root, root, -1, 100), await issue(root, root, 24, 1000)]
  t.equal(until(leaf, [inUse]), 100)
  t.equal(until(leaf, [renewed]), null)
  for (const bundle of [
    [inUse, renewed],
    [renewed, inUse],
  ])
    t.equal(until(leaf, bundle), 100)
  t.equal(until(leaf, [inUse, await issue(root, root, -1, 400)]), 400)
})

t.test('of several ways up the one that holds counts, whichever is named first', async t => {
  const leaf = await issue(client, middle, -1, 500)
  const [over, holds] = [await issue(other, other, -9, -1), await issue(root, root, -1, 300)]
  const [byOver, byHolding] = [await issue(middle, other, -9, 400), await issue(middle, root, -1, 200)]
  for (const sent of [
    [byOver, byHolding],
    [byHolding, byOver],
  ]) {
    t.equal(until(leaf, [over, holds], sent), 200)
    t.equal(until(leaf, [...sent, over, holds]), 200)
  }
  t.equal(until(leaf, [over, holds], [byOver]), null, 'the root above it is over')
  const crossed = await issue(root, other, -1, 900)
  t.equal(until(await issue(client, root, -1, 500), [holds, crossed, over]), 300)
})

t.test('what was sent leads up to the bundle, and is never the end of the way', async t => {
  const leaf = await issue(client, middle, -1, 500)
  const [top, between] = [await issue(root, root, -1, 300), await issue(middle, root, -1, 5)]
  t.equal(until(leaf, [top], [between]), 5)
  t.equal(until(leaf, [top]), null)
  t.equal(until(leaf, [], [between, top]), null)
  t.equal(until(leaf, [await issue(other, other, -1, 300)], [between, top]), null)
})

t.test('the way is found behind anything else that was sent, and the work for it is bounded', async t => {
  const leaf = await issue(client, middle, -1, 500)
  const [top, between] = [await issue(root, root, -1, 300), await issue(middle, root, -1, 5)]
  const strangers = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const stranger = { name: `stranger ${index}`, keys: await newKeys() }
      return issue(stranger, stranger, -1, 900)
    }),
  )
  t.equal(until(leaf, [top], [...strangers, between]), 5)
  // Authorities that sign each other in every way.
  const many = await Promise.all(
    Array.from({ length: 12 }, () => Promise.all([issue(middle, other, -1, 9), issue(other, middle, -1, 9)])),
  )
  const began = performance.now()
  t.equal(until(leaf, [top], many.flat()), null)
  t.ok(performance.now() - began < 5000)
})
