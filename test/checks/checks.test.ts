import fc from 'fast-check'
import t from 'tap'
import { authorise } from '../../src/checks/authorise.js'
import { judgeCertificate } from '../../src/checks/certificate.js'
import { tokenFacts } from '../../src/checks/token-facts.js'
import type { ClientTrust } from '../../src/checks/trust.js'
import { Denial, type Verdict } from '../../src/decision/denials.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import { conditionHolds } from '../../src/policy/flow-rules.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import type { Route, TokenRule } from '../../src/policy/policy.js'
import type { CertificateFacts } from '../../src/request/certificate-facts.js'

const NOW = 1_800_000_000
const THUMBPRINT = 'A'.repeat(43)

const RULES: IssuerRules = {
  name: 'main',
  issuer: 'https://as.example',
  audience: ['https://api.example'],
  algorithms: ['ES256'],
  typ: ['at+jwt'],
  clockSkewSeconds: 10,
  maxLifetimeSeconds: 900,
  requiredClaims: ['sub', 'client_id', 'iat', 'jti'],
  claims: { scope: 'scope', clientId: ['client_id', 'azp'] },
  flow: FLOW_PRESETS.rfc9068,
  clients: null,
}

const CERTIFICATE: CertificateFacts = {
  thumbprint: THUMBPRINT,
  subject: 'CN=client-a',
  names: { subject: 'CN=client-a', issuer: 'CN=CA', commonName: 'client-a', dns: [], uri: [], email: [] },
  spki: '',
  der: Buffer.from('der'),
  notBefore: NOW - 1000,
  notAfter: NOW + 1000,
  isAuthority: false,
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  keyUsage: null,
  keyWeakness: null,
  chainError: null,
  trustId: 'bundle',
  paths: [{ notBefore: NOW - 1000, notAfter: NOW + 1000 }],
  chain: [{ authority: 'CA', serial: '01' }],
}

const TRUST: ClientTrust = { mode: 'pki', id: 'bundle', revocations: null, onExpiredCrl: 'deny' }

const GOOD_CLAIMS = {
  iss: 'https://as.example',
  aud: ['https://other.example', 'https://api.example'],
  sub: 'user-1',
  client_id: 'client-1',
  iat: NOW - 10,
  exp: NOW + 300,
  jti: 'id',
  scope: 'basic other',
  cnf: { 'x5t#S256': THUMBPRINT },
}

const RULE: TokenRule = {
  issuers: ['main'],
  flows: ['authorization_code'],
  scopes: { all: ['basic'], any: [], optional: [] },
  binding: 'required',
  stepUp: null,
  claims: [],
  dpop: {
    origins: ['https://h'],
    algorithms: ['ES256'],
    maxAgeSeconds: 60,
    futureSkewSeconds: 15,
    nonce: 'none',
    satisfiesBinding: true,
  },
  maxLifetimeSeconds: null,
}

interface Circumstances {
  readonly claims?: Record<string, unknown>
  readonly rules?: Partial<IssuerRules>
  readonly rule?: Partial<TokenRule>
  readonly certificate?: Verdict<CertificateFacts> | null
  readonly route?: Partial<Route>
  readonly now?: number
}

/** The code of the refusal, or 'granted'. */
function judge({
  claims = {},
  rules = {},
  rule = {},
  certificate = CERTIFICATE,
  route: changes = {},
  now = NOW,
}: Circumstances): string {
  const given: Record<string, unknown> = { ...GOOD_CLAIMS, ...claims }
  for (const [name, value] of Object.entries(given)) if (value === undefined) delete given[name]
  const route: Route = {
    id: 'GET /a',
    method: 'GET',
    template: '/a',
    api: 'test',
    mtls: false,
    certificates: null,
    token: { ...RULE, ...rule },
    upstream: 'provider',
    rates: [],
    errors: 'fdx',
    upgrade: null,
    responseTimeoutMs: null,
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
    metadataPath: null,
    metadata: null,
    ...changes,
  }
  const verdict = authorise({
    request: { method: 'GET', target: '/a', path: '/a', ambiguities: [], query: '', host: 'h', headers: [] },
    match: { route, parameters: {} },
    certificate,
    token: tokenFacts(given, { ...RULES, ...rules }),
    proof: null,
    now,
  })
  return verdict instanceof Denial ? verdict.code : 'granted'
}

t.test('a good token over the certificate that it is bound to is granted', async t => {
  t.equal(judge({}), 'granted')
})

