import { isDeepStrictEqual } from 'node:util'
import type { Configuration } from '../config/settings.js'
import type { Route } from '../policy/policy.js'

/**
 * Which open tunnels the policy in use still permits: those whose route is there as it was, and the rules of its issuers
 * too. Nobody judges what flows in a tunnel, so it must not outlive the rules that it was judged by.
 * @param before the policy that was in use until now
 */
export function permittedTunnels(now: Configuration, before: Configuration): (route: Route) => boolean {
  const routes = new Map(now.routes.routes.map(route => [keyOf(route), route]))
  const sameIssuer = (name: string): boolean =>
    isDeepStrictEqual(now.settings.issuers.get(name)?.rules, before.settings.issuers.get(name)?.rules)
  return route =>
    isDeepStrictEqual(routes.get(keyOf(route)), route) && (route.token?.issuers ?? []).every(sameIssuer)
}

function keyOf({ method, template }: Route): string {
  return `${method} ${template}`
}
