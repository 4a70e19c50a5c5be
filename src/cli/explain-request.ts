import type { X509Certificate } from 'node:crypto'
import { CHECKS } from '../checks/authorise.js'
import type { Case } from '../checks/case.js'
import { judgeCertificate } from '../checks/certificate.js'
import type { ProofFacts } from '../checks/proof-facts.js'
import { type TokenFacts, tokenFacts } from '../checks/token-facts.js'
import type { Configuration, IssuerSettings } from '../config/settings.js'
import { Denial, type DenialCode, type Verdict } from '../decision/denials.js'
import type { Route, TokenRule } from '../policy/policy.js'
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
  readonly pass: boolean
  /** What the answer rests on. */
  readonly fact: string
}

export interface Explanation {
  readonly path: string | null
  readonly route: string | null
  readonly outcome: 'allowed' | 'denied'
  /** Of the first check that fails, in the order of the live path. */
  readonly code: DenialCode | null
  readonly checks: readonly Answer[]
}

/** Collects the answers in order and remembers the first refusal. */
class Answers {
  readonly list: Answer[] = []
  code: DenialCode | null = null

  /** Notes a verdict; the fact is that of the denial when it is one. */
  note(check: string, verdict: unknown, fact: string): void {
    const denial = verdict instanceof Denial ? verdict : null
    if (denial !== null) this.code ??= denial.code
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
  answers.note('request', request, 'one reading')
  const match = request instanceof Denial ? request : configuration.routes.match(request.method, request.path)
  if (!(request instanceof Denial))
    answers.note('route', match, match instanceof Denial ? '' : factOfMatch(match))
  if (!(request instanceof Denial) && !(match instanceof Denial))
    await explainRoute(configuration, match.route, request, evidence, now, answers)
  return {
    path: request instanceof Denial ? null : request.path,
    route: match instanceof Denial ? null : match.route.id,
    outcome: answers.code === null ? 'allowed' : 'denied',
    code: answers.code,
    checks: answers.list,
  }
}

async function explainRoute(
  configuration: Configuration,
  route: Route,
  request: RequestFacts,
  evidence: Evidence,
  now: number,
  answers: Answers,
): Promise<void> {
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
  if (route.token !== null)
    await explainToken(configuration, route.token, request, evidence, certificate, now, answers)
}

async function explainToken(
  configuration: Configuration,
  rule: TokenRule,
  request: RequestFacts,
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
      const subject: Case = { request, rule, token, certificate, proof, now }
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

function factOfMatch({ route, parameters }: RouteMatch): string {
  const values = Object.entries(parameters).map(([name, value]) => `${name}=${value}`)
  return [`${route.method} ${route.template} of ${route.api}`, ...values].join(', ')
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
    const issuer = issuerOf(evidence.claims.iss)
    answers.note('token', issuer ?? unknownIssuer(evidence.claims.iss), 'claims taken as authentic')
    return issuer === undefined ? null : tokenFacts(evidence.claims, issuer.rules)
  }
  if (evidence.token === null) return null
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
  answers.note(
    'token',
    problemBeforeKeys(jws, rules),
    `alg ${jws.header.alg}, typ ${String(jws.header.typ)}, iss ${rules.issuer}`,
  )
  if (keys.from !== 'file') {
    answers.note(
      'signature',
      null,
      'not checked: the keys are fetched over the network, which explain does not use',
    )
    return tokenFacts(jws.claims, rules)
  }
  const source = createJwtSource({
    rules,
    keys: createKeySource({ name: rules.name, issuer: rules.issuer, settings: keys, meter: SILENT }),
    meter: SILENT,
  })
  const verified = await source.authenticate({ scheme: 'bearer', token: evidence.token }, now)
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
  const proof = await verifyProof(request.headers, evidence.token, rule.dpop, NO_NONCES)
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