t.test('a token is refused for each reason alone, with the code of that reason', async t => {
  const cases: [string, Circumstances, string][] = [
    ['aud of another server', { claims: { aud: 'https://other.example' } }, 'token_audience_wrong'],
    ['no aud', { claims: { aud: undefined } }, 'token_audience_wrong'],
    ['aud as a prefix', { claims: { aud: 'https://api.example/' } }, 'token_audience_wrong'],
    ['no exp', { claims: { exp: undefined } }, 'token_claim_missing'],
    ['exp as a string', { claims: { exp: String(NOW + 300) } }, 'token_claim_missing'],
    ['exp not finite', { claims: { exp: Number.POSITIVE_INFINITY } }, 'token_claim_missing'],
    ['nbf as a string', { claims: { nbf: '0' } }, 'token_claim_missing'],
    ['no sub', { claims: { sub: undefined } }, 'token_claim_missing'],
    ['no client_id', { claims: { client_id: undefined } }, 'token_claim_missing'],
    ['no iat', { claims: { iat: undefined } }, 'token_claim_missing'],
    ['no jti', { claims: { jti: undefined } }, 'token_claim_missing'],
    ['expired beyond the tolerance', { claims: { exp: NOW - 10 } }, 'token_expired'],
    ['nbf ahead beyond the tolerance', { claims: { nbf: NOW + 11 } }, 'token_not_yet_valid'],
    ['iat ahead beyond the tolerance', { claims: { iat: NOW + 11 } }, 'token_not_yet_valid'],
    ['lives too long', { claims: { iat: NOW - 10, exp: NOW + 891 } }, 'token_lifetime_too_long'],
    [
      'lives longer than the profile of the route lets it',
      {
        claims: { iat: NOW, exp: NOW + 901 },
        rules: { maxLifetimeSeconds: null },
        rule: { maxLifetimeSeconds: 900 },
      },
      'token_lifetime_too_long',
    ],
    [
      'lives as long as its issuer says, whatever the profile would set',
      {
        claims: { iat: NOW, exp: NOW + 901 },
        rules: { maxLifetimeSeconds: 1000 },
        rule: { maxLifetimeSeconds: 900 },
      },
      'granted',
    ],
    ['unbound', { claims: { cnf: undefined } }, 'binding_missing'],
    ['bound to another certificate', { claims: { cnf: { 'x5t#S256': 'B'.repeat(43) } } }, 'binding_mismatch'],
    ['bound, no certificate', { certificate: null }, 'binding_mismatch'],
    [
      'bound, a revoked certificate',
      { certificate: new Denial('certificate_revoked', '') },
      'certificate_revoked',
    ],
    ['padded thumbprint', { claims: { cnf: { 'x5t#S256': `${THUMBPRINT}=` } } }, 'binding_mismatch'],
    ['hex thumbprint', { claims: { cnf: { 'x5t#S256': 'ab'.repeat(32) } } }, 'binding_mismatch'],
    ['thumbprint not a string', { claims: { cnf: { 'x5t#S256': [THUMBPRINT] } } }, 'binding_mismatch'],
    ['empty cnf', { claims: { cnf: {} } }, 'binding_mismatch'],
    ['cnf null', { claims: { cnf: null } }, 'binding_mismatch'],
    ['cnf a string', { claims: { cnf: 'x' } }, 'binding_mismatch'],
    ['cnf with kid only', { claims: { cnf: { kid: 'x' } } }, 'binding_mismatch'],
    ['cnf with jkt only', { claims: { cnf: { jkt: 'x' } } }, 'proof_missing'],
    ['both bindings, no proof', { claims: { cnf: { jkt: 'x', 'x5t#S256': THUMBPRINT } } }, 'proof_missing'],
    ['client credentials on a user route', { claims: { sub: 'client-1' } }, 'flow_not_allowed'],
    ['a user token on a client route', { rule: { flows: ['client_credentials'] } }, 'flow_not_allowed'],
    ['no evidence of a flow', { claims: { sub: undefined }, rules: { requiredClaims: [] } }, 'flow_unknown'],
    [
      'a client token that shows a user',
      { claims: { sub: 'client-1', acr: '1' }, rule: { flows: ['client_credentials'] } },
      'flow_unknown',
    ],
    ['no scope', { claims: { scope: undefined } }, 'scope_insufficient'],
    ['scope in capitals', { claims: { scope: 'BASIC' } }, 'scope_insufficient'],
    ['scope as a prefix', { claims: { scope: 'basics' } }, 'scope_insufficient'],
    [
      'none of the alternatives',
      { rule: { scopes: { all: [], any: ['x', 'y'], optional: [] } } },
      'scope_insufficient',
    ],
    [
      'one of two required',
      { rule: { scopes: { all: ['basic', 'x'], any: [], optional: [] } } },
      'scope_insufficient',
    ],
  ]
  for (const [name, circumstances, code] of cases) t.equal(judge(circumstances), code, name)
})

