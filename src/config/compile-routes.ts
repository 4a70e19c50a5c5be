import { Denial } from '../decision/denials.js'
import type { Segment } from '../policy/path-template.js'
import type { Route } from '../policy/policy.js'
import { RouteIndex } from '../policy/route-index.js'
import { warnOfReplacedRules } from './compile-authorisation.js'
import { metadataRoutes } from './compile-metadata.js'
import { warnOfRelaxedPaths } from './compile-paths.js'
import { checkRates, warnOfReplacedRates } from './compile-rate.js'
import { checkReferences } from './compile-references.js'
import { type CompiledRoute, RouteDraft } from './compile-route.js'
import type { Draft } from './draft.js'
import type { Place } from './problem.js'
import { checkMeaninglessSettings } from './route-settings.js'

/** The routes that are valid in themselves, and the index of them when all are and no two are the same. */
export function compileRoutes(draft: Draft): {
  readonly routes: readonly Route[]
  readonly index: RouteIndex | null
} {
  checkReferences(draft)
  const compiled: CompiledRoute[] = []
  let whole = true
  const apis = draft.parts.apis ?? []
  if (draft.parts.apis?.length === 0)
    draft.warning(
      ['apis'],
      'there are no APIs: every request is denied',
      'add one, with name, base and routes',
    )
  for (const [index, api] of apis.entries()) {
    if (api?.routes?.size === 0)
      draft.warning(
        ['apis', index, 'routes'],
        'the API has no routes',
        'add one, such as "GET /accounts", or take the API out',
      )
    for (const key of api?.routes?.keys() ?? []) {
      const route = new RouteDraft(draft, index, key).compile()
      if (route === null) whole = false
      else compiled.push(route)
    }
    checkMeaninglessSettings(draft, index)
  }
  warnOfReplacedRules(draft)
  warnOfReplacedRates(draft)
  if (whole) checkRates(draft, compiled)
  warnOfRelaxedPaths(draft)
  checkIds(draft, compiled)
  const index = buildIndex(draft, compiled)
  return { routes: compiled.map(one => one.route), index: whole ? index : null }
}

function checkIds(draft: Draft, compiled: readonly CompiledRoute[]): void {
  const first = new Map<string, CompiledRoute>()
  for (const one of compiled) {
    const other = first.get(one.route.id)
    if (other === undefined) {
      first.set(one.route.id, one)
      continue
    }
    // The same method and template are reported as such.
    if (other.route.method === one.route.method && other.route.template === one.route.template) continue
    const path = draft.stands([...one.path, 'id']) ? [...one.path, 'id'] : one.path
    const place = draft.stands([...one.path, 'id']) ? draft.valuePlace(path) : draft.keyPlace(path)
    draft.findings.problem(
      place,
      `the id is already that of the route at ${at(draft.keyPlace(other.path))}`,
      'give each route its own id: logs and metrics tell routes apart by it',
    )
  }
}

function buildIndex(draft: Draft, compiled: readonly CompiledRoute[]): RouteIndex | null {
  const places = new Map(compiled.map(one => [one.route, draft.keyPlace(one.path)]))
  const built = RouteIndex.build(
    compiled.map(one => one.route),
    metadataRoutes(draft, compiled),
  )
  if (!(built instanceof RouteIndex)) {
    for (const { route, other } of built) {
      const same = route.template === other.template
      draft.findings.problem(
        places.get(route) as Place,
        `no request could tell this route from ${other.method} ${other.template} at ${at(places.get(other) as Place)}`,
        same ? 'keep one of them' : 'the names of parameters do not matter: keep one of them',
      )
    }
    return null
  }
  for (const { route, segments, path } of compiled) {
    const found = built.match(route.method, { path: unlikelyPath(segments), ambiguities: [] })
    if (found instanceof Denial || found.route !== route)
      draft.problemAtKey(
        path,
        `no request can reach ${route.method} ${route.template}`,
        'another route takes its requests, or it has too many segments',
      )
  }
  return built
}

/** A path of the template whose parameters are nobody's literal segment. */
function unlikelyPath(segments: readonly Segment[]): string {
  return segments.map(segment => `/${segment.kind === 'literal' ? segment.text : '~~parameter~~'}`).join('')
}

function at({ file, line }: Place): string {
  return `${file}:${line}`
}
