import t from 'tap'
import { explainRequest } from '../../src/cli/explain-request.js'
import { loadConfiguration } from '../../src/config/load.js'
import { newProofKey, proofFor } from '../support/dpop.js'
import { createWorld, HOST, policyText } from '../support/postern.js'

const world = await createWorld()
t.teardown(() => world.close())
world.write('jwks.json', JSON.stringify(world.issuer.jwks))
const loaded = await loadConfiguration(
  world.write(
    'p.yaml',
    policyText(world, { upstream: 'http://127.0.0.1:1', profile: 'fapi2', keys: '{ file: jwks.json }' }),
  ),
  {},
)
if (!('settings' in loaded)) throw new Error(JSON.stringify(loaded))
const client = newProofKey()
const token = world.issuer.token({ sub: 'client-1', scope: 'partners', cnf: { jkt: client.jkt } })
const good = () => proofFor(client, { htu: `https://${HOST}/partners/1`, token })

async function explain(proof: string | null) {
  const evidence = { token, claims: null, certificate: null, proof }
  const { outcome, code, checks } = await explainRequest(
    loaded as never,
    'GET',
    '/partners/1',
    evidence,
    Date.now() / 1000,
  )
  return { outcome, code, failing: checks.filter(({ pass }) => !pass).map(({ check }) => check), checks }
}

t.test('explain judges a proof by the functions of the live path', async t => {
  t.match(await explain(good()), { outcome: 'allowed', code: null, failing: [] })
  const other = newProofKey()
  const stolen = proofFor(other, { htu: `https://${HOST}/partners/1`, token })
  t.match(await explain(stolen), { code: 'binding_mismatch', failing: ['binding'] })
  const elsewhere = proofFor(client, { htu: `https://${HOST}/partners/2`, token })
  t.match(await explain(elsewhere), { code: 'proof_invalid', failing: ['proof'] })
  t.match(await explain('x.y.z'), { code: 'proof_invalid', failing: ['proof signature', 'binding'] })
})

t.test('without a proof a token that is bound to a DPoP key is refused', async t => {
  const { code, failing, checks } = await explain(null)
  t.equal(code, 'proof_missing')
  t.strictSame(failing, ['binding'])
  t.match(
    checks.find(({ check }) => check === 'proof'),
    { pass: true, fact: 'no DPoP proof: the scheme is Bearer' },
  )
})
