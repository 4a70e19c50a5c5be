import fc from 'fast-check'
import t from 'tap'
import { authorise, CHECKS } from '../../src/checks/authorise.js'
import { certificateIsAllowed } from '../../src/checks/client-certificate.js'
import { tokenFacts } from '../../src/checks/token-facts.js'
import { Denial, type Verdict } from '../../src/decision/denials.js'
import { answerTo } from '../../src/gate/refuse.js'
import { type CertificatePattern, CLIENT_ID } from '../../src/policy/certificate-patterns.js'
import type { ClaimRule, Operand } from '../../src/policy/claim-rules.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import type { IssuerRules } from '../../src/policy/issuer.js'
import type { Route, TokenRule } from '../../src/policy/policy.js'
import { canonicalPath } from '../../src/request/canonical-path.js'
import type { CertificateFacts } from '../../src/request/certificate-facts.js'

const NOW = 1_800_000_000
const THUMBPRINT = 'A'.repeat(43)

const CERTIFICATE: CertificateFacts = {
  thumbprint: THUMBPRINT,
  subject: 'O=Acme\nCN=client-a',
  names: {
    subject: 'CN=client-a,O=Acme',
    issuer: 'CN=Bank CA',
    commonName: 'client-a',
    dns: ['a.example', 'b.example'],
    uri: ['spiffe://bank/client-a'],
    email: ['a@acme.example'],
  },
  spki: 'pin',
  der: Buffer.from('der'),
  notBefore: NOW - 1000,
  notAfter: NOW + 1000,
  isAuthority: false,
  extendedKeyUsage: null,
  keyUsage: null,
  keyWeakness: null,
  chainError: null,
  trustId: 'bundle',
  paths: [{ notBefore: 0, notAfter: 2 ** 40 }],
  chain: [],
}

interface Circumstances {
  readonly claims?: Record<string, unknown>
  readonly rule?: Partial<TokenRule>
  readonly issuer?: Partial<IssuerRules>
  readonly route?: Partial<Route>
  readonly parameters?: Record<string, string>
  readonly certificate?: Verdict<CertificateFacts> | null
}

function verdictOf(circumstances: Circumstances): Denial | null {
  const { certificate = CERTIFICATE, parameters = {} } = circumstances
  const claims: Record<string, unknown> = {
    iss: 'https://as.example',
    aud: 'https://api.example',
    sub: 'user-1',
    client_id: 'client-a',
    exp: NOW + 300,
    ...circumstances.claims,
  }
  const token: TokenRule = {
    issuers: ['main'],
    flows: ['authorization_code', 'client_credentials'],
    scopes: { all: [], any: [], optional: [] },
    binding: 'if-present',
    maxLifetimeSeconds: null,
    dpop: {
      origins: ['https://h'],
      algorithms: ['ES256'],
      maxAgeSeconds: 60,
      futureSkewSeconds: 15,
      nonce: 'none',
      satisfiesBinding: true,
    },
    stepUp: null,
    claims: [],
    ...circumstances.rule,
  }
  const rules: IssuerRules = {
    name: 'main',
    issuer: 'https://as.example',
    audience: ['https://api.example'],
    algorithms: ['ES256'],
    typ: ['at+jwt'],
    clockSkewSeconds: 10,
    maxLifetimeSeconds: null,
    requiredClaims: [],
    claims: { scope: 'scope', clientId: ['client_id'] },
    flow: FLOW_PRESETS.rfc9068,
    clients: null,
    ...circumstances.issuer,
  }
  const route: Route = {
    id: 'GET /a',
    method: 'GET',
    template: '/a',
    api: 'test',
    mtls: true,
    certificates: null,
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
    metadataPath: null,
    metadata: null,
    rates: [],
    token,
    upstream: 'provider',
    errors: 'fdx',
    upgrade: null,
    responseTimeoutMs: null,
    ...circumstances.route,
  }
  const verdict = authorise({
    request: { method: 'GET', target: '/a', path: '/a', ambiguities: [], query: '', host: 'h', headers: [] },
    match: { route, parameters },
    certificate,
    token: tokenFacts(claims, rules),
    proof: null,
    now: NOW,
  })
  return verdict instanceof Denial ? verdict : null
}

