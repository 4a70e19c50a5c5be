import type { Place } from './problem.js'

/** A configuration file as a tree in which everything knows where it stands. */
export type SourceNode = SourceScalar | SourceList | SourceMap

export interface SourceScalar {
  readonly kind: 'scalar'
  readonly place: Place
  readonly value: string | number | boolean | null
  /** Written without quotes, so that YAML decides whether it is text. */
  readonly plain: boolean
  /** `environment`: the value came from there. `unknown`: it should have, and what is missing is reported already. */
  readonly origin: 'file' | 'environment' | 'unknown'
}

export interface SourceList {
  readonly kind: 'list'
  readonly place: Place
  readonly items: readonly SourceNode[]
}

export interface SourceMap {
  readonly kind: 'map'
  readonly place: Place
  readonly entries: ReadonlyMap<string, SourceEntry>
}

export interface SourceEntry {
  readonly keyPlace: Place
  readonly node: SourceNode
}

/** Keys of maps and indices of lists, from the root. */
export type Path = readonly (string | number)[]

/** The node at a path, or null. */
export function nodeAt(root: SourceNode, path: Path): SourceNode | null {
  let node: SourceNode | null = root
  for (const step of path) node = node === null ? null : childOf(node, step)
  return node
}

/** Where the value at a path begins; for a value that is absent, the key of what should contain it. */
export function valuePlace(root: SourceNode, path: Path): Place {
  return nodeAt(root, path)?.place ?? keyPlace(root, path.slice(0, -1))
}

/** Where the key of a path stands; for a list item its value, for an absent key that of what should contain it. */
export function keyPlace(root: SourceNode, path: Path): Place {
  let node: SourceNode = root
  let place = root.place
  for (const step of path) {
    const child = childOf(node, step)
    if (child === null) break
    place = (node.kind === 'map' ? node.entries.get(String(step))?.keyPlace : undefined) ?? child.place
    node = child
  }
  return place
}

function childOf(node: SourceNode, step: string | number): SourceNode | null {
  if (node.kind === 'map') return node.entries.get(String(step))?.node ?? null
  if (node.kind === 'list') return node.items[Number(step)] ?? null
  return null
}

/** The node as plain JavaScript. The reader has refused the key `__proto__`, so an object literal is safe. */
export function plainValue(node: SourceNode): unknown {
  if (node.kind === 'scalar') return node.value
  if (node.kind === 'list') return node.items.map(plainValue)
  return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plainValue(entry.node)]))
}

/** A copy of the tree with every scalar replaced. */
export function mapScalars(
  node: SourceNode,
  change: (scalar: SourceScalar, path: Path) => SourceScalar,
  path: Path = [],
): SourceNode {
  if (node.kind === 'scalar') return change(node, path)
  if (node.kind === 'list')
    return { ...node, items: node.items.map((item, index) => mapScalars(item, change, [...path, index])) }
  const entries = [...node.entries].map(
    ([key, entry]) => [key, { ...entry, node: mapScalars(entry.node, change, [...path, key]) }] as const,
  )
  return { ...node, entries: new Map(entries) }
}

/** Whether some scalar of the tree has a value that is not known. */
export function holdsUnknown(node: SourceNode): boolean {
  if (node.kind === 'scalar') return node.origin === 'unknown'
  const children = node.kind === 'list' ? node.items : [...node.entries.values()].map(entry => entry.node)
  return children.some(holdsUnknown)
}
