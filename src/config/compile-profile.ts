import { PROFILES, type Profile, type ProfileName, SHORT_LIVED_SECONDS } from '../policy/profiles.js'
import type { Draft } from './draft.js'
import type { Security } from './schema-route.js'
import type { Path } from './source-tree.js'

/** A setting in effect on a route, and where it comes from; for one that nobody writes, where it would stand. */
interface Effective<T> {
  readonly value: T
  readonly path: Path
}

/** What is in effect on one route, as far as profiles speak of it. */
export interface ProfiledRoute {
  readonly profile: ProfileName
  readonly security: Effective<Security>
  /** null on routes that ask for no token, or whose binding is wrong and reported. */
  readonly binding: Effective<'required' | 'if-present'> | null
  readonly headers: Effective<'strict' | 'tolerant'>
  readonly issuers: readonly string[]
}

/**
 * Reports every setting that leaves the profile of its route, where it stands. A binding or an algorithm that a FAPI
 * profile forbids does not load: what remained would be FAPI by its name only. All else is a warning.
 */
export function checkProfile(draft: Draft, route: ProfiledRoute): void {
  const profile = PROFILES[route.profile]
  checkSecurity(draft, route, profile)
  checkBinding(draft, route, profile)
  if (profile.strictHeaders !== null && route.headers.value === 'tolerant')
    draft.warning(
      route.headers.path,
      `requests without the headers that ${profile.title} asks for are let in`,
      `take it out: strict follows from the profile (${profile.strictHeaders})`,
    )
  const tls = draft.parts.server?.tls?.profile
  if (profile.tls !== null && tls !== undefined && !profile.tls.allowed.includes(tls))
    draft.warning(
      ['server', 'tls', 'profile'],
      `the cipher suites of ${tls} are more than ${profile.title} allows, which routes have as their profile`,
      `use ${profile.tls.allowed.join(' or ')} (${profile.tls.clause})`,
    )
  for (const name of route.security.value.oauth2 ? route.issuers : []) checkIssuer(draft, name, profile)
}

function checkSecurity(draft: Draft, { security, binding }: ProfiledRoute, profile: Profile): void {
  const { mtls, oauth2 } = security.value
  if (!oauth2 && profile.token !== null)
    draft.warning(
      security.path,
      `not ${profile.title}: no access token is asked for`,
      `add oauth2, or write profile: custom (${profile.token})`,
    )
  else if (!mtls && profile.certificate !== null)
    draft.warning(
      security.path,
      `[oauth2] alone is not ${profile.title}-grade: no client certificate is asked for`,
      `add mtls, or write profile: custom (${profile.certificate})`,
    )
  else if (!mtls && profile.binding !== null && binding?.value === 'if-present')
    draft.warning(
      security.path,
      `[oauth2] alone is not ${profile.title}-grade: a stolen token is good for anybody, unless it is bound`,
      `add mtls, or write binding: required or profile: custom (${profile.binding})`,
    )
}

function checkBinding(draft: Draft, { security, binding }: ProfiledRoute, profile: Profile): void {
  if (profile.binding === null || binding?.value !== 'if-present') return
  if (security.value.mtls)
    draft.problem(
      binding.path,
      `a token that is not bound to the client certificate would pass, which the profile ${profile.title} forbids`,
      `take it out: required follows from the profile (${profile.binding})`,
    )
  else
    draft.warning(
      binding.path,
      `a token that is bound to no key of the client would pass, which ${profile.title} does not have`,
      `take it out: required follows from the profile (${profile.binding})`,
    )
}

function checkIssuer(draft: Draft, name: string, profile: Profile): void {
  const parts = draft.parts.issuers?.get(name)
  if (parts === undefined) return
  const path = ['issuers', name]
  for (const [index, algorithm] of (parts.algorithms ?? []).entries())
    if (profile.algorithms !== null && !profile.algorithms.allowed.includes(algorithm))
      draft.problem(
        [...path, 'algorithms', index],
        `${algorithm} is no algorithm of ${profile.title}, which routes have as their profile`,
        `use ${profile.algorithms.allowed.join(', ')} (${profile.algorithms.clause})`,
      )
  for (const type of parts.typ ?? [])
    if (profile.typ !== null && !profile.typ.allowed.includes(type))
      draft.warning(
        [...path, 'typ'],
        `typ ${type} leaves ${profile.title}, which routes have as their profile`,
        `accept ${profile.typ.allowed.join(', ')} alone (${profile.typ.clause})`,
      )
  const lifetime = lifetimeOf(parts.maxLifetime, profile)
  const limit = profile.maxLifetimeSeconds
  if (limit !== null && lifetime !== null && lifetime > limit.allowed)
    draft.warning(
      [...path, 'maxLifetime'],
      `tokens may live longer than ${profile.title} lets them, which routes have as their profile`,
      `write ${limit.allowed}s or less, or take it out (${limit.clause})`,
    )
  checkRevocation(draft, path, { isNoticed: noticesRevocation(parts), lifetime }, profile)
}

/** Seconds that a token may live on routes of the profile; null: for ever. */
function lifetimeOf(maxLifetimeMs: number | undefined, profile: Profile): number | null {
  return maxLifetimeMs === undefined ? (profile.maxLifetimeSeconds?.allowed ?? null) : maxLifetimeMs / 1000
}

/** Tokens that are asked for at the issuer each time are; JWTs by themselves are not. */
function noticesRevocation({
  tokens,
  revocation,
}: {
  readonly tokens: string | undefined
  readonly revocation: string | undefined
}): boolean {
  return tokens === 'opaque' || (revocation !== undefined && revocation !== 'none')
}

function checkRevocation(
  draft: Draft,
  path: Path,
  { isNoticed, lifetime }: { readonly isNoticed: boolean; readonly lifetime: number | null },
  { title, revocation }: Profile,
): void {
  if (revocation === null || isNoticed) return
  if (revocation.shortLivedWillDo && lifetime !== null && lifetime <= SHORT_LIVED_SECONDS) return
  const remedy = revocation.shortLivedWillDo ? ', or write a maxLifetime of at most 15m' : ''
  draft.findings.warning(
    draft.keyPlace([...path, 'revocation']),
    `a revoked token passes until it expires, which leaves ${title}`,
    `have tokens introspected${remedy} (${revocation.clause})`,
  )
}
