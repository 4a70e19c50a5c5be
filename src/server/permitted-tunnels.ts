import { isDeepStrictEqual } from 'node:util'
import type { Grant } from '../checks/authorise.js'
import type { Configuration } from '../config/settings.js'
import type { IssuerRules } from '../policy/issuer.js'
import type { Route } from '../policy/policy.js'

/**
 * Which tunnels the policy in use permits: those whose route, and the rules of whose token's issuer, are in it exactly as
 * they were when the tunnel was granted. Nobody judges what flows in a tunnel, so it must not outlive the rules that it was
 * judged by; and any number of reloads may come between its grant and its 101.
 */
export function permittedTunnels({ routes, settings }: Configuration): (grant: Grant) => boolean {
  const inUse = new Map(routes.routes.map(route => [keyOf(route), route]))
  const isInUse = (rules: IssuerRules): boolean => {
    const issuer = settings.issuers.get(rules.name)
    // Tokens that the issuer was asked about have rules of their own.
    return [issuer?.rules, issuer?.introspection?.rules].some(each => isDeepStrictEqual(each, rules))
  }
  return ({ match: { route }, token }) =>
    isDeepStrictEqual(inUse.get(keyOf(route)), route) && (token === null || isInUse(token.rules))
}

function keyOf({ method, template }: Route): string {
  return `${method} ${template}`
}