t.test('what the rules tolerate is granted', async t => {
  const cases: [string, Circumstances][] = [
    ['expired within the tolerance', { claims: { exp: NOW - 9 } }],
    ['nbf ahead within the tolerance', { claims: { nbf: NOW + 10 } }],
    ['lives just short enough', { claims: { iat: NOW - 10, exp: NOW + 890 } }],
    ['aud as a string', { claims: { aud: 'https://api.example' } }],
    ['scope as an array', { claims: { scope: ['other', 'basic'] } }],
    ['client id under another name', { claims: { client_id: undefined, azp: 'client-1' } }],
    [
      'unbound where binding is not required',
      { claims: { cnf: undefined }, rule: { binding: 'if-present' }, certificate: null },
    ],
    ['optional scope absent', { rule: { scopes: { all: ['basic'], any: [], optional: ['x'] } } }],
    [
      'no scope asked for',
      { claims: { scope: undefined }, rule: { scopes: { all: [], any: [], optional: [] } } },
    ],
    ['one alternative', { rule: { scopes: { all: [], any: ['x', 'other'], optional: [] } } }],
    [
      'both flows allowed',
      { claims: { sub: 'client-1' }, rule: { flows: ['authorization_code', 'client_credentials'] } },
    ],
  ]
  for (const [name, circumstances] of cases) t.equal(judge(circumstances), 'granted', name)
})

t.test('a route with mtls is never granted without a certificate that counts, token or not', async t => {
  for (const certificate of [null, new Denial('certificate_revoked', '')])
    for (const token of [null, RULE])
      t.match(judge({ certificate, route: { mtls: true, token } }), /^certificate_(?:missing|revoked)$/)
})

t.test('a binding that is there is enforced also where none is required', async t => {
  t.equal(judge({ rule: { binding: 'if-present' }, certificate: null }), 'binding_mismatch')
})

t.test('a verdict never outlives its moment: the same facts are judged anew', async t => {
  t.equal(judge({ now: NOW + 309 }), 'granted')
  t.equal(judge({ now: NOW + 310 }), 'token_expired')
})

t.test('scopes agree with a naive model', async t => {
  const scope = fc.constantFrom('a', 'b', 'c', 'A', 'ab')
  const scopes = fc.uniqueArray(scope, { maxLength: 4 })
  fc.assert(
    fc.property(scopes, scopes, scopes, (has, all, any) => {
      const expected = all.every(s => has.includes(s)) && (any.length === 0 || any.some(s => has.includes(s)))
      const code = judge({ claims: { scope: has.join(' ') }, rule: { scopes: { all, any, optional: [] } } })
      t.equal(code, expected ? 'granted' : 'scope_insufficient')
    }),
  )
})

t.test('a certificate is refused for each reason alone', async t => {
  const revocations = new Map([
    ['CA', { serials: new Set(['02']), thisUpdate: NOW - 100, nextUpdate: NOW + 100 }],
  ])
  const cases: [string, Partial<CertificateFacts>, Partial<ClientTrust>, string | null][] = [
    ['a good one', {}, {}, null],
    ['without extended key usage', { extendedKeyUsage: null }, {}, null],
    ['expired', { notAfter: NOW }, {}, 'certificate_expired'],
    ['not yet valid', { notBefore: NOW + 1 }, {}, 'certificate_expired'],
    ['dates unreadable', { notAfter: Number.NaN }, {}, 'certificate_expired'],
    ['for servers only', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }, {}, 'certificate_untrusted'],
    ['for signatures', { keyUsage: 0x80 }, {}, null],
    ['for key agreement only', { keyUsage: 0x08 }, {}, 'certificate_untrusted'],
    ['for nothing', { keyUsage: 0 }, {}, 'certificate_untrusted'],
    [
      'for key agreement only, possession',
      { keyUsage: 0x08 },
      { mode: 'possession' },
      'certificate_untrusted',
    ],
    ['a weak key', { keyWeakness: 'RSA key of 1024 bits' }, {}, 'certificate_untrusted'],
    ['an authority', { isAuthority: true }, {}, 'certificate_untrusted'],
    ['another chain', { chainError: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }, {}, 'certificate_untrusted'],
    ['expired at the handshake', { chainError: 'CERT_HAS_EXPIRED' }, {}, 'certificate_expired'],
    ['judged by an older bundle', { trustId: 'old' }, {}, 'certificate_untrusted'],
    ['not on the list', {}, { revocations }, null],
    ['on the list', { chain: [{ authority: 'CA', serial: '02' }] }, { revocations }, 'certificate_revoked'],
    [
      'an intermediate on the list',
      {
        chain: [
          { authority: 'CA', serial: '01' },
          { authority: 'CA', serial: '02' },
        ],
      },
      { revocations },
      'certificate_revoked',
    ],
    [
      'of an authority without a list',
      { chain: [{ authority: 'CB', serial: '01' }] },
      { revocations },
      'certificate_untrusted',
    ],
    ['that no list covers', { chain: [] }, { revocations }, 'certificate_untrusted'],
    [
      'self-signed, possession',
      { chainError: 'DEPTH_ZERO_SELF_SIGNED_CERT', chain: [] },
      { mode: 'possession' },
      null,
    ],
    ['expired, possession', { notAfter: NOW - 1 }, { mode: 'possession' }, 'certificate_expired'],
    [
      'weak, possession',
      { keyWeakness: 'RSA key of 1024 bits' },
      { mode: 'possession' },
      'certificate_untrusted',
    ],
  ]
  for (const [name, facts, trust, code] of cases)
    t.equal(
      judgeCertificate({ ...CERTIFICATE, ...facts }, { ...TRUST, ...trust }, NOW)?.code ?? null,
      code,
      name,
    )
})

