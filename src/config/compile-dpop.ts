import type { DpopRule } from '../policy/policy.js'
import type { Draft, PolicyParts } from './draft.js'
import { FAPI_PROOF_ALGORITHMS } from './schema-dpop.js'
import type { Path } from './source-tree.js'

type DpopParts = NonNullable<NonNullable<PolicyParts['defaults']>['dpop']>

const MAX_AGE_MS = 60_000
/** FAPI 2.0 section 5.3.2.1-13: 10 s must pass, more than 60 s must not. */
const FUTURE_SKEW_MS = 15_000

/**
 * What a token route asks of proofs. Every member comes from the nearest level that has it.
 * @param levels the paths of the route, its API and the defaults, in this order
 */
export function compileDpop(draft: Draft, levels: readonly Path[], mtls: boolean): DpopRule {
  const parts = levels.map(level => dpopAt(draft, level))
  const nearest = <K extends keyof DpopParts>(name: K): DpopParts[K] | undefined =>
    parts.map(one => one?.[name]).find(value => value !== undefined)
  const server = draft.parts.server
  return {
    origins: [...new Set((server?.publicUrl ?? []).map(one => new URL(one).origin))],
    algorithms: [...new Set(nearest('algorithms') ?? FAPI_PROOF_ALGORITHMS)],
    maxAgeSeconds: (nearest('maxAge') ?? MAX_AGE_MS) / 1000,
    futureSkewSeconds: (nearest('futureSkew') ?? FUTURE_SKEW_MS) / 1000,
    nonce: nearest('nonce') ?? 'none',
    // FAPI 1.0 Part 2 section 5.2.2-5 knows certificates alone; FAPI 2.0 section 5.3.4-5 takes either.
    satisfiesBinding: !(mtls && server?.tls?.profile === 'fapi1-advanced'),
  }
}

/** Algorithms that the profile forbids, where they are written. */
export function checkDpop(draft: Draft): void {
  const profile = draft.parts.server?.tls?.profile
  const allowed: readonly string[] = FAPI_PROOF_ALGORITHMS
  for (const level of levelsOf(draft))
    for (const [index, algorithm] of (dpopAt(draft, level)?.algorithms ?? []).entries()) {
      const path = [...level, 'dpop', 'algorithms', index]
      if (allowed.includes(algorithm) || profile === undefined) continue
      if (profile !== 'compatible')
        draft.problem(
          path,
          `${algorithm} is not allowed for DPoP proofs in the profile ${profile}`,
          `use ${allowed.join(', ')} (FAPI 2.0 section 5.4.1)`,
        )
      else if (algorithm.startsWith('RS'))
        draft.warning(
          path,
          `${algorithm} is not a FAPI algorithm (PKCS #1 v1.5)`,
          'move the clients to PS256 or ES256 when they can',
        )
    }
}

function levelsOf({ parts }: Draft): readonly Path[] {
  const apis = [...(parts.apis ?? []).entries()]
  return [
    ['defaults'],
    ...apis.flatMap(([index, api]): Path[] => [
      ['apis', index],
      ...[...(api?.routes?.keys() ?? [])].map((key): Path => ['apis', index, 'routes', key]),
    ]),
  ]
}

function dpopAt({ parts }: Draft, level: Path): DpopParts | undefined {
  const [, index, , key] = level
  if (index === undefined) return parts.defaults?.dpop
  const api = parts.apis?.[Number(index)]
  return key === undefined ? api?.dpop : api?.routes?.get(String(key))?.dpop
}
