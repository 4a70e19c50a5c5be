import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { binding } from '../../src/checks/binding.js'
import type { Case } from '../../src/checks/case.js'
import { nonceAge, proof, secondsToRemember } from '../../src/checks/proof.js'
import type { ProofFacts } from '../../src/checks/proof-facts.js'
import { tokenFacts } from '../../src/checks/token-facts.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import type { DpopRule, Route, TokenRule } from '../../src/policy/policy.js'

const NOW = 1_800_000_000
const HASH = createHash('sha256').update('token').digest('base64url')
const JKT = 'K'.repeat(43)
const OTHER = 'L'.repeat(43)

const DPOP: DpopRule = {
  origins: ['https://api.example', 'https://other.example:8443'],
  algorithms: ['ES256'],
  maxAgeSeconds: 60,
  futureSkewSeconds: 15,
  nonce: 'none',
  satisfiesBinding: true,
}
const CLAIMS = { jti: 'id', htm: 'GET', htu: 'https://api.example/a/b', iat: NOW, ath: HASH }

interface Circumstances {
  readonly claims?: Record<string, unknown>
  readonly dpop?: Partial<DpopRule>
  readonly facts?: Partial<ProofFacts>
  readonly method?: string
  readonly path?: string
  readonly cnf?: unknown
  readonly binding?: TokenRule['binding']
  readonly withoutProof?: boolean
}

const ROUTE: Route = {
  id: 'GET /a/b',
  method: 'GET',
  template: '/a/b',
  api: 'test',
  mtls: false,
  certificates: null,
  profile: 'custom',
  headers: 'tolerant',
  paths: [],
  metadataPath: null,
  metadata: null,
  rates: [],
  token: null,
  upstream: 'provider',
  errors: 'fdx',
  upgrade: null,
  responseTimeoutMs: null,
}

function caseOf(given: Circumstances): Case {
  const claims: Record<string, unknown> = { ...CLAIMS, ...given.claims }
  for (const [name, value] of Object.entries(claims)) if (value === undefined) delete claims[name]
  const { method = 'GET', path = '/a/b' } = given
  return {
    request: {
      method,
      target: `${path}?q`,
      path,
      ambiguities: [],
      query: 'q',
      host: 'api.example',
      headers: [],
    },
    match: { route: ROUTE, parameters: {} },
    rule: {
      issuers: ['main'],
      flows: ['client_credentials'],
      scopes: { all: [], any: [], optional: [] },
      binding: given.binding ?? 'if-present',
      dpop: { ...DPOP, ...given.dpop },
      maxLifetimeSeconds: null,
      stepUp: null,
      claims: [],
    },
    token: tokenFacts('cnf' in given ? { cnf: given.cnf } : { cnf: { jkt: JKT } }, {
      name: 'main',
      issuer: 'https://as.example',
      audience: [],
      algorithms: [],
      typ: [],
      clockSkewSeconds: 0,
      maxLifetimeSeconds: null,
      requiredClaims: [],
      claims: { scope: 'scope', clientId: ['client_id'] },
      flow: FLOW_PRESETS.rfc9068,
      clients: null,
    }),
    certificate: null,
    proof:
      given.withoutProof === true
        ? null
        : { jkt: JKT, alg: 'ES256', claims, tokenHash: HASH, nonceIssuedAt: null, ...given.facts },
    now: NOW,
  }
}

const judge = (given: Circumstances) => proof.judge(caseOf(given))?.code ?? 'good'