t.test('an expired list refuses or lets pass as the policy says, and still revokes', async t => {
  const revocations = new Map([['CA', { serials: new Set(['02']), thisUpdate: NOW - 100, nextUpdate: NOW }]])
  const judgeWith = (onExpiredCrl: 'deny' | 'allow', serial: string) =>
    judgeCertificate(
      { ...CERTIFICATE, chain: [{ authority: 'CA', serial }] },
      { ...TRUST, revocations, onExpiredCrl },
      NOW,
    )?.code ?? null
  t.equal(judgeWith('deny', '01'), 'certificate_untrusted')
  t.equal(judgeWith('allow', '01'), null)
  t.equal(judgeWith('allow', '02'), 'certificate_revoked')
})

t.test('conditions on claims read own members, nested ones too', async t => {
  const claims = {
    a: 'x',
    n: 5,
    b: true,
    nested: { deep: 'y' },
    'dotted.name': 'z',
    empty: null,
    sub: 's',
    client_id: 's',
  }
  const holds: [boolean, Parameters<typeof conditionHolds>[0]][] = [
    [true, { claim: 'a', exists: true }],
    [false, { claim: 'empty', exists: true }],
    [true, { claim: 'empty', exists: false }],
    [false, { claim: 'constructor', exists: true }],
    [false, { claim: 'nested.constructor', exists: true }],
    [true, { claim: 'nested.deep', equals: 'y' }],
    [true, { claim: 'dotted.name', equals: 'z' }],
    [true, { claim: 'n', equals: 5 }],
    [false, { claim: 'n', equals: '5' }],
    [true, { claim: 'b', in: [true, 'x'] }],
    [true, { claim: 'sub', equalsClaim: 'client_id' }],
    [false, { claim: 'missing', equalsClaim: 'also-missing' }],
    [true, { claim: 'a', prefix: 'x' }],
    [false, { claim: 'n', prefix: '5' }],
    [false, { claim: 'a', suffix: 'y' }],
    [true, { all: [{ claim: 'a', exists: true }, { not: { claim: 'a', equals: 'y' } }] }],
    [
      false,
      {
        any: [
          { claim: 'a', equals: 'y' },
          { claim: 'n', equals: 6 },
        ],
      },
    ],
  ]
  for (const [expected, condition] of holds)
    t.equal(conditionHolds(condition, claims), expected, JSON.stringify(condition))
})

t.test('times agree with a naive model', async t => {
  const offset = fc.integer({ min: -2000, max: 2000 })
  fc.assert(
    fc.property(offset, fc.option(offset), offset, fc.integer({ min: 0, max: 60 }), (exp, nbf, iat, skew) => {
      const claims = { exp: NOW + exp, iat: NOW + iat, nbf: nbf === null ? undefined : NOW + nbf }
      const expected =
        exp + skew <= 0
          ? 'token_expired'
          : iat > skew || (nbf !== null && nbf > skew)
            ? 'token_not_yet_valid'
            : exp - iat > 900
              ? 'token_lifetime_too_long'
              : 'granted'
      t.equal(judge({ claims, rules: { clockSkewSeconds: skew } }), expected)
    }),
  )
})

t.test('flows agree with a naive model', async t => {
  const flow = fc.constantFrom('authorization_code' as const, 'client_credentials' as const)
  const claims = fc.record(
    { sub: fc.constantFrom('user-1', 'client-1'), acr: fc.constant('1'), gty: fc.constantFrom('a', 'b') },
    { requiredKeys: ['sub'] },
  )
  fc.assert(
    fc.property(claims, fc.uniqueArray(flow, { minLength: 1 }), (given, flows) => {
      const isClient = given.sub === 'client-1'
      const shown = isClient ? (given.acr === undefined ? 'client_credentials' : null) : 'authorization_code'
      const expected =
        shown === null ? 'flow_unknown' : flows.includes(shown) ? 'granted' : 'flow_not_allowed'
      t.equal(judge({ claims: given, rule: { flows } }), expected)
    }),
  )
})