const codeOf = (circumstances: Circumstances) => verdictOf(circumstances)?.code ?? 'granted'

const equals = (operand: Operand, more: Partial<ClaimRule> = {}): ClaimRule => ({
  claim: 'fdxConsentId',
  test: { equals: operand },
  appliesTo: null,
  otherwise: 404,
  ...more,
})
const CONSENT: Operand = { from: 'path', parameter: 'consentId' }

t.test('the order of the checks is that of REQUIREMENTS section 2', async t => {
  t.same(
    CHECKS.map(({ name }) => name),
    [
      'audience',
      'claims',
      'time',
      'lifetime',
      'binding',
      'proof',
      'client',
      'flow',
      'scopes',
      'step-up',
      'claim-rules',
    ],
  )
})

t.test('a path parameter is decoded exactly once and compared to the letter', async t => {
  const cases: [string, unknown, string][] = [
    ['c-1', 'c-1', 'granted'],
    ['c-1', 'c-2', 'claim_mismatch'],
    ['c-1', 'C-1', 'claim_mismatch'],
    ['c-1', undefined, 'claim_mismatch'],
    ['c-1', ['c-1'], 'claim_mismatch'],
    ['12', 12, 'claim_mismatch'],
    ['a%20b', 'a b', 'granted'],
    ['a%20b', 'a%20b', 'claim_mismatch'],
    ['a+b', 'a+b', 'granted'],
    ['a+b', 'a b', 'claim_mismatch'],
    ['a%25', 'a%', 'granted'],
    ['Z%C3%BC', 'Zü', 'granted'],
    ['Z%C3%BC', 'Zu\u0308', 'claim_mismatch'],
  ]
  for (const [segment, claim, expected] of cases) {
    t.match(
      canonicalPath(`/${segment}`),
      { path: `/${segment}`, ambiguities: [] },
      `${segment} can reach a route`,
    )
    const circumstances = {
      claims: { fdxConsentId: claim },
      rule: { claims: [equals(CONSENT)] },
      parameters: { consentId: segment },
    }
    t.equal(codeOf(circumstances), expected, `${segment} and ${JSON.stringify(claim)}`)
  }
})

t.test('every canonical segment is decoded as any RFC 3986 reader would', async t => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.string({ unit: 'grapheme' }),
      (text, other) => {
        const segment = encodeURIComponent(text)
        if (canonicalPath(`/${segment}`) instanceof Denial) return
        const ask = (claim: string) =>
          codeOf({
            claims: { fdxConsentId: claim },
            rule: { claims: [equals(CONSENT)] },
            parameters: { consentId: segment },
          })
        t.equal(ask(text), 'granted')
        if (other !== text) t.equal(ask(other), 'claim_mismatch')
      },
    ),
  )
})

t.test('a parameter that the match lacks equals nothing', async t => {
  const rule = { claims: [equals({ from: 'path', parameter: 'constructor' })] }
  t.equal(codeOf({ claims: { fdxConsentId: 'x' }, rule }), 'claim_mismatch')
})

t.test('claims are compared with the certificate and the client', async t => {
  const uri: Operand = { from: 'certificate', field: 'uri' }
  const ask = (claim: string, operand: Operand, certificate: Circumstances['certificate'] = CERTIFICATE) =>
    codeOf({
      claims: { fdxConsentId: claim },
      rule: { claims: [equals(operand)] },
      certificate,
      route: { mtls: false },
    })
  t.equal(ask('spiffe://bank/client-a', uri), 'granted')
  t.equal(ask('spiffe://bank/client-b', uri), 'claim_mismatch')
  t.equal(ask('spiffe://bank/client-a', uri, null), 'claim_mismatch')
  t.equal(ask('spiffe://bank/client-a', uri, new Denial('certificate_revoked', '')), 'claim_mismatch')
  t.equal(ask('b.example', { from: 'certificate', field: 'dns' }), 'granted')
  t.equal(ask('CN=client-a,O=Acme', { from: 'certificate', field: 'subject' }), 'granted')
  t.equal(ask('client-a', { from: 'client' }), 'granted')
  t.equal(ask('client-b', { from: 'client' }), 'claim_mismatch')
})

