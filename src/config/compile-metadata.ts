import type { Segment } from '../policy/path-template.js'
import { parseTemplate, TemplateProblem } from '../policy/path-template.js'
import type { ErrorFormat, Route } from '../policy/policy.js'
import { describeResource, METADATA_PREFIX, type ResourceMetadata } from '../policy/resource-metadata.js'
import type { Draft } from './draft.js'
import type { Path } from './source-tree.js'

const METHODS = ['GET', 'HEAD']

/** A route of the policy file, with what is needed to compare it with those that are made here. */
interface PolicyRoute {
  readonly route: Route
  readonly segments: readonly Segment[]
  readonly path: Path
}

/** Where the challenges of an API's routes point to, or null when they point nowhere. */
export function metadataPathFor(draft: Draft, base: string): string | null {
  return draft.parts.server?.resourceMetadata === true ? pathOf(base) : null
}

/**
 * The routes of the protected resource metadata (RFC 9728): one for the whole server and one for the base of each API with
 * routes that ask for tokens. They are routes like all others: a request for them is read, matched and granted.
 */
export function metadataRoutes(draft: Draft, compiled: readonly PolicyRoute[]): readonly Route[] {
  if (draft.parts.server?.resourceMetadata === false) return []
  const errors = draft.parts.defaults?.errors ?? 'fdx'
  const identifiers = new Map(
    [...(draft.parts.issuers ?? [])].flatMap(([name, parts]) =>
      parts?.issuer === undefined ? [] : [[name, parts.issuer] as const],
    ),
  )
  const made: Route[] = []
  for (const [base, resource] of resourcesOf(draft, compiled)) {
    const metadata = describeResource(resource.name, resource.routes, identifiers)
    if (metadata !== null) made.push(...METHODS.map(method => routeFor(method, base, metadata, errors)))
  }
  return made.filter(route => !isTaken(draft, route, compiled))
}

interface Resource {
  readonly name: string | null
  readonly routes: readonly Route[]
}

/** By base: `/` is the whole server. Two APIs may share a base. */
function resourcesOf(draft: Draft, compiled: readonly PolicyRoute[]): ReadonlyMap<string, Resource> {
  const resources = new Map<string, Resource>([['/', { name: null, routes: compiled.map(one => one.route) }]])
  for (const [index, api] of (draft.parts.apis ?? []).entries()) {
    if (api?.base === undefined || api.base === '/') continue
    const routes = compiled.filter(({ path }) => path[1] === index).map(({ route }) => route)
    const other = resources.get(api.base)
    resources.set(api.base, {
      name: other?.name ?? api.name ?? null,
      routes: [...(other?.routes ?? []), ...routes],
    })
  }
  return resources
}

function routeFor(method: string, base: string, metadata: ResourceMetadata, errors: ErrorFormat): Route {
  const template = pathOf(base)
  return {
    ...{ id: `${method} ${template}`, method, template, api: 'protected resource metadata' },
    ...{
      mtls: false,
      certificates: null,
      token: null,
      upstream: null,
      errors,
      upgrade: null,
      rates: [],
      responseTimeoutMs: null,
    },
    ...{ profile: 'custom', headers: 'tolerant', paths: [], metadataPath: null, metadata },
  }
}

function pathOf(base: string): string {
  return base === '/' ? METADATA_PREFIX : METADATA_PREFIX + base
}

/** A route of the policy stands there, or has the same id: said at that route. */
function isTaken(draft: Draft, made: Route, compiled: readonly PolicyRoute[]): boolean {
  const segments = parseTemplate(made.template)
  if (segments instanceof TemplateProblem) return true // the base is wrong, and that is reported at its routes
  const taken = compiled.filter(
    ({ route, segments: theirs }) =>
      route.id === made.id || (route.method === made.method && haveSameShape(segments, theirs)),
  )
  for (const { path } of taken)
    draft.problemAtKey(
      path,
      `${made.id} is where the metadata of the protected resource is served (RFC 9728)`,
      'take the route out, or write server.resourceMetadata: false',
    )
  return taken.length > 0
}

/** No request could tell the two apart. */
function haveSameShape(a: readonly Segment[], b: readonly Segment[]): boolean {
  return (
    a.length === b.length &&
    a.every((segment, index) => {
      const other = b[index] as Segment
      return (
        segment.kind === other.kind &&
        (segment.kind !== 'literal' || segment.text === (other as typeof segment).text)
      )
    })
  )
}
