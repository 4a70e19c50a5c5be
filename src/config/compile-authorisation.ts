import { type CertificatePattern, PINS } from '../policy/certificate-patterns.js'
import { operandsOf } from '../policy/claim-rules.js'
import type { ClientCertificates, ClientPatterns } from '../policy/issuer.js'
import type { Segment } from '../policy/path-template.js'
import type { Flow, StepUp } from '../policy/policy.js'
import type { Draft } from './draft.js'
import { didYouMean } from './nearest-word.js'
import type { AllowList } from './schema-certificates.js'
import type { WrittenClaimRule } from './schema-claims.js'
import type { Security } from './schema-route.js'
import type { Path } from './source-tree.js'

/** A setting and where it stands; undefined where nobody sets it. */
interface Set<T> {
  readonly value: T | undefined
  readonly path: Path
}

/** What must agree with each other on one route. */
export interface RouteAuthorisation {
  /** `METHOD /template`, for messages. */
  readonly key: string
  readonly security: Security
  readonly segments: readonly Segment[]
  readonly flows: readonly Flow[]
  readonly claims: Set<readonly WrittenClaimRule[]>
  readonly acr: Set<readonly string[]>
  readonly maxAuthAge: Set<number>
  readonly certificates: Set<AllowList>
}

/** Rules that could never hold, could never fail, or rest on what anybody can claim. */
export function checkRouteAuthorisation(draft: Draft, route: RouteAuthorisation): void {
  if (route.security.oauth2) {
    for (const { rule, path } of route.claims.value ?? [])
      checkClaimRule(draft, route, rule, [...route.claims.path, ...path])
    checkStepUp(draft, route, route.acr)
    checkStepUp(draft, route, route.maxAuthAge)
  }
  const { value, path } = route.certificates
  if (route.security.mtls) checkNames(draft, value?.allowed ?? [], path)
}

function checkClaimRule(
  draft: Draft,
  { key, security, segments, flows }: RouteAuthorisation,
  { test, appliesTo }: WrittenClaimRule['rule'],
  path: Path,
): void {
  const parameters = segments.flatMap(segment => (segment.kind === 'literal' ? [] : [segment.name]))
  for (const operand of operandsOf(test)) {
    if (operand.from === 'path' && !parameters.includes(operand.parameter))
      draft.problem(
        path,
        `the path of "${key}" has no parameter {${operand.parameter}}`,
        didYouMean(
          operand.parameter,
          parameters,
          parameters.length === 0 ? 'it has none at all' : `it has ${parameters.join(', ')}`,
        ),
      )
    if (operand.from !== 'certificate') continue
    if (!security.mtls)
      draft.problem(
        path,
        `certificate.${operand.field} is never there: "${key}" asks for no client certificate`,
        'add mtls to security, or compare with something else',
      )
    else if (!PINS.has(operand.field)) checkTrust(draft, path)
  }
  for (const flow of appliesTo ?? [])
    if (!flows.includes(flow))
      draft.problem(
        path,
        `the rule would never apply: no ${flow} token passes "${key}"`,
        'take appliesTo out, or name a flow of the route',
      )
}

/** No user takes part in client_credentials, so such a token never has what step-up asks for. */
function checkStepUp(draft: Draft, { key, flows }: RouteAuthorisation, { value, path }: Set<unknown>): void {
  if (value === undefined || !flows.includes('client_credentials')) return
  const hint = 'ask for it on routes of authorization_code'
  if (flows.length === 1)
    draft.problem(path, `no token passes "${key}": in client_credentials no user authenticates`, hint)
  else draft.warning(path, `client_credentials tokens never pass "${key}": no user authenticates there`, hint)
}

/** Without a chain, names are what the client wrote into the certificate itself. */
function checkNames(draft: Draft, patterns: readonly CertificatePattern[], path: Path): void {
  for (const [index, pattern] of patterns.entries())
    if (!pattern.some(({ field, is }) => PINS.has(field) && typeof is === 'string'))
      checkTrust(draft, [...path, index])
}

function checkTrust(draft: Draft, path: Path): void {
  if (draft.parts.server?.tls?.clients?.trust === 'possession')
    draft.problem(
      path,
      'with trust: possession anybody can make a certificate with any name',
      'name spki or x5t#S256, or write trust: pki',
    )
}

/** A route that has claims of its own loses those of its API or of `defaults`; that should be meant. */
export function warnOfReplacedRules(draft: Draft): void {
  const ofDefaults = draft.parts.defaults?.claims
  for (const [index, api] of (draft.parts.apis ?? []).entries()) {
    warnIfReplaced(draft, ['apis', index, 'claims'], api?.claims, ofDefaults, 'defaults')
    for (const [key, route] of api?.routes ?? []) {
      const outer = api?.claims
      const path = ['apis', index, 'routes', key, 'claims']
      warnIfReplaced(draft, path, route?.claims, outer ?? ofDefaults, outer ? 'the API' : 'defaults')
    }
  }
}

function warnIfReplaced(
  draft: Draft,
  path: Path,
  own: readonly WrittenClaimRule[] | undefined,
  outer: readonly WrittenClaimRule[] | undefined,
  where: string,
): void {
  // `none` is said on purpose.
  if (own === undefined || own.length === 0 || outer === undefined) return
  const kept = new Set(own.map(({ rule }) => rule.claim))
  const lost = new Set(outer.map(({ rule }) => rule.claim).filter(claim => !kept.has(claim)))
  for (const claim of lost)
    draft.warning(
      path,
      `the rule of ${where} on ${claim} does not count here: these claims replace it`,
      'write it here as well, when it should count',
    )
}

/** Both parts of the step-up as one; null when neither is asked. */
export function stepUpOf(
  acr: readonly string[] | undefined,
  maxAuthAgeMs: number | undefined,
): StepUp | null {
  if (acr === undefined && maxAuthAgeMs === undefined) return null
  return {
    acr: acr ?? [],
    // The challenge has whole seconds only (RFC 9470 section 3).
    maxAuthAgeSeconds: maxAuthAgeMs === undefined ? null : Math.floor(maxAuthAgeMs / 1000),
  }
}

type WrittenClients = ReadonlyMap<string, { readonly certificates: AllowList | undefined } | undefined>

/** The certificates of the clients of one issuer. */
export function compileClients(
  draft: Draft,
  written: WrittenClients | undefined,
  path: Path,
): ClientCertificates | null {
  if (written === undefined) return null
  const byClientId = new Map<string, ClientPatterns>()
  for (const [clientId, entry] of written) {
    if (entry?.certificates === undefined) continue
    const { allowed } = entry.certificates
    checkNames(draft, allowed ?? [], [...path, clientId, 'certificates'])
    byClientId.set(clientId, allowed ?? 'any')
  }
  const others = byClientId.get('*') ?? null
  byClientId.delete('*')
  return { byClientId, others }
}
