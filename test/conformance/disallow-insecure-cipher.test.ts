import t, { type Test } from 'tap'
import { ALERT, replyTo, TLS_VERSION } from '../support/client-hello.js'
import { HOST } from '../support/postern.js'
import { type Family, startResourceServer } from './resource-server.js'

// The TLS conditions that must not be met: CS-02, CS-05, CS-06; F2-01, F2-02.

const server = await startResourceServer('fapi1-advanced', 'fapi2')
t.teardown(server.close)

const FAMILIES: readonly Family[] = ['fapi1-advanced', 'fapi2']
/** Every code that may stand for a suite of TLS 1.2: no suite of TLS 1.3, no signal. */
const EVERY_SUITE = Array.from({ length: 0x10000 }, (_, code) => code).filter(
  code => code >> 8 !== 0x13 && code !== 0x00ff && code !== 0x5600,
)
/** As many as fit into one ClientHello. */
const AT_ONCE = 0x4000

for (const [module, version] of [
  ['DisallowTLS10', TLS_VERSION.tls10],
  ['DisallowTLS11', TLS_VERSION.tls11],
] as const)
  t.test(`${module}: a client that can do no newer version gets no connection`, async t => {
    const suites = [0x002f, 0x0035, 0xc013, 0xc014, 0xc009, 0xc00a, 0xc02f, 0xc030]
    for (const family of FAMILIES)
      t.strictSame(
        await replyTo(server.at(family).port, { suites, version, serverName: HOST }),
        { is: 'alert', description: ALERT.protocolVersion },
        family,
      )
  })

/** The suite takes a handshake_failure or a reset for a refusal, and nothing else. */
async function refused(t: Test, family: Family, suites: readonly number[], words: string) {
  const reply = await replyTo(server.at(family).port, { suites, serverName: HOST })
  if (reply.is !== 'end')
    t.strictSame(reply, { is: 'alert', description: ALERT.handshakeFailure }, `${family}: ${words}`)
}

async function refusedBut(t: Test, family: Family, allowed: readonly number[]) {
  const others = EVERY_SUITE.filter(code => !allowed.includes(code))
  for (let from = 0; from < others.length; from += AT_ONCE)
    await refused(t, family, others.slice(from, from + AT_ONCE), `suites from ${from}`)
}

t.test('DisallowInsecureCipher: any suite but the four of FAPI 1 is refused', t =>
  refusedBut(t, 'fapi1-advanced', [0x009e, 0x009f, 0xc02f, 0xc030]),
)

t.test('RequireOnlyBCP195RecommendedCiphersForTLS12: any suite but the four of BCP 195 is refused', t =>
  refusedBut(t, 'fapi2', [0xc02b, 0xc02c, 0xc02f, 0xc030]),
)

t.test('CheckForBCP195InsecureFAPICiphers: finite-field Diffie-Hellman is refused', async t => {
  for (const family of FAMILIES) await refused(t, family, [0x009e, 0x009f, 0xccaa], 'DHE')
})
