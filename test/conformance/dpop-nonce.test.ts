import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Answered } from '../support/postern.js'
import { startResourceServer, valuesOf } from './resource-server.js'

// CS-21: CallProtectedResourceAllowingDpopNonceError; DP-23 to DP-26, DP-32, F2-13.

const server = await startResourceServer('fapi2')
t.teardown(server.close)
const { nonce: target } = server.resource
const now = () => Math.floor(Date.now() / 1000)

/** The one nonce of a 401 that asks for it. */
function asked(t: Test, answered: Answered): string {
  t.equal(answered.status, 401)
  t.match(valuesOf(answered, 'www-authenticate'), [/^DPoP .*error="use_dpop_nonce"/])
  const nonces = valuesOf(answered, 'dpop-nonce')
  t.equal(nonces.length, 1, 'exactly one DPoP-Nonce')
  t.match(nonces[0], /^[\x21\x23-\x5b\x5d-\x7e]+$/, 'of the characters that RFC 9449 allows')
  return nonces[0] ?? ''
}

t.test('CallProtectedResourceAllowingDpopNonceError: the second try, with the nonce, succeeds', async t => {
  const nonce = asked(t, await server.call(target))
  const answered = await server.call(target, { proofClaims: { nonce } })
  t.equal(answered.status, 200)
  t.ok(valuesOf(answered, 'dpop-nonce').length <= 1, 'at most one new nonce with a success')
  const next = valuesOf(answered, 'dpop-nonce')[0] ?? nonce
  t.equal((await server.call(target, { proofClaims: { nonce: next } })).status, 200)
})

t.test('a nonce that the server did not give out is refused with a good one', async t => {
  const fresh = asked(t, await server.call(target, { proofClaims: { nonce: 'made up' } }))
  t.equal((await server.call(target, { proofClaims: { nonce: fresh } })).status, 200)
})

t.test('a client that was refused for the nonce may use its jti again', async t => {
  const jti = randomUUID()
  const nonce = asked(t, await server.call(target, { proofClaims: { jti } }))
  t.equal((await server.call(target, { proofClaims: { jti, nonce } })).status, 200)
})

t.test('once nonces are demanded a proof without one is refused for ever', async t => {
  const nonce = asked(t, await server.call(target))
  t.equal((await server.call(target, { proofClaims: { nonce } })).status, 200)
  asked(t, await server.call(target))
})

t.test('with a nonce a client whose clock is wrong is served', async t => {
  const nonce = asked(t, await server.call(target, { proofClaims: { iat: now() - 3600 } }))
  for (const iat of [now() - 3600, now() + 3600])
    t.equal((await server.call(target, { proofClaims: { iat, nonce } })).status, 200)
})
