import type { Flow } from './policy.js'

/** A question about the claims of a token; claims may be nested paths (`a.b`). */
export type ClaimCondition =
  | { readonly claim: string; readonly exists: boolean }
  | { readonly claim: string; readonly equals: string | number | boolean }
  | { readonly claim: string; readonly equalsClaim: string }
  | { readonly claim: string; readonly in: readonly (string | number | boolean)[] }
  | { readonly claim: string; readonly prefix: string }
  | { readonly claim: string; readonly suffix: string }
  | { readonly all: readonly ClaimCondition[] }
  | { readonly any: readonly ClaimCondition[] }
  | { readonly not: ClaimCondition }

export interface FlowRule {
  readonly when: ClaimCondition
  readonly is: Flow
}

export type Claims = Readonly<Record<string, unknown>>

/** The value of a claim: the member of that very name, or else a nested path. Own members only. */
export function claimAt(claims: Claims, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const member of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member)) return undefined
    value = (value as Claims)[member]
  }
  return value
}

/** Whether the claims satisfy the condition. `client_id` aliases are resolved by the caller into `client_id`. */
export function conditionHolds(condition: ClaimCondition, claims: Claims): boolean {
  if ('all' in condition) return condition.all.every(part => conditionHolds(part, claims))
  if ('any' in condition) return condition.any.some(part => conditionHolds(part, claims))
  if ('not' in condition) return !conditionHolds(condition.not, claims)
  const value = claimAt(claims, condition.claim)
  if ('exists' in condition) return (value !== undefined && value !== null) === condition.exists
  if ('equals' in condition) return value === condition.equals
  if ('equalsClaim' in condition) {
    const other = claimAt(claims, condition.equalsClaim)
    return typeof value === 'string' && value === other
  }
  if ('in' in condition) return condition.in.includes(value as string | number | boolean)
  if (typeof value !== 'string') return false
  return 'prefix' in condition ? value.startsWith(condition.prefix) : value.endsWith(condition.suffix)
}
