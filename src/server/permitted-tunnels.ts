import { isDeepStrictEqual } from 'node:util'
import type { Grant } from '../checks/authorise.js'
import type { Configuration } from '../config/settings.js'
import type { IssuerRules } from '../policy/issuer.js'
import type { Route } from '../policy/policy.js'
import type { IssuerSources } from './token-sources.js'

/** How the tokens that have these rules were verified. */
const verifiedBy = new WeakMap<IssuerRules, string>()

/**
 * Which tunnels the policy in use permits: those whose route, and whose token's issuer with all that its tokens are verified by,
 * are in it exactly as they were when the tunnel was granted. Nobody judges what flows in a tunnel, so it must not outlive what
 * it was judged by; and any number of reloads may come between its grant and its 101.
 */
export function permittedTunnels(
  { routes, settings }: Configuration,
  sources: ReadonlyMap<string, Pick<IssuerSources, 'settings'>>,
): (grant: Grant) => boolean {
  const inUse = new Map(routes.routes.map(route => [keyOf(route), route]))
  for (const [name, { rules, introspection }] of settings.issuers) {
    const identity = sources.get(name)?.settings
    if (identity === undefined) continue
    verifiedBy.set(rules, identity)
    // Tokens that the issuer was asked about have rules of their own.
    if (introspection !== null) verifiedBy.set(introspection.rules, identity)
  }
  const isInUse = (rules: IssuerRules): boolean => {
    const identity = sources.get(rules.name)?.settings
    return identity !== undefined && identity === verifiedBy.get(rules)
  }
  return ({ match: { route }, token }) =>
    isDeepStrictEqual(inUse.get(keyOf(route)), route) && (token === null || isInUse(token.rules))
}

function keyOf({ method, template }: Route): string {
  return `${method} ${template}`
}
