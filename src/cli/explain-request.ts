import type { X509Certificate } from 'node:crypto'
import { CHECKS } from '../checks/authorise.js'
import type { Case } from '../checks/case.js'
import { judgeCertificate } from '../checks/certificate.js'
import { certificateIsAllowed } from '../checks/client-certificate.js'
import type { ProofFacts } from '../checks/proof-facts.js'
import { type TokenFacts, tokenFacts } from '../checks/token-facts.js'
import type { Configuration, IssuerSettings } from '../config/settings.js'
import { answerOf, Denial, type DenialCode, type Verdict } from '../decision/denials.js'
import type { TokenRule } from '../policy/policy.js'
import type { RouteMatch } from '../policy/route-index.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import { readCredentials } from '../request/credentials.js'
import { type RequestFacts, readRequest } from '../request/request-facts.js'
import { certificateAsPresented, trustBundle } from '../server/client-trust.js'
import { readCompactJws } from '../sources/compact-jws.js'
import type { Nonces } from '../sources/dpop-nonce.js'
import { verifyProof } from '../sources/dpop-proof.js'
import { createJwtSource, problemBeforeKeys } from '../sources/jwt.js'
import { createKeySource } from '../sources/keys.js'
import { admitAlways } from '../sources/token-source.js'
import { inactive, introspectingIssuer, NOT_INTROSPECTED, rulesForClaims } from './explain-introspection.js'

/** What the imagined client brings; null where it brings nothing. */
export interface Evidence {
  readonly token: string | null
  /** Claims that are taken as authentic. */
  readonly claims: Readonly<Record<string, unknown>> | null
  readonly certificate: X509Certificate | null
  /** The DPoP header; with it the scheme of the token is DPoP. */
  readonly proof: string | null
}

export interface Answer {
  readonly check: string
  /** false as well for a check that could not be made here; its fact then begins with `not checked`. */
  readonly pass: boolean
  /** What the answer rests on. */
  readonly fact: string
}

export interface Explanation {
  readonly path: string | null
  readonly route: string | null
  /** `undecided`: what it depends on, such as a signature or an introspection, needs the network. */
  readonly outcome: 'allowed' | 'denied' | 'undecided'
  /** Of the first check that fails, in the order of the live path. */
  readonly code: DenialCode | null
  /** Of the answer that the client would read; null when it is the upstream's. */
  readonly status: number | null
  readonly checks: readonly Answer[]
}

/** Collects the answers in order and remembers the first refusal. */
class Answers {
  readonly list: Answer[] = []
  code: DenialCode | null = null
  status: number | null = null
  undecided = false

  /** Notes a check that could not be made here: it is not passed, and nothing is refused for it. */
  leaveOpen(check: string, fact: string): void {
    this.undecided = true
    this.list.push({ check, pass: false, fact })
  }

  /** Notes a verdict; the fact is that of the denial when it is one. */
  note(check: string, verdict: unknown, fact: string): void {
    const denial = verdict instanceof Denial ? verdict : null
    if (denial !== null) {
      this.code ??= denial.code
      this.status ??= answerOf(denial).status
    }
    this.list.push({
      check,
      pass: denial === null,
      fact: denial === null ? fact : `${denial.code}: ${denial.detail}`,
    })
  }
}

/** Judges a request that never was, without a network. `now` is seconds since the epoch. */
export async function explainRequest(
  configuration: Configuration,
  method: string,
  url: string,
  evidence: Evidence,
  now: number,
): Promise<Explanation> {
  const answers = new Answers()
  const request = imaginedRequest(configuration, method, url, evidence)
  answers.note('request', request, request instanceof Denial ? '' : factOfPath(request))
  const match = request instanceof Denial ? request : configuration.routes.match(request.method, request)
  if (!(request instanceof Denial))
    answers.note('route', match, match instanceof Denial ? '' : factOfMatch(match))
  if (!(request instanceof Denial) && !(match instanceof Denial))
    await explainRoute(configuration, match, request, evidence, now, answers)
  return {
    path: request instanceof Denial ? null : request.path,
    route: match instanceof Denial ? null : match.route.id,
    outcome: answers.code !== null ? 'denied' : answers.undecided ? 'undecided' : 'allowed',
    code: answers.code,
    status: answers.status,
    checks: answers.list,
  }
}

async function explainRoute(
  configuration: Configuration,
  match: RouteMatch,
  request: RequestFacts,
  evidence: Evidence,
  now: number,
  answers: Answers,
): Promise<void> {
  const { route } = match
  if (route.headers === 'strict')
    answers.note('headers', null, 'strict; x-fapi-interaction-id is taken to be there')
  if (route.token !== null) {
    const brought =
      evidence.claims !== null ? 'claims given' : readCredentials(request.headers, request.query)
    answers.note('credentials', brought, 'one access token')
  }
  const certificate = certificateOf(configuration, evidence, now)
  if (route.mtls) {
    const missing = new Denial('certificate_missing', 'no --cert')
    answers.note(
      'certificate',
      certificate ?? missing,
      certificate === null ? '' : factOfCertificate(certificate),
    )
  }
  if (route.certificates !== null)
    answers.note('certificates', certificateIsAllowed(route, certificate), 'allowed by certificates')
  if (route.token !== null)
    await explainToken(
      configuration,
      { request, match, rule: route.token },
      evidence,
      certificate,
      now,
      answers,
    )
}

async function explainToken(
  configuration: Configuration,
  { request, match, rule }: Pick<Case, 'request' | 'match' | 'rule'>,
  evidence: Evidence,
  certificate: Verdict<CertificateFacts> | null,
  now: number,
  answers: Answers,
): Promise<void> {
  const token = await tokenOf(configuration, rule, evidence, now, answers)
  const proof = await proofOf(rule, request, evidence, answers)
  for (const { name, judge, fact } of CHECKS) {
    if (token === null) answers.list.push({ check: name, pass: false, fact: 'no token to judge' })
    else {
      const subject: Case = { request, match, rule, token, certificate, proof, now }
      answers.note(name, judge(subject), fact(subject))
    }
  }
}