t.test('a rule concerns the tokens of every flow unless it says which', async t => {
  const machine = { sub: 'client-a' }
  const parameters = { consentId: 'c-1' }
  const ask = (rule: ClaimRule, claims: Record<string, unknown>) =>
    codeOf({ claims, rule: { claims: [rule] }, parameters })
  t.equal(ask(equals(CONSENT), machine), 'claim_mismatch')
  t.equal(ask(equals(CONSENT, { appliesTo: ['authorization_code'] }), machine), 'granted')
  t.equal(ask(equals(CONSENT, { appliesTo: ['authorization_code'] }), { sub: 'user-1' }), 'claim_mismatch')
})

t.test('otherwise: 404 answers like a path that does not exist, to the byte', async t => {
  const ask = (otherwise: 403 | 404) =>
    verdictOf({
      claims: { fdxConsentId: 'c-2' },
      rule: { claims: [equals(CONSENT, { otherwise })] },
      parameters: { consentId: 'c-1' },
    }) as Denial
  for (const format of ['fdx', 'problem'] as const) {
    const unknown = answerTo(new Denial('route_unknown', 'no route has this path'), format, 'id', null)
    t.same(answerTo(ask(404), format, 'id', null), unknown)
    const refused = answerTo(ask(403), format, 'id', null)
    t.equal(refused.status, 403)
    t.notOk(refused.headers.some(([name]) => name === 'WWW-Authenticate'))
  }
  t.equal(JSON.parse(answerTo(ask(403), 'fdx', 'id', null).body).code, '602')
  t.equal(ask(404).code, 'claim_mismatch', 'the log has the truth')
  t.notMatch(ask(404).detail, /c-[12]/, 'and no value of the token')
})

t.test('step-up: what the token does not show is challenged, with all that is needed', async t => {
  const both = { acr: ['gold', 'silver'], maxAuthAgeSeconds: 300 }
  const acr = { acr: ['gold'], maxAuthAgeSeconds: null }
  const age = { acr: [], maxAuthAgeSeconds: 300 }
  const cases: [TokenRule['stepUp'], Record<string, unknown>, string][] = [
    [both, { acr: 'gold', auth_time: NOW - 10 }, 'granted'],
    [both, { acr: 'silver', auth_time: NOW - 10 }, 'granted'],
    [both, { acr: 'bronze', auth_time: NOW - 10 }, 'stepup_required'],
    [both, { acr: 'gold', auth_time: NOW - 311 }, 'stepup_required'],
    [both, { acr: 'gold', auth_time: NOW - 310 }, 'granted'],
    [both, {}, 'stepup_required'],
    [acr, {}, 'stepup_required'],
    [acr, { acr: 'GOLD' }, 'stepup_required'],
    [acr, { acr: ['gold'] }, 'stepup_required'],
    [acr, { acr: 'gold' }, 'granted'],
    [age, {}, 'stepup_required'],
    [age, { auth_time: String(NOW) }, 'stepup_required'],
    [age, { auth_time: NOW + 11 }, 'stepup_required'],
    [age, { auth_time: NOW + 10 }, 'granted'],
    [{ acr: [], maxAuthAgeSeconds: 0 }, { auth_time: NOW - 11 }, 'stepup_required'],
    [null, {}, 'granted'],
  ]
  for (const [stepUp, claims, code] of cases)
    t.equal(codeOf({ claims, rule: { stepUp } }), code, JSON.stringify([stepUp, claims]))
  const challenge = (stepUp: TokenRule['stepUp']) =>
    answerTo(verdictOf({ rule: { stepUp } }) as Denial, 'fdx', 'id', null).headers.find(
      ([name]) => name === 'WWW-Authenticate',
    )?.[1]
  t.equal(
    challenge(both),
    'Bearer error="insufficient_user_authentication", error_description="The user has to authenticate again, or more strongly", acr_values="gold silver", max_age="300"',
  )
  t.match(challenge(acr), /acr_values="gold"$/)
  t.match(challenge({ acr: [], maxAuthAgeSeconds: 0 }), /, max_age="0"$/)
})

const pattern = (...fields: CertificatePattern): readonly CertificatePattern[] => [fields]

