import { Denial, type Verdict } from '../decision/denials.js'
import { type Ambiguity, type CanonicalPath, decode } from '../request/canonical-path.js'
import { hasOtherReadings, otherReadings, type Reading } from '../request/path-readings.js'
import { operandsOf } from './claim-rules.js'
import { parseTemplate, type Segment, TemplateProblem } from './path-template.js'
import type { Route } from './policy.js'

/** The route that a request belongs to, and the path parameters as they came (still percent-encoded). */
export interface RouteMatch {
  readonly route: Route
  readonly parameters: Readonly<Record<string, string>>
}

/** Two routes that no request could tell apart. */
export interface RouteConflict {
  readonly route: Route
  readonly other: Route
}

/** One level of the tree of segments. Mutable while the index is built, never after. */
interface Node {
  readonly literals: Map<string, Node>
  parameter: Node | null
  rest: Leaf | null
  leaf: Leaf | null
}

interface Leaf {
  readonly route: Route
  readonly segments: readonly Segment[]
}

/** Longer paths match nothing: templates are far shorter, and `{name...}` has no use for more. */
const MAX_SEGMENTS = 128

/**
 * Routes by method, then segment by segment, so that the cost of a lookup depends on the path and not on the number
 * of routes. Literal beats `{name}` beats `{name...}`, decided from the left.
 */
export class RouteIndex {
  /** Those of the policy file. */
  readonly routes: readonly Route[]
  /** Those that Postern answers itself. */
  readonly ownRoutes: readonly Route[]
  readonly #roots: ReadonlyMap<string, Node>

  private constructor(
    routes: readonly Route[],
    ownRoutes: readonly Route[],
    roots: ReadonlyMap<string, Node>,
  ) {
    this.routes = Object.freeze([...routes])
    this.ownRoutes = Object.freeze([...ownRoutes])
    this.#roots = roots
  }

  /** Builds the index, or says which routes no request could tell apart. Templates must have parsed before. */
  static build(
    routes: readonly Route[],
    ownRoutes: readonly Route[] = [],
  ): RouteIndex | readonly RouteConflict[] {
    const roots = new Map<string, Node>()
    const conflicts: RouteConflict[] = []
    for (const route of [...routes, ...ownRoutes]) {
      const segments = parseTemplate(route.template)
      if (segments instanceof TemplateProblem) throw new Error(segments.message)
      const other = insert(childOf(roots, route.method), { route, segments })
      if (other !== null) conflicts.push({ route, other })
    }
    return conflicts.length > 0 ? conflicts : new RouteIndex(routes, ownRoutes, roots)
  }

