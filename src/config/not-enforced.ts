import type { Path } from './source-tree.js'

/**
 * What the policy format has and this version does not act on. A rule that would be ignored must not load, so these are
 * refused by name. A version that enforces one of them takes it out here and puts it into the schema.
 */

const ROUTE_KEYS = ['mode', 'until', 'fields', 'revokes']

/** By the place of the map they stand in; `*` is any name or number. */
const KEYS: ReadonlyMap<string, readonly string[]> = new Map([
  ['', ['store', 'reload', 'tracing', 'audit']],
  ['defaults', ROUTE_KEYS],
  ['apis.*', ROUTE_KEYS],
  ['apis.*.routes.*', ROUTE_KEYS],
])

/** By the place of the value. */
const VALUES: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['server.publicUrl', isPlainHttp],
  ['server.publicUrl.*', isPlainHttp],
])

export const NOT_ENFORCED_HINT = 'take it out: a rule that would be ignored must not load'

/** Whether the key of a map at `path` belongs to a later version. */
export function isLaterKey(path: Path, key: string): boolean {
  return at(KEYS, path)?.includes(key) ?? false
}

/** Whether the value at `path` belongs to a later version. */
export function isLaterValue(path: Path, value: unknown): boolean {
  return at(VALUES, path)?.(value) ?? false
}

function at<T>(table: ReadonlyMap<string, T>, path: Path): T | null {
  for (const [pattern, entry] of table) {
    const steps = pattern === '' ? [] : pattern.split('.')
    if (steps.length === path.length && steps.every((step, index) => step === '*' || step === path[index]))
      return entry
  }
  return null
}

function isPlainHttp(value: unknown): boolean {
  return typeof value === 'string' && /^http:\/\//i.test(value)
}
