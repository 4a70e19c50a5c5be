import type { Findings } from './findings.js'
import { mapScalars, type SourceNode } from './source-tree.js'

/** A tree whose `${NAME}` are replaced, and the values that replaced them, for the identity of the policy. */
export interface Interpolated {
  readonly tree: SourceNode
  readonly used: ReadonlyMap<string, string>
}

const REFERENCE = /\$(?:\$|\{[^}]*\}?)/g
const NAME_AND_DEFAULT = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}$/

/**
 * Replaces `${NAME}` and `${NAME:-default}` inside values; `$$` is one `$`. It happens after YAML has been read, so what a
 * variable holds can never become a key or a second setting. The default counts when the variable is unset or empty.
 */
export function interpolate(
  tree: SourceNode,
  environment: NodeJS.ProcessEnv,
  findings: Findings,
): Interpolated {
  const used = new Map<string, string>()
  const changed = mapScalars(tree, scalar => {
    if (typeof scalar.value !== 'string' || !scalar.value.includes('$')) return scalar
    let known = true
    let fromEnvironment = false
    const value = scalar.value.replace(REFERENCE, reference => {
      if (reference === '$$') return '$'
      fromEnvironment = true
      const match = NAME_AND_DEFAULT.exec(reference)
      if (match === null) {
        known = false
        findings.problem(
          scalar.place,
          '"${" begins a variable here, and what follows is none',
          `write \${NAME} or \${NAME:-default}; for a plain "\${" write "$\${"`,
        )
        return ''
      }
      const [, name = '', fallback] = match
      const found = Object.hasOwn(environment, name) ? environment[name] : undefined
      const value = fallback !== undefined && found === '' ? fallback : (found ?? fallback)
      if (value === undefined) {
        known = false
        findings.problem(
          scalar.place,
          `the environment variable ${name} is not set`,
          `set it, or give a default: \${${name}:-…}`,
        )
        return ''
      }
      used.set(name, value)
      return value
    })
    return { ...scalar, value, origin: known ? (fromEnvironment ? 'environment' : scalar.origin) : 'unknown' }
  })
  return { tree: changed, used }
}
