import t from 'tap'
import { DENIALS, Denial, type DenialCode } from '../../src/decision/denials.js'
import { challengesFor, type Offer } from '../../src/gate/challenge.js'
import { attemptedSchemes } from '../../src/request/credentials.js'

const offer = (attempted: readonly ('bearer' | 'dpop')[], satisfiesBinding = true): Offer => ({
  attempted: new Set(attempted),
  rule: {
    origins: [],
    algorithms: ['ES256', 'PS256'],
    maxAgeSeconds: 60,
    futureSkewSeconds: 15,
    nonce: 'none',
    satisfiesBinding,
  },
  nonce: () => 'fresh',
})
const lines = (code: DenialCode, given: Offer | null, scope?: string) =>
  challengesFor(new Denial(code, '', scope === undefined ? {} : { scope }), given)
const authenticate = (value: string) => ['WWW-Authenticate', value]
const ALGS = 'DPoP algs="ES256 PS256"'

// RFC 9449 section 7.2
t.test('the error stands with the scheme that was tried', async t => {
  const described = 'error="invalid_token", error_description="The access token has expired"'
  t.same(lines('credentials_missing', offer([])), [authenticate('Bearer'), authenticate(ALGS)])
  t.same(lines('token_expired', offer(['bearer'])), [authenticate(`Bearer ${described}`), authenticate(ALGS)])
  t.same(lines('token_expired', offer(['dpop'])), [authenticate(`${ALGS}, ${described}`)])
  t.same(lines('token_expired', offer(['bearer', 'dpop'])), [
    authenticate(`Bearer ${described}`),
    authenticate(`${ALGS}, ${described}`),
  ])
})

t.test('DPoP is offered where it could help', async t => {
  t.same(lines('credentials_missing', offer([], false)), [authenticate('Bearer')])
  t.equal(lines('proof_missing', offer(['bearer'], false)).length, 2)
  t.equal(lines('certificate_missing', offer(['bearer'])).length, 1)
  t.match(lines('certificate_missing', offer(['dpop'])), [[String, /^DPoP algs=.*error="invalid_token"/]])
  t.same(lines('token_expired', null).length, 1)
})

t.test('a scope is named by either scheme', async t => {
  const words =
    'error="insufficient_scope", error_description="The access token lacks a required scope", scope="a b"'
  t.same(lines('scope_insufficient', offer(['dpop']), 'a b'), [authenticate(`${ALGS}, ${words}`)])
  t.same(lines('scope_insufficient', offer(['bearer']), 'a b')[0], authenticate(`Bearer ${words}`))
})

t.test('a nonce comes with the one refusal that asks for it', async t => {
  for (const code of Object.keys(DENIALS) as DenialCode[]) {
    const nonces = lines(code, offer(['dpop'])).filter(([name]) => name === 'DPoP-Nonce')
    t.same(nonces, code === 'proof_nonce_required' ? [['DPoP-Nonce', 'fresh']] : [], code)
  }
})

t.test('no challenge for what authentication cannot mend', async t => {
  for (const code of ['store_unavailable', 'issuer_unavailable', 'route_unknown'] as const)
    t.same(lines(code, offer(['dpop'])), [], code)
})

t.test('CS-17 every refusal of a proof is 400 or 401, but for an outage', async t => {
  for (const [code, { status, step }] of Object.entries(DENIALS))
    if (step === 'verifyProof' || step === 'spendProof')
      t.ok(status === 401 || (code === 'store_unavailable' && status === 503), code)
})

t.test('what was tried shows in every Authorization line, and in the query', async t => {
  const tried = (values: readonly string[], query = '') =>
    [
      ...attemptedSchemes(
        values.flatMap(value => ['Authorization', value]),
        query,
      ),
    ].sort()
  t.same(tried([]), [])
  t.same(tried(['Basic x']), [])
  t.same(tried(['BEARER x']), ['bearer'])
  t.same(tried(['dpop x y']), ['dpop'])
  t.same(tried(['DPoP']), ['dpop'])
  t.same(tried(['Bearer x', 'DPoP y']), ['bearer', 'dpop'])
  t.same(tried(['DPoP y'], 'access_token=x'), ['bearer', 'dpop'])
  t.same(tried(['DPoPx y']), [])
})
