import { Denial, type Verdict } from '../decision/denials.js'
import { plainSpelling } from '../request/canonical-path.js'
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

  /** The route for a canonical path, or `route_unknown`, or `method_not_allowed` with the methods that exist there. */
  match(method: string, path: string): Verdict<RouteMatch> {
    const texts = path.slice(1).split('/', MAX_SEGMENTS + 1)
    if (texts.length > MAX_SEGMENTS) return new Denial('route_unknown', `more than ${MAX_SEGMENTS} segments`)
    const root = this.#roots.get(method)
    const leaf = root === undefined ? null : find(root, texts, 0)
    if (path.includes('%') && root !== undefined && find(root, texts.map(plainSpelling), 0) !== leaf)
      return new Denial('path_ambiguous', 'the route depends on whether percent-encoding is undone')
    if (leaf !== null) return { route: leaf.route, parameters: parametersOf(leaf.segments, texts) }
    const allowed = [...this.#roots]
      .filter(([, other]) => find(other, texts, 0) !== null)
      .map(([name]) => name)
    if (allowed.length === 0) return new Denial('route_unknown', 'no route has this path')
    const allow = allowed.sort().join(', ')
    return new Denial('method_not_allowed', `the path has ${allow}`, { allow })
  }
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
  for (const [index, segment] of segments.entries()) {
    if (segment.kind === 'literal') continue
    parameters ??= {}
    parameters[segment.name] =
      segment.kind === 'rest' ? texts.slice(index).join('/') : (texts[index] as string)
  }
  return parameters ?? NO_PARAMETERS
}