t.test('an allow-list wants every part of one entry', async t => {
  const cases: [readonly CertificatePattern[], string | null][] = [
    [pattern({ field: 'subject', is: 'CN=client-a,O=Acme' }), null],
    [pattern({ field: 'subject', is: 'CN=client-a' }), 'certificate_not_allowed'],
    [pattern({ field: 'commonName', is: 'client-a' }), null],
    [pattern({ field: 'commonName', is: 'CLIENT-A' }), 'certificate_not_allowed'],
    [pattern({ field: 'issuer', is: 'CN=Bank CA' }), null],
    [pattern({ field: 'issuer', is: 'CN=Other CA' }), 'certificate_not_allowed'],
    [pattern({ field: 'dns', is: 'b.example' }), null],
    [pattern({ field: 'dns', is: '*.example' }), 'certificate_not_allowed'],
    [pattern({ field: 'uri', is: 'spiffe://bank/client-a' }), null],
    [pattern({ field: 'email', is: 'a@acme.example' }), null],
    [pattern({ field: 'spki', is: 'pin' }), null],
    [pattern({ field: 'x5t#S256', is: THUMBPRINT }), null],
    [
      pattern({ field: 'commonName', is: 'client-a' }, { field: 'issuer', is: 'CN=Other CA' }),
      'certificate_not_allowed',
    ],
    [[...pattern({ field: 'commonName', is: 'x' }), ...pattern({ field: 'dns', is: 'a.example' })], null],
    [pattern({ field: 'commonName', is: CLIENT_ID }), 'certificate_not_allowed'],
    [[], 'certificate_not_allowed'],
  ]
  for (const [certificates, code] of cases)
    t.equal(
      certificateIsAllowed({ certificates }, CERTIFICATE)?.code ?? null,
      code,
      JSON.stringify(certificates),
    )
  const certificates = pattern({ field: 'commonName', is: 'client-a' })
  t.equal(certificateIsAllowed({ certificates: null }, null), null)
  t.equal(certificateIsAllowed({ certificates }, null)?.code, 'certificate_missing')
  t.equal(
    certificateIsAllowed({ certificates }, new Denial('certificate_revoked', ''))?.code,
    'certificate_revoked',
  )
  const { status, body } = answerTo(new Denial('certificate_not_allowed', ''), 'fdx', 'id', null)
  t.equal(status, 403)
  t.equal(JSON.parse(body).code, '403')
})

t.test('the certificate is one of the client that the token was issued to', async t => {
  const byClientId = new Map<string, readonly CertificatePattern[] | 'any'>([
    ['client-a', pattern({ field: 'spki', is: 'pin' })],
    ['client-b', pattern({ field: 'spki', is: 'other' })],
    ['client-c', 'any' as const],
  ])
  const mapped = { clients: { byClientId, others: null } }
  const template = { clients: { byClientId, others: pattern({ field: 'commonName', is: CLIENT_ID }) } }
  const only = { clients: { byClientId: new Map(), others: pattern({ field: 'commonName', is: CLIENT_ID }) } }
  const loose = { clients: { byClientId, others: 'any' as const } }
  const cases: [Partial<IssuerRules>, string | undefined, string][] = [
    [loose, 'client-b', 'certificate_not_allowed'],
    [loose, 'client-d', 'granted'],
    [mapped, 'client-a', 'granted'],
    [mapped, 'client-b', 'certificate_not_allowed'],
    [mapped, 'client-c', 'granted'],
    [mapped, 'client-d', 'certificate_not_allowed'],
    [mapped, undefined, 'certificate_not_allowed'],
    [template, 'client-d', 'certificate_not_allowed'],
    [template, 'client-b', 'certificate_not_allowed'],
    [only, 'client-a', 'granted'],
    [only, 'client-b', 'certificate_not_allowed'],
    [only, undefined, 'certificate_not_allowed'],
  ]
  for (const [issuer, clientId, code] of cases)
    t.equal(codeOf({ issuer, claims: { client_id: clientId } }), code, String(clientId))
  t.equal(codeOf({ issuer: mapped, certificate: null }), 'certificate_missing')
  t.equal(
    codeOf({ issuer: mapped, certificate: new Denial('certificate_revoked', '') }),
    'certificate_revoked',
  )
  t.equal(
    codeOf({ issuer: mapped, claims: { client_id: 'client-b' }, route: { mtls: false }, certificate: null }),
    'granted',
    'a route that asks for no certificate has none to compare',
  )
})
