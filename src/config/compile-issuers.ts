import { EXPERIMENTAL_PRESETS, FLOW_PRESETS } from '../policy/flow-presets.js'
import type { ClaimCondition } from '../policy/flow-rules.js'
import type { IssuerRules } from '../policy/issuer.js'
import { readKeySetText } from '../policy/key-set.js'
import type { KeySettings } from '../policy/key-settings.js'
import type { Flow, Route } from '../policy/policy.js'
import { compileClients } from './compile-authorisation.js'
import { checkTokenSettings, compileIntrospection } from './compile-introspection.js'
import { readBundle } from './compile-upstreams.js'
import type { Draft } from './draft.js'
import type { KeyPlan } from './schema-issuer.js'
import type { IssuerSettings } from './settings.js'
import type { Path } from './source-tree.js'

/** The issuers that are valid in themselves. */
export async function compileIssuers(draft: Draft): Promise<ReadonlyMap<string, IssuerSettings>> {
  const compiled = new Map<string, IssuerSettings>()
  const byIdentifier = new Map<string, string>()
  for (const [name, parts] of draft.parts.issuers ?? []) {
    const path = ['issuers', name]
    if (parts === undefined) continue
    checkIdentifier(draft, path, parts.issuer, parts.keys, byIdentifier)
    checkAlgorithms(draft, path, parts.algorithms ?? [])
    checkTypes(draft, path, parts.typ ?? [])
    checkPreset(draft, path, parts.flow?.name)
    checkTokenSettings(draft, path, parts)
    const keys = parts.keys === undefined ? null : await readKeys(draft, parts.keys, [...path, 'keys'])
    const clients = compileClients(draft, parts.clients, [...path, 'clients'])
    const rules = rulesOf(name, parts, clients)
    const { tokens, revocation } = parts
    if (rules === null || tokens === undefined || revocation === undefined) continue
    const introspection = await compileIntrospection(draft, path, rules, parts.introspection)
    compiled.set(name, { rules, tokens, revocation, keys, introspection, place: draft.keyPlace(path) })
  }
  return compiled
}

export type IssuerParts = NonNullable<
  NonNullable<Draft['parts']['issuers']> extends ReadonlyMap<string, infer V> ? V : never
>

function rulesOf(name: string, parts: IssuerParts, clients: IssuerRules['clients']): IssuerRules | null {
  const {
    issuer,
    audience,
    algorithms = [],
    typ,
    clockSkew,
    maxLifetime,
    requiredClaims,
    claims,
    flow,
  } = parts
  if (issuer === undefined || audience === undefined || typ === undefined) return null
  if (clockSkew === undefined || requiredClaims === undefined || flow === undefined) return null
  const { scope, clientId } = claims ?? {}
  if (scope === undefined || clientId === undefined) return null
  const clockSkewSeconds = clockSkew / 1000
  const maxLifetimeSeconds = maxLifetime === undefined ? null : maxLifetime / 1000
  return {
    ...{ name, issuer, audience, algorithms, typ, clockSkewSeconds, maxLifetimeSeconds, requiredClaims },
    ...{ claims: { scope, clientId }, flow, clients },
  }
}

