import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { tokenFacts } from '../../src/checks/token-facts.js'
import { EXPERIMENTAL_PRESETS, FLOW_PRESETS, type FlowPreset } from '../../src/policy/flow-presets.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import { vectors } from '../support/vectors.js'

/** Tokens as authorization servers write them (REQUIREMENTS section 16.2), with made-up values. */
interface Vectors {
  readonly preset: FlowPreset
  /** `claims.clientId` of the issuer. */
  readonly clientId: readonly string[]
  readonly tokens: readonly {
    readonly name: string
    readonly flow: string
    readonly claims: Readonly<Record<string, unknown>>
  }[]
}

const FOLDER = vectors('flow')
const ALL = readdirSync(FOLDER).map(file => JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Vectors)

function rulesOf(flow: IssuerRules['flow'], clientId: readonly string[]): IssuerRules {
  return {
    name: 'main',
    issuer: 'https://as.example',
    audience: ['https://api.example'],
    algorithms: ['ES256'],
    typ: ['at+jwt'],
    clockSkewSeconds: 10,
    maxLifetimeSeconds: null,
    requiredClaims: [],
    claims: { scope: 'scope', clientId },
    flow,
    clients: null,
  }
}

t.test('every preset has vectors of both flows and of neither', async t => {
  t.same(ALL.map(({ preset }) => preset).sort(), Object.keys(FLOW_PRESETS).sort())
  for (const { preset, tokens } of ALL)
    t.same(
      [...new Set(tokens.map(({ flow }) => flow))].sort(),
      ['authorization_code', 'client_credentials', 'unknown'],
      preset,
    )
})

for (const { preset, clientId, tokens } of ALL)
  t.test(`${preset} tells the flows apart`, async t => {
    for (const { name, flow, claims } of tokens) {
      const facts = tokenFacts(claims, rulesOf(FLOW_PRESETS[preset], clientId))
      t.equal(facts.flow, flow, `${name} (${facts.flowReason})`)
    }
  })

t.test('what has not met the running server is experimental', async t => {
  t.same(
    Object.keys(FLOW_PRESETS).filter(preset => !EXPERIMENTAL_PRESETS.has(preset)),
    ['rfc9068', 'oidc-provider'],
  )
})

t.test('sub is compared with the client id under whatever name it has (FD-04)', async t => {
  for (const alias of ['client_id', 'azp', 'cid', 'appid']) {
    const rules = rulesOf(FLOW_PRESETS.rfc9068, ['client_id', 'azp', 'cid', 'appid'])
    t.equal(tokenFacts({ sub: 'client-1', [alias]: 'client-1' }, rules).flow, 'client_credentials', alias)
    t.equal(tokenFacts({ sub: 'user-1', [alias]: 'client-1' }, rules).flow, 'authorization_code', alias)
  }
  const named = rulesOf(FLOW_PRESETS.rfc9068, ['cid'])
  t.equal(
    tokenFacts({ sub: 'victim', client_id: 'victim', cid: 'client-1' }, named).flow,
    'authorization_code',
    'a claim that is not the client id of this issuer proves nothing',
  )
})

t.test('the reason names rule, preset and evidence (FD-06), and who acts (FD-02)', async t => {
  const rules = rulesOf(FLOW_PRESETS.rfc9068, ['client_id'])
  t.equal(tokenFacts({ sub: 'c', client_id: 'c' }, rules).flowReason, 'rule 1 of rfc9068')
  t.match(tokenFacts({ sub: 'c', client_id: 'c', sid: 's' }, rules).flowReason, /sid shows a user/)
  t.match(tokenFacts({ client_id: 'c' }, rules).flowReason, /no rule of rfc9068 matches/)
  t.equal(tokenFacts({ sub: 'u', client_id: 'c', act: { sub: 'c' } }, rules).actor, 'c')
  t.equal(tokenFacts({ sub: 'u', client_id: 'c', act: 'c' }, rules).actor, null)
})

t.test("a sub that names nobody makes no token a person's, by any preset or rule", async t => {
  const own = {
    name: 'own',
    rules: [{ when: { claim: 'sid', exists: true }, is: 'authorization_code' }],
    userEvidence: [],
  } as const
  const shows = {
    client_id: 'c',
    cid: 'c',
    sid: 's',
    uid: 'u',
    oid: 'o',
    scp: 'a',
    aut: 'APPLICATION_USER',
    grant_type: 'authorization_code',
  }
  for (const flow of [...Object.values(FLOW_PRESETS), own]) {
    const rules = rulesOf(flow, ['client_id', 'cid'])
    t.equal(tokenFacts({ ...shows, sub: 'u' }, rules).flow, 'authorization_code', flow.name)
    for (const sub of ['', 0, false, null, {}, [], ['u']])
      t.equal(tokenFacts({ ...shows, sub }, rules).flow, 'unknown', `${flow.name}: ${JSON.stringify(sub)}`)
  }
  const auth0 = rulesOf(FLOW_PRESETS.auth0, ['azp'])
  t.equal(tokenFacts({ sub: 'c', azp: 'c' }, auth0).flow, 'unknown', 'the client is no person')
})

t.test('rules of the operator come before those of a preset', async t => {
  const flow = {
    ...FLOW_PRESETS.rfc9068,
    rules: [
      { when: { claim: 'act', exists: true }, is: 'authorization_code' } as const,
      ...FLOW_PRESETS.rfc9068.rules,
    ],
  }
  const claims = { sub: 'client-1', client_id: 'client-2', act: { sub: 'client-2' } }
  t.equal(tokenFacts(claims, rulesOf(flow, ['client_id'])).flow, 'authorization_code')
})