function imaginedRequest(
  { settings }: Configuration,
  method: string,
  url: string,
  { token, proof }: Evidence,
): Verdict<RequestFacts> {
  const hosts = settings.server.publicOrigins.map(origin => new URL(origin).host)
  const scheme = proof === null ? 'Bearer' : 'DPoP'
  const authorization = token === null ? [] : ['Authorization', `${scheme} ${token}`]
  const dpop = proof === null ? [] : ['DPoP', proof]
  return readRequest(
    { method, url, httpVersion: '1.1', rawHeaders: ['Host', hosts[0] ?? '', ...authorization, ...dpop] },
    { hosts: new Set(hosts), via: 'postern-explain' },
  )
}

function factOfPath({ ambiguities }: RequestFacts): string {
  return ambiguities.length === 0
    ? 'one reading'
    : `one reading where a route allows ${ambiguities.join(', ')}`
}

function factOfMatch({ route, parameters }: RouteMatch): string {
  const values = Object.entries(parameters).map(([name, value]) => `${name}=${value}`)
  const allowed = route.paths.length === 0 ? [] : [`allows ${route.paths.join(', ')} in paths`]
  return [`${route.method} ${route.template} of ${route.api}`, ...values, ...allowed].join(', ')
}

function certificateOf(
  { settings }: Configuration,
  evidence: Evidence,
  now: number,
): Verdict<CertificateFacts> | null {
  if (evidence.certificate === null) return null
  const bundle = trustBundle(settings.server.tls.clients)
  const facts = certificateAsPresented(evidence.certificate, bundle, settings.server.tls.clients)
  return judgeCertificate(facts, bundle.trust, now) ?? facts
}

function factOfCertificate(certificate: Verdict<CertificateFacts>): string {
  return certificate instanceof Denial
    ? ''
    : `${certificate.subject.replaceAll('\n', ', ')}; x5t#S256 ${certificate.thumbprint}`
}

/** The facts of the token, from claims that are given, or from the token as far as it can be verified without a network. */
async function tokenOf(
  { settings }: Configuration,
  rule: TokenRule,
  evidence: Evidence,
  now: number,
  answers: Answers,
): Promise<TokenFacts | null> {
  const issuers = rule.issuers.map(name => settings.issuers.get(name) as IssuerSettings)
  const issuerOf = (iss: unknown) => issuers.find(({ rules }) => rules.issuer === iss)
  if (evidence.claims !== null) {
    const rules = rulesForClaims(issuers, evidence.claims)
    answers.note(
      'token',
      inactive(evidence.claims) ?? rules ?? unknownIssuer(evidence.claims.iss),
      'claims taken as authentic',
    )
    return rules === null ? null : tokenFacts(evidence.claims, rules)
  }
  if (evidence.token === null) return null
  const asked = introspectingIssuer(issuers, evidence.token)
  if (asked !== null) {
    answers.note('token', null, `an opaque token, as far as ${asked.rules.name} is concerned`)
    answers.leaveOpen('introspection', NOT_INTROSPECTED)
    return null
  }
  const jws = readCompactJws(evidence.token)
  if (jws instanceof Denial) {
    answers.note('token', jws, '')
    return null
  }
  // As on the live path: the only issuer judges whatever comes; of several, iss says which one.
  const issuer = issuers.length === 1 ? issuers[0] : issuerOf(jws.claims.iss)
  if (issuer === undefined) {
    answers.note('token', unknownIssuer(jws.claims.iss), '')
    return null
  }
  const { rules, keys } = issuer
  if (issuer.revocation === 'introspect') answers.leaveOpen('introspection', NOT_INTROSPECTED)
  answers.note(
    'token',
    problemBeforeKeys(jws, rules),
    `alg ${jws.header.alg}, typ ${String(jws.header.typ)}, iss ${rules.issuer}`,
  )
  if (keys?.from !== 'file') {
    answers.leaveOpen(
      'signature',
      'not checked: the keys are fetched over the network, which explain does not use',
    )
    return tokenFacts(jws.claims, rules)
  }
  const source = createJwtSource({
    rules,
    keys: createKeySource({ name: rules.name, issuer: rules.issuer, settings: keys, meter: SILENT }),
    meter: SILENT,
  })
  const verified = await source.authenticate({ scheme: 'bearer', token: evidence.token }, now, admitAlways)
  source.close()
  answers.note('signature', verified, 'verified with the keys of the issuer')
  return tokenFacts(jws.claims, rules)
}

/** The proof as far as it says who made it; a nonce of a running process is unknown here, and use before cannot be told. */
async function proofOf(
  rule: TokenRule,
  request: RequestFacts,
  evidence: Evidence,
  answers: Answers,
): Promise<ProofFacts | null> {
  if (evidence.proof === null || evidence.token === null) return null
  const proof = await verifyProof(request.headers, evidence.token, rule.dpop, NO_NONCES, admitAlways)
  answers.note('proof signature', proof, 'made by the key that the proof carries')
  return proof instanceof Denial ? null : proof
}

const NO_NONCES: Nonces = { issue: () => '', issuedAt: () => null }
const SILENT = { tokenCache: () => {}, keysRefresh: () => {} }

function unknownIssuer(iss: unknown): Denial {
  return new Denial(
    'token_issuer_unknown',
    `iss is ${typeof iss === 'string' ? iss.slice(0, 200) : 'absent'}`,
  )
}