  /**
   * The route for a canonical path, or `route_unknown`, or `method_not_allowed` with the methods that exist there;
   * `path_ambiguous` when the route does not allow what the path holds, or an upstream could read another route's path in it.
   */
  match(method: string, { path, ambiguities }: CanonicalPath): Verdict<RouteMatch> {
    const texts = path.slice(1).split('/', MAX_SEGMENTS + 1)
    const root = this.#roots.get(method)
    const leaf = root === undefined || texts.length > MAX_SEGMENTS ? null : find(root, texts, 0)
    if (ambiguities.length > 0) {
      const refused = notAllowed(ambiguities, leaf)
      if (refused !== null) return new Denial('path_ambiguous', refused)
    }
    if (texts.length > MAX_SEGMENTS) return new Denial('route_unknown', `more than ${MAX_SEGMENTS} segments`)
    if (leaf !== null) return this.#strayed(path, leaf) ?? matched(leaf, texts)
    const allowed = [...this.#roots]
      .filter(([, other]) => find(other, texts, 0) !== null)
      .map(([name]) => name)
    if (allowed.length === 0) return new Denial('route_unknown', 'no route has this path')
    const allow = allowed.sort().join(', ')
    return new Denial('method_not_allowed', `the path has ${allow}`, { allow })
  }

  /** Whatever an upstream makes of the path, the rules of this route must be the ones for it; else a denial. */
  #strayed(path: string, leaf: Leaf): Denial | null {
    if (!hasOtherReadings(path)) return null
    const readings = otherReadings(path)
    if (readings instanceof Denial) return readings
    const stray = readings.find(reading => !this.#isGoverned(reading, leaf))
    if (stray !== undefined)
      return new Denial(
        'path_ambiguous',
        `some servers read a path in it that ${leaf.route.id} does not govern`,
      )
    return restsOnPath(leaf.route) && !haveSameValues(path, readings)
      ? new Denial(
          'path_ambiguous',
          'some servers read another value of a path parameter in it, and a claim rule rests on one',
        )
      : null
  }

  /**
   * The reading is a path of the same route, or of no route at all and one into which a parameter with an encoded slash
   * unfolds. A path that lost its end never is the latter.
   */
  #isGoverned({ path, isCutShort }: Reading, { route }: Leaf): boolean {
    const texts = path.slice(1).split('/')
    const found = find(this.#roots.get(route.method) as Node, texts, 0)
    if (found !== null || isCutShort) return found?.route === route
    return [...this.#roots.values()].every(root => find(root, texts, 0) === null)
  }
}

/** Why a path with these must not pass; null when its route allows them all. */
function notAllowed(ambiguities: readonly Ambiguity[], leaf: Leaf | null): string | null {
  if (leaf === null) return `no route has this path, and it holds ${ambiguities.join(', ')}`
  const missing = ambiguities.filter(each => !leaf.route.paths.includes(each))
  return missing.length === 0 ? null : `${leaf.route.id} does not allow ${missing.join(', ')} in paths`
}

/** A claim rule compares a path parameter, so its value decides whose data is served. */
function restsOnPath({ token }: Route): boolean {
  return token?.claims.some(({ test }) => operandsOf(test).some(({ from }) => from === 'path')) === true
}

/** Claim rules see a parameter decoded once; every reading of the path must show the same. */
function haveSameValues(path: string, readings: readonly Reading[]): boolean {
  const values = valuesIn(path)
  return readings.every(reading => valuesIn(reading.path) === values)
}

/** Every segment decoded, one a line: control characters are in none. */
function valuesIn(path: string): string {
  return path.split('/').map(decode).join('\n')
}

function matched({ route, segments }: Leaf, texts: readonly string[]): RouteMatch {
  return { route, parameters: parametersOf(segments, texts) }
}

function newNode(): Node {
  return { literals: new Map(), parameter: null, rest: null, leaf: null }
}

/** The node under a key; a new one where there is none. */
function childOf(nodes: Map<string, Node>, key: string): Node {
  const child = nodes.get(key) ?? newNode()
  nodes.set(key, child)
  return child
}

/** Returns the route that already stands in the place, if any. */
function insert(root: Node, leaf: Leaf): Route | null {
  let node = root
  for (const segment of leaf.segments) {
    if (segment.kind === 'rest') {
      if (node.rest !== null) return node.rest.route
      node.rest = leaf
      return null
    }
    if (segment.kind === 'parameter') {
      node.parameter ??= newNode()
      node = node.parameter
      continue
    }
    node = childOf(node.literals, segment.text)
  }
  if (node.leaf !== null) return node.leaf.route
  node.leaf = leaf
  return null
}

function find(node: Node, texts: readonly string[], at: number): Leaf | null {
  if (at === texts.length) return node.leaf
  const text = texts[at] as string
  const literal = node.literals.get(text)
  if (literal !== undefined) {
    const leaf = find(literal, texts, at + 1)
    if (leaf !== null) return leaf
  }
  if (text === '') return null // a parameter is never empty: `/accounts/` is not `/accounts/{id}`
  if (node.parameter !== null) {
    const leaf = find(node.parameter, texts, at + 1)
    if (leaf !== null) return leaf
  }
  return texts[texts.length - 1] === '' ? null : node.rest
}

const NO_PARAMETERS: Readonly<Record<string, string>> = Object.freeze({})

function parametersOf(
  segments: readonly Segment[],
  texts: readonly string[],
): Readonly<Record<string, string>> {
  let parameters: Record<string, string> | null = null
  for (let index = 0; index < segments.length; index++) {
    const segment = segments[index] as Segment
    if (segment.kind === 'literal') continue
    parameters ??= {}
    parameters[segment.name] =
      segment.kind === 'rest' ? texts.slice(index).join('/') : (texts[index] as string)
  }
  return parameters ?? NO_PARAMETERS
}
