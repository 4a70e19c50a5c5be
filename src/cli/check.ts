import { loadConfiguration } from '../config/load.js'
import { formatProblem, type Problem } from '../config/problem.js'
import type { Configuration } from '../config/settings.js'
import type { Route, ScopeRule } from '../policy/policy.js'
import { defaultsOf } from '../policy/profiles.js'
import { type Invocation, policyFile } from './commands.js'
import { coloured, EXIT, print, say, table } from './output.js'

/** `postern check`: every problem, or the compiled routes. */
export async function check(invocation: Invocation): Promise<number> {
  const loaded = await loadConfiguration(policyFile(invocation), invocation.environment)
  const problems = 'settings' in loaded ? null : loaded
  if (invocation.values.json === true)
    print(JSON.stringify(problems === null ? good(loaded as Configuration) : bad(problems), null, 2))
  else if (problems !== null) sayProblems(problems)
  else printRoutes(loaded as Configuration)
  return problems === null ? EXIT.ok : EXIT.configuration
}

/** All problems on stderr and their number. */
export function sayProblems(problems: readonly Problem[]): void {
  for (const problem of problems) say(formatProblem(problem))
  say(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}; nothing was loaded`)
}

function good({ routes, warnings }: Configuration) {
  return {
    ok: true,
    routes: routes.routes.map(jsonRoute),
    metadata: routes.ownRoutes.filter(({ method }) => method === 'GET').map(jsonMetadata),
    problems: [],
    warnings,
  }
}

function bad(problems: readonly Problem[]) {
  return { ok: false, routes: [], problems }
}

function jsonRoute(route: Route) {
  return {
    id: route.id,
    method: route.method,
    template: route.template,
    api: route.api,
    security: securityOf(route),
    flow: route.token?.flows ?? [],
    scopes: route.token?.scopes ?? null,
    upstream: route.upstream,
    mode: 'enforce',
    profile: route.profile,
    headers: route.headers,
    paths: route.paths,
  }
}

/** A document that Postern serves itself (RFC 9728), without the member `resource`, which is the URL it is asked at. */
function jsonMetadata({ template, metadata }: Route) {
  return { path: template, ...metadata }
}

function printRoutes({ routes, warnings, hash }: Configuration): void {
  const rows = routes.routes.map(route => [
    route.method,
    route.template,
    securityOf(route).join(' + ') || 'public',
    profileInWords(route),
    route.token?.flows.join(' or ') ?? '-',
    route.token === null ? '-' : scopesInWords(route.token.scopes),
    route.upstream ?? '-',
  ])
  print(table([['METHOD', 'PATH', 'SECURITY', 'PROFILE', 'FLOW', 'SCOPES', 'UPSTREAM'], ...rows]))
  const relaxed = routes.routes.filter(({ paths }) => paths.length > 0)
  if (relaxed.length > 0)
    print(
      `\npaths with more than one reading\n${relaxed.map(({ id, paths }) => `  ${id}: ${paths.join(', ')}`).join('\n')}`,
    )
  const documents = routes.ownRoutes.filter(({ method }) => method === 'GET')
  if (documents.length > 0)
    print(`\nmetadata (RFC 9728)\n${documents.map(({ template }) => `  ${template}`).join('\n')}`)
  for (const warning of warnings)
    say(`${coloured('yellow', 'warning', process.stderr)} ${formatProblem(warning)}`)
  say(`${rows.length} routes, policy ${hash.slice(0, 12)}`)
}

function securityOf({ mtls, token }: Route): string[] {
  return [...(mtls ? ['mtls'] : []), ...(token === null ? [] : ['oauth2'])]
}

/** The profile, and where headers are asked for that the profile does not ask for, or the other way round. */
function profileInWords({ profile, headers }: Route): string {
  return defaultsOf(profile).headers === headers ? profile : `${profile}, ${headers} headers`
}

/** `a and b and one of c, d (optional: e)`, or `none`. */
export function scopesInWords({ all, any, optional }: ScopeRule): string {
  const alternatives =
    any.length === 0 ? [] : [any.length === 1 ? (any[0] as string) : `one of ${any.join(', ')}`]
  const required = [...all, ...alternatives].join(' and ') || 'none'
  return optional.length === 0 ? required : `${required} (optional: ${optional.join(', ')})`
}