t.test('a good proof, in every tolerated form', async t => {
  const good: Record<string, Circumstances> = {
    plain: {},
    'no proof: the scheme is Bearer': { withoutProof: true },
    'upper-case scheme and host': { claims: { htu: 'HTTPS://API.EXAMPLE/a/b' } },
    'default port': { claims: { htu: 'https://api.example:443/a/b' } },
    'query and fragment': { claims: { htu: 'https://api.example/a/b?q#f' } },
    'another origin of ours': { claims: { htu: 'https://other.example:8443/a/b' } },
    'escapes in another case': { path: '/%C3%A9', claims: { htu: 'https://api.example/%c3%a9' } },
    'an encoded slash': { path: '/a%2Fb', claims: { htu: 'https://api.example/a%2fb' } },
    'path parameters': { path: '/a;v=1', claims: { htu: 'https://api.example/a;v=1' } },
    'two layers of encoding': { path: '/a%2541', claims: { htu: 'https://api.example/a%2541' } },
    'a needless escape': { path: '/%61', claims: { htu: 'https://api.example/a' } },
    'and the other way round': { path: '/%c3%a9', claims: { htu: 'https://api.example/%C3%A9' } },
    'iat at the end of maxAge': { claims: { iat: NOW - 60 } },
    'iat at the end of futureSkew': { claims: { iat: NOW + 15 } },
    'iat with a fraction': { claims: { iat: NOW - 0.5 } },
    'nbf and exp': { claims: { nbf: NOW, exp: NOW + 300 } },
    'exp just past, within the tolerance': { claims: { exp: NOW - 14 } },
    'unknown claims': { claims: { other: { a: 1 }, nonce: 'not ours' } },
    'jti of 256': { claims: { jti: 'x'.repeat(256) } },
    'with a nonce, a clock that is off': {
      dpop: { nonce: 'required' },
      claims: { nonce: 'n', iat: NOW - 86_400 },
      facts: { nonceIssuedAt: NOW - 119 },
    },
  }
  for (const [words, given] of Object.entries(good)) t.equal(judge(given), 'good', words)
})

t.test('each thing that is wrong is refused alone', async t => {
  const bad: Record<string, Circumstances> = {
    'empty jti': { claims: { jti: '' } },
    'jti too long': { claims: { jti: 'x'.repeat(257) } },
    'htm in lower case': { claims: { htm: 'get' } },
    'another method': { method: 'POST' },
    'another path': { path: '/a/c' },
    'another case of the path': { path: '/A/b' },
    'a slash at the end': { claims: { htu: 'https://api.example/a/b/' } },
    'an encoded slash that is undone': { path: '/a%2Fb' },
    'path parameters that are cut off': { path: '/a/b;v=1' },
    'a layer of encoding that is undone': { path: '/a/%2562' },
    'plain http': { claims: { htu: 'http://api.example/a/b' } },
    'another port': { claims: { htu: 'https://api.example:8443/a/b' } },
    'another host': { claims: { htu: 'https://evil.example/a/b' } },
    'a host that ends with ours': { claims: { htu: 'https://evil-api.example/a/b' } },
    'a path alone': { claims: { htu: '/a/b' } },
    'ath of another token': { claims: { ath: createHash('sha256').update('x').digest('base64url') } },
    'ath cut short': { claims: { ath: HASH.slice(1) } },
    'ath with padding': { claims: { ath: `${HASH}=` } },
    'iat too old': { claims: { iat: NOW - 61 } },
    'iat ahead': { claims: { iat: NOW + 16 } },
    'iat not finite': { claims: { iat: Number.POSITIVE_INFINITY } },
    'nbf ahead': { claims: { nbf: NOW + 16 } },
    'nbf a string': { claims: { nbf: '0' } },
    'exp past': { claims: { exp: NOW - 15 } },
    'exp null': { claims: { exp: null } },
    'with a nonce, no iat': {
      dpop: { nonce: 'required' },
      claims: { iat: undefined },
      facts: { nonceIssuedAt: NOW },
    },
  }
  for (const name of Object.keys(CLAIMS))
    for (const value of [undefined, null, true, [], {}])
      bad[`${name} ${JSON.stringify(value)}`] = { claims: { [name]: value } }
  for (const [words, given] of Object.entries(bad)) t.equal(judge(given), 'proof_invalid', words)
})

