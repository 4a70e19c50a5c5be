import { join } from 'node:path'
import t from 'tap'
import { type Evidence, explainRequest } from '../../src/cli/explain-request.js'
import { loadConfiguration } from '../../src/config/load.js'
import { createWorld, HOST, policyText } from '../support/postern.js'

const world = await createWorld()
t.teardown(world.close)
world.write('secret', 'very-secret\n')
world.write('keys.json', JSON.stringify(world.issuer.jwks))
const NOW = Date.now() / 1000

async function explained(issuer: string, evidence: Partial<Evidence>) {
  const introspection =
    'introspection: { url: https://issuer.example/i, auth: { method: client_secret_post, clientId: postern, clientSecretFile: secret } }'
  const policy = policyText(world, {
    upstream: 'http://127.0.0.1:1',
    keys: '{ file: keys.json }',
    issuer: `${issuer}\n    ${introspection}`,
  })
  world.write('policies.yaml', policy)
  const loaded = await loadConfiguration(join(world.directory, 'policies.yaml'), {})
  if (!('settings' in loaded)) throw new Error(JSON.stringify(loaded))
  const nothing = { token: null, claims: null, certificate: null, proof: null }
  const { outcome, code, checks } = await explainRequest(
    loaded,
    'GET',
    '/partners/1',
    { ...nothing, ...evidence },
    NOW,
  )
  return { outcome, code, facts: new Map(checks.map(({ check, fact }) => [check, fact])) }
}

const REPLY = {
  active: true,
  aud: `https://${HOST}`,
  client_id: 'client-1',
  sub: 'client-1',
  scope: 'partners',
  exp: NOW + 60,
}

t.test('an opaque token: what only the issuer knows is not guessed', async t => {
  for (const tokens of ['opaque', 'auto']) {
    const { outcome, code, facts } = await explained(`tokens: ${tokens}`, { token: 'some-opaque-token' })
    t.equal(outcome, 'undecided', tokens)
    t.equal(code, null)
    t.match(facts.get('introspection'), /not checked: introspection needs the network/)
    t.match(facts.get('scopes'), /no token to judge/)
  }
})

t.test('an answer of the issuer that is taken as authentic', async t => {
  for (const tokens of ['opaque', 'auto']) {
    const ask = async (claims: object) => {
      const { outcome, code } = await explained(`tokens: ${tokens}`, { claims: { ...REPLY, ...claims } })
      return code ?? outcome
    }
    t.equal(await ask({}), 'allowed', `${tokens}: less is required than of a JWT`)
    t.equal(await ask({ active: false }), 'token_inactive')
    t.equal(await ask({ scope: 'other' }), 'scope_insufficient')
    t.equal(await ask({ iss: world.issuer.url }), 'allowed')
    t.equal(await ask({ iss: 'https://other.example' }), 'token_issuer_unknown')
  }
})

t.test('a JWT is verified, and its revocation is not', async t => {
  const token = world.issuer.token({ sub: 'client-1', scope: 'partners' })
  const { outcome, code, facts } = await explained('revocation: introspect', { token })
  t.same([outcome, code], ['undecided', null], 'a revoked token looks the same')
  t.match(facts.get('introspection'), /not checked/)
  t.match(facts.get('signature'), /verified/)
  const auto = await explained('tokens: auto', { token })
  t.equal(auto.outcome, 'allowed')
  t.equal(auto.facts.has('introspection'), false)
})

t.test('a JWT whose keys are fetched is not called allowed: nobody has looked at its signature', async t => {
  world.write('remote.yaml', policyText(world, { upstream: 'http://127.0.0.1:1' }))
  const loaded = await loadConfiguration(join(world.directory, 'remote.yaml'), {})
  if (!('settings' in loaded)) throw new Error(JSON.stringify(loaded))
  const judge = async (token: string) => {
    const evidence = { token, claims: null, certificate: null, proof: null }
    const { outcome, code, checks } = await explainRequest(loaded, 'GET', '/partners/1', evidence, NOW)
    const signature = checks.find(({ check }) => check === 'signature')
    return { outcome, code, signature }
  }
  const good = world.issuer.token({ sub: 'client-1', scope: 'partners' })
  const forged = `${good.split('.').slice(0, 2).join('.')}.${'A'.repeat(86)}`
  for (const token of [good, forged]) {
    const { outcome, code, signature } = await judge(token)
    t.same([outcome, code], ['undecided', null])
    t.match(signature, { pass: false, fact: /^not checked/ })
  }
  const poor = world.issuer.token({ sub: 'client-1', scope: 'other' })
  t.match(await judge(poor), { outcome: 'denied', code: 'scope_insufficient' })
})
