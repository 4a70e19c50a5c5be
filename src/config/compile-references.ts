import type { Draft } from './draft.js'
import { didYouMean } from './nearest-word.js'
import type { Path } from './source-tree.js'

/** Names of issuers and upstreams that nobody defines, and definitions that nobody names. */
export function checkReferences(draft: Draft): void {
  const used = { issuers: new Set<string>(), upstreams: new Set<string>() }
  const look = (kind: 'issuers' | 'upstreams', name: string, path: Path) => {
    used[kind].add(name)
    const defined = draft.parts[kind]
    if (defined === undefined || defined.has(name)) return
    // A name from the environment is not repeated.
    const what = draft.isFromEnvironment(path) ? 'this name' : `"${name}"`
    const names = [...defined.keys()]
    const known = names.length === 0 ? `define it below ${kind}` : `defined: ${names.join(', ')}`
    draft.problem(path, `${what} is not defined in ${kind}`, didYouMean(name, names, known))
  }
  for (const { path, parts } of settingLevels(draft)) {
    if (parts.upstream !== undefined) look('upstreams', parts.upstream, [...path, 'upstream'])
    for (const [index, name] of (parts.issuer ?? []).entries()) {
      const isList = draft.stands([...path, 'issuer', index])
      look('issuers', name, isList ? [...path, 'issuer', index] : [...path, 'issuer'])
    }
  }
  for (const kind of ['issuers', 'upstreams'] as const)
    for (const name of draft.parts[kind]?.keys() ?? [])
      if (!used[kind].has(name))
        draft.findings.warning(
          draft.keyPlace([kind, name]),
          `no route uses "${name}"`,
          'take it out, or name it in a route, an API or defaults',
        )
}

interface ReferringParts {
  readonly upstream?: string | undefined
  readonly issuer?: readonly string[] | undefined
}

function* settingLevels(draft: Draft): Iterable<{ readonly path: Path; readonly parts: ReferringParts }> {
  if (draft.parts.defaults !== undefined) yield { path: ['defaults'], parts: draft.parts.defaults }
  for (const [index, api] of (draft.parts.apis ?? []).entries()) {
    if (api === undefined) continue
    yield { path: ['apis', index], parts: api }
    for (const [key, parts] of api.routes ?? [])
      if (parts !== undefined) yield { path: ['apis', index, 'routes', key], parts }
  }
}