t.test('a nonce is good in its window and in the next', async t => {
  const nonce = (nonceIssuedAt: number | null, claims: Record<string, unknown> = { nonce: 'n' }) =>
    judge({ dpop: { nonce: 'required' }, claims, facts: { nonceIssuedAt } })
  t.equal(nonce(NOW), 'good')
  t.equal(nonce(NOW - 119), 'good')
  t.equal(nonce(NOW - 120), 'proof_nonce_required')
  t.equal(nonce(NOW + 15), 'good')
  t.equal(nonce(NOW + 16), 'proof_nonce_required', 'from before the clock was set back')
  t.equal(nonce(null), 'proof_nonce_required', 'not ours')
  t.equal(nonce(null, {}), 'proof_nonce_required', 'none')
  t.same(nonceAge(NOW - 59, DPOP, NOW), { isAccepted: true, isFading: false })
  t.same(nonceAge(NOW - 60, DPOP, NOW), { isAccepted: true, isFading: true })
})

t.test('what changes in a proof makes it bad, unless it changes nothing that counts', async () => {
  const tampered = fc
    .tuple(fc.constantFrom(...Object.keys(CLAIMS)), fc.oneof(fc.string(), fc.double(), fc.jsonValue()))
    .filter(([name, value]) => name !== 'jti' || typeof value !== 'string' || value === '')
    .filter(([name, value]) => !(name === 'iat' && typeof value === 'number' && Math.abs(value - NOW) <= 60))
  fc.assert(
    fc.property(tampered, ([name, value]) => judge({ claims: { [name]: value } }) === 'proof_invalid'),
    { numRuns: 2000 },
  )
  const insertion = fc.tuple(
    fc.constantFrom('htm', 'htu', 'ath'),
    fc.nat(60),
    fc.string({ minLength: 1, maxLength: 2, unit: 'binary-ascii' }),
  )
  fc.assert(
    fc.property(insertion, ([name, at, text]) => {
      const original = CLAIMS[name as 'htm' | 'htu' | 'ath']
      const value = original.slice(0, at) + text + original.slice(at)
      // At the end of the URI anything may follow `?` or `#`, and a dot segment or an empty or default port changes nothing.
      const isHarmless =
        name === 'htu' &&
        (/[?#]/.test(text) || /^(?:https:\/\/api\.example:?\/(?:\.\/)?a\/(?:\.\/)?b)$/.test(value))
      return isHarmless || judge({ claims: { [name]: value } }) === 'proof_invalid'
    }),
    { numRuns: 2000 },
  )
})

t.test('a jti is remembered for as long as its proof could be accepted again', async t => {
  t.equal(secondsToRemember(DPOP), 80)
  t.equal(secondsToRemember({ ...DPOP, nonce: 'required' }), 140)
  fc.assert(
    fc.property(fc.integer({ min: -60, max: 15 }), fc.integer({ min: 0, max: 400 }), (iat, later) => {
      const facts = caseOf({ claims: { iat: NOW + iat } })
      const again = proof.judge({ ...facts, now: NOW + later }) === null
      return !again || later <= secondsToRemember(DPOP)
    }),
  )
})

const bind = (given: Circumstances) => binding.judge(caseOf(given))?.code ?? 'good'

t.test('the key of the proof is that of cnf.jkt, and neither goes without the other', async t => {
  t.equal(bind({}), 'good')
  t.equal(bind({ binding: 'required' }), 'good')
  t.equal(bind({ facts: { jkt: OTHER } }), 'binding_mismatch')
  for (const jkt of ['', 7, {}, [JKT], `${JKT}=`]) t.equal(bind({ cnf: { jkt } }), 'binding_mismatch')
  t.equal(bind({ withoutProof: true }), 'proof_missing')
  t.equal(bind({ cnf: undefined }), 'binding_missing')
  t.equal(bind({ cnf: undefined, withoutProof: true }), 'good')
  t.equal(bind({ cnf: undefined, withoutProof: true, binding: 'required' }), 'binding_missing')
  t.equal(bind({ cnf: {} }), 'binding_mismatch')
  t.equal(bind({ cnf: { jkt: JKT, 'x5t#S256': OTHER } }), 'binding_mismatch', 'no certificate')
})

t.test('where only a certificate binds, a key alone does not', async t => {
  const dpop = { satisfiesBinding: false }
  t.equal(bind({ dpop, binding: 'required' }), 'binding_missing')
  t.equal(bind({ dpop, binding: 'required', withoutProof: true }), 'binding_missing')
  t.equal(bind({ dpop }), 'good')
})
