import fc from 'fast-check'
import t from 'tap'
import { createNonces } from '../../src/sources/dpop-nonce.js'

const NOW = 1_800_000_000
const nonces = createNonces(Buffer.alloc(32, 1))

t.test('a nonce says when its window began, and is the same until the window ends', async t => {
  const nonce = nonces.issue(60, NOW)
  t.match(nonce, /^[A-Za-z0-9_-]{30}$/)
  t.equal(nonces.issue(60, NOW + 59.9), nonce)
  t.not(nonces.issue(60, NOW + 60), nonce)
  t.equal(nonces.issuedAt(nonce), NOW)
  t.equal(nonces.issuedAt(nonces.issue(1.5, NOW + 1.6)), NOW + 1.5)
})

t.test('only what this secret made is ours', async t => {
  const nonce = nonces.issue(60, NOW)
  t.equal(createNonces(Buffer.alloc(32, 2)).issuedAt(nonce), null)
  for (const other of [
    '',
    `${nonce}=`,
    ` ${nonce}`,
    nonce.slice(1),
    nonce.toLowerCase(),
    7,
    null,
    undefined,
    [nonce],
    {},
  ])
    t.equal(nonces.issuedAt(other), null, String(other))
  // 22 bytes leave four bits of the last character unused; another spelling of the same bytes is another nonce.
  const last = nonce.at(-1) as string
  const next = String.fromCharCode(last.charCodeAt(0) + 1)
  t.equal(nonces.issuedAt(nonce.slice(0, -1) + next), null)
})

t.test('nobody makes a nonce by changing one, nor by chance', async () => {
  const nonce = nonces.issue(60, NOW)
  fc.assert(
    fc.property(fc.nat(nonce.length - 1), fc.base64String({ minLength: 4 }), (at, text) => {
      const changed = nonce.slice(0, at) + text[0] + nonce.slice(at + 1)
      return changed === nonce || nonces.issuedAt(changed) === null
    }),
  )
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 22, maxLength: 22 }),
      bytes => nonces.issuedAt(Buffer.from(bytes).toString('base64url')) === null,
    ),
  )
})