function checkIdentifier(
  draft: Draft,
  path: Path,
  issuer: string | undefined,
  keys: KeyPlan | undefined,
  byIdentifier: Map<string, string>,
): void {
  if (issuer === undefined) return
  const at = [...path, 'issuer']
  const name = String(path.at(-1))
  const other = byIdentifier.get(issuer)
  if (other !== undefined)
    draft.problem(
      at,
      `"${other}" and "${name}" have the same issuer, so no token tells which of them is meant`,
      'make one issuer of them',
    )
  byIdentifier.set(issuer, name)
  // RFC 8414 section 2: https, no query, no fragment.
  const isUrl =
    /^https:\/\/[^/?#\s][^?#\s]*$/.test(issuer) && URL.canParse(issuer) && new URL(issuer).username === ''
  if (isUrl) return
  if (keys?.from === 'discovery')
    draft.problem(
      at,
      'discovery needs an issuer that is an https URL without query and fragment',
      'write the issuer as its metadata has it, or name keys.url',
    )
  else
    draft.warning(
      at,
      'the issuer is not an https URL (RFC 8414 section 2)',
      'look whether its tokens really have this iss',
    )
}

/** FAPI 1.0 Advanced section 8.6: PS256, ES256. FAPI 2.0 section 5.4.1: PS256, ES256, EdDSA with Ed25519. */
function checkAlgorithms(draft: Draft, path: Path, algorithms: readonly string[]): void {
  const profile = draft.parts.server?.tls?.profile
  for (const [index, algorithm] of algorithms.entries()) {
    const at = [...path, 'algorithms', index]
    if (algorithm.startsWith('RS')) {
      if (profile === 'compatible')
        draft.warning(
          at,
          `${algorithm} is not a FAPI algorithm (PKCS #1 v1.5)`,
          'move the issuer to PS256 or ES256 when it can',
        )
      else if (profile !== undefined)
        draft.problem(
          at,
          `${algorithm} is not allowed in the profile ${profile}`,
          'use PS256 or ES256 (FAPI 1.0 Advanced section 8.6, FAPI 2.0 section 5.4.1)',
        )
    } else if (algorithm.startsWith('Ed') && profile === 'fapi1-advanced') {
      draft.problem(
        at,
        `${algorithm} is not allowed in the profile fapi1-advanced`,
        'use PS256 or ES256 (FAPI 1.0 Advanced section 8.6), or the profile fapi2',
      )
    }
  }
}

function checkTypes(draft: Draft, path: Path, types: readonly string[]): void {
  for (const type of types)
    if (type === 'jwt' || type === 'none')
      draft.warning(
        [...path, 'typ'],
        `with typ ${type} other tokens of the issuer, such as ID tokens, could pass for access tokens`,
        'have the issuer write at+jwt (RFC 9068 section 2.1); until then the audience must differ',
      )
}

function checkPreset(draft: Draft, path: Path, preset: string | undefined): void {
  if (preset !== undefined && Object.hasOwn(FLOW_PRESETS, preset) && EXPERIMENTAL_PRESETS.has(preset))
    draft.warning(
      [...path, 'flow'],
      `the preset ${preset} is experimental: it rests on sample tokens, not on a running server`,
      'compare it with tokens of both flows from your issuer; rules of your own come before it',
    )
}

async function readKeys(draft: Draft, plan: KeyPlan, path: Path): Promise<KeySettings | null> {
  if (plan.from === 'file') return readKeySet(draft, plan.file, [...path, 'file'])
  const ca = plan.ca === null ? null : await readBundle(draft, plan.ca, [...path, 'ca'])
  return { ...plan, ca }
}

async function readKeySet(draft: Draft, name: string, path: Path): Promise<KeySettings | null> {
  const file = await draft.readFile(name, path)
  if (file === null) return null
  const text = file.toString('utf8')
  const set = readKeySetText(text)
  const faults =
    typeof set === 'string'
      ? [set]
      : set.faulty.map(({ number, reason }) => `has a key (number ${number}) that cannot be used: ${reason}`)
  for (const fault of faults)
    draft.problem(
      path,
      `${name} ${fault}`,
      'the file is a JWK set with public keys: { "keys": [...] } (RFC 7517 section 5)',
    )
  return { from: 'file', text }
}

/** What the routes say of an issuer as a whole: whether it is used, and whether its rules can tell what they must. */
export function checkUseOfIssuers(draft: Draft, routes: readonly Route[]): void {
  for (const [name, parts] of draft.parts.issuers ?? []) {
    const path = ['issuers', name]
    const wanted = new Set(routes.flatMap(({ token }) => (token?.issuers.includes(name) ? token.flows : [])))
    if (
      parts?.clients !== undefined &&
      !routes.some(({ mtls, token }) => mtls && token?.issuers.includes(name))
    )
      draft.warning(
        [...path, 'clients'],
        'no route asks for a client certificate and a token of this issuer, so its clients are never compared',
        'add mtls to the security of the routes, or take it out',
      )
    const classifier = parts?.flow
    if (classifier === undefined || wanted.size === 0) continue
    const told = new Set<Flow>(classifier.rules.map(rule => rule.is))
    for (const flow of wanted)
      if (!told.has(flow))
        draft.warning(
          [...path, 'flow'],
          `no rule says ${flow}, which routes ask of this issuer`,
          'they deny every token of this issuer; add a rule',
        )
    if (wanted.size > 1 && classifier.rules.some(rule => isAbsence(rule.when)))
      draft.warning(
        [...path, 'flow'],
        'the flow follows from the mere absence of one claim, and routes of both flows rely on it',
        'one change at the issuer would turn every token into the other flow; ask for something that is there as well',
      )
  }
}

/** A condition that holds because one claim is not there, and for no other reason. */
function isAbsence(condition: ClaimCondition): boolean {
  if ('all' in condition) return condition.all.every(isAbsence)
  if ('any' in condition) return condition.any.some(isAbsence)
  if ('not' in condition) return 'exists' in condition.not && condition.not.exists
  return 'exists' in condition && !condition.exists
}
