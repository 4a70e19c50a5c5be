import { operandsOf } from '../policy/claim-rules.js'
import type { Route } from '../policy/policy.js'
import { AMBIGUITIES, type Ambiguity } from '../request/canonical-path.js'
import type { Draft } from './draft.js'
import type { RelaxedPaths } from './schema-paths.js'
import type { Path } from './source-tree.js'

/** What an upstream may do with each, in words for the author of the policy. */
const RISK: Readonly<Record<Ambiguity, string>> = {
  encodedSlash: 'an upstream that undoes %2F serves paths below these that the policy does not have',
  semicolon:
    'an upstream that cuts off what follows ";" serves the object without it, and what is cut is logged',
  encodedUnreserved: 'an upstream or cache that does not undo the escapes takes one object for several',
  encodedPercent: 'an upstream that decodes twice serves another object',
}

/** With these an upstream may read another value of a parameter than a claim rule compares. */
const CHANGES_VALUES: readonly Ambiguity[] = ['encodedSlash', 'semicolon', 'encodedPercent']

/** What the `paths` of a route allow, in the order of the list. */
export function allowedAmbiguities(paths: RelaxedPaths | undefined): readonly Ambiguity[] {
  return AMBIGUITIES.filter(each => paths?.[each] === 'allow')
}

/** Relaxations that contradict what else the route says. */
export function checkRoutePaths(draft: Draft, key: string, { token, paths }: Route, path: Path): void {
  const rule = token?.claims.find(({ test }) => operandsOf(test).some(({ from }) => from === 'path'))
  if (rule === undefined) return
  for (const ambiguity of paths.filter(each => CHANGES_VALUES.includes(each)))
    draft.problem(
      [...path, ambiguity],
      `a claim rule of "${key}" compares a path parameter with ${rule.claim}, and with ${ambiguity} an upstream may read another value of it`,
      `write paths: { ${ambiguity}: refuse } at the route, or take the claim rule out`,
    )
}

/** Each place where something is allowed, whatever number of routes it is for. */
export function warnOfRelaxedPaths(draft: Draft): void {
  warnAt(draft, ['defaults'], draft.parts.defaults?.paths)
  for (const [index, api] of (draft.parts.apis ?? []).entries()) {
    warnAt(draft, ['apis', index], api?.paths)
    for (const [key, route] of api?.routes ?? []) warnAt(draft, ['apis', index, 'routes', key], route?.paths)
  }
}

function warnAt(draft: Draft, level: Path, paths: RelaxedPaths | undefined): void {
  if (draft.isBroken([...level, 'paths'])) return
  for (const ambiguity of allowedAmbiguities(paths))
    draft.warning(
      [...level, 'paths', ambiguity],
      `${ambiguity} is allowed: ${RISK[ambiguity]}`,
      'keep it to the routes whose clients need it, and make sure how the upstream reads such a path',
    )
}
