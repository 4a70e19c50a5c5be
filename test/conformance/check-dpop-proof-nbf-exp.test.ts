import t from 'tap'
import { startResourceServer } from './resource-server.js'

// CS-19, CS-20; F2-12, DP-13, DP-14. The tolerances that must be there, and their ends.

const server = await startResourceServer('fapi2')
t.teardown(server.close)
const now = () => Math.floor(Date.now() / 1000)

for (const target of [server.resource.dpop, server.resource.machineDpop]) {
  const call = async (proofClaims: Record<string, unknown>) =>
    (await server.call(target, { proofClaims })).status

  t.test(`check-dpop-proof-nbf-exp: a proof may have nbf and exp, ${target.name}`, async t => {
    t.equal(await call({ nbf: now(), exp: now() + 300 }), 200)
  })

  t.test(`ensure-dpop-proof-with-iat-10-seconds-before-succeeds, ${target.name}`, async t => {
    t.equal(await call({ iat: now() - 10 }), 200)
  })

  t.test(`ensure-dpop-proof-with-iat-10-seconds-after-succeeds, ${target.name}`, async t => {
    t.equal(await call({ iat: now() + 8 }), 200)
    t.equal(await call({ iat: now() + 10 }), 200)
    t.equal(await call({ iat: now() + 61 }), 401, 'more than a minute ahead is refused')
  })
}

t.test('F2-12: the clock of the issuer may be 8 s ahead, and no minute', async t => {
  const { mtls, dpop } = server.resource
  for (const target of [mtls, dpop])
    for (const [ahead, status] of [
      [8, 200],
      [70, 401],
    ] as const) {
      const at = now() + ahead
      for (const claims of [{ iat: at }, { nbf: at }]) {
        const token = server.tokenFor(target, server.client1, claims)
        t.equal((await server.call(target, { token })).status, status, JSON.stringify([ahead, claims]))
      }
    }
})
