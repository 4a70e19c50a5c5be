import { z } from 'zod'
import type { Findings } from './findings.js'
import { SchemaProblems, withoutEchoes } from './schema-problems.js'
import { holdsUnknown, nodeAt, type Path, plainValue, type SourceNode } from './source-tree.js'

/**
 * What a schema reads, with every part that was wrong left out. Objects, records and lists of objects are read part by part;
 * whatever has a transformation is read whole.
 */
export type Lenient<S> =
  S extends z.ZodOptional<infer I>
    ? Lenient<I>
    : S extends z.ZodPrefault<infer I>
      ? Lenient<I>
      : S extends z.ZodObject<infer Shape>
        ? { readonly [K in keyof Shape]: Lenient<Shape[K]> | undefined }
        : S extends z.ZodRecord<infer _, infer V>
          ? ReadonlyMap<string, Lenient<V> | undefined>
          : S extends z.ZodArray<infer E extends z.ZodObject>
            ? readonly (Lenient<E> | undefined)[]
            : z.output<S>

export interface Validated<S> {
  /** The valid parts. */
  readonly value: Lenient<S> | undefined
  /** Something at the path, or at what contains it, was wrong and is reported: the value there is not simply absent. */
  readonly isBroken: (path: Path) => boolean
}

/** Checks a tree against a schema, part by part, so that one mistake hides no other. */
export function validate<S extends z.ZodType>(schema: S, root: SourceNode, findings: Findings): Validated<S> {
  const validator = new Validator(root, findings)
  const value = validator.read(schema, root, []) as Lenient<S> | undefined
  const isBroken = (path: Path) =>
    path.some((_, index) => validator.broken.has(keyOf(path.slice(0, index)))) ||
    validator.broken.has(keyOf(path))
  return { value, isBroken }
}

function keyOf(path: Path): string {
  return JSON.stringify(path)
}

class Validator {
  readonly broken = new Set<string>()
  readonly #root: SourceNode
  readonly #problems: SchemaProblems

  constructor(root: SourceNode, findings: Findings) {
    this.#root = root
    this.#problems = new SchemaProblems(root, findings)
  }

  read(schema: z.core.$ZodType, node: SourceNode, path: Path): unknown {
    if (schema instanceof z.ZodOptional || schema instanceof z.ZodPrefault)
      return this.read(schema.unwrap(), node, path)
    if (schema instanceof z.ZodObject && node.kind === 'map') return this.#object(schema, node, path)
    if (schema instanceof z.ZodRecord && node.kind === 'map') return this.#record(schema, node, path)
    if (
      schema instanceof z.ZodArray &&
      schema.element instanceof z.ZodObject &&
      node.kind === 'list' &&
      node.items.length > 0
    ) {
      const { element } = schema
      return node.items.map((item, index) => this.read(element, item, [...path, index]))
    }
    return this.#whole(schema as z.ZodType, node, path)
  }

  #object(schema: z.ZodObject, node: SourceNode & { kind: 'map' }, path: Path): object {
    const shape: Readonly<Record<string, z.core.$ZodType>> = schema.shape
    for (const key of node.entries.keys()) {
      if (Object.hasOwn(shape, key)) continue
      this.#problems.unknownKey(path, key, Object.keys(shape))
      this.#break([...path, key])
    }
    const result: Record<string, unknown> = {}
    for (const [key, part] of Object.entries(shape)) {
      const entry = node.entries.get(key)
      result[key] =
        entry === undefined
          ? this.#absent(part as z.ZodType, [...path, key])
          : this.read(part, entry.node, [...path, key])
    }
    return result
  }

  #absent(schema: z.ZodType, path: Path): unknown {
    const standard = schema.safeParse(undefined)
    if (standard.success) return isRecord(schema) ? new Map() : standard.data
    this.#problems.missing(path, schema.description ?? '')
    this.#break(path)
    return undefined
  }

  #record(schema: z.ZodRecord, node: SourceNode & { kind: 'map' }, path: Path): ReadonlyMap<string, unknown> {
    const result = new Map<string, unknown>()
    for (const [key, entry] of node.entries) {
      const named = z.safeParse(schema.keyType, key)
      const here = [...path, key]
      for (const issue of named.error?.issues ?? []) this.#problems.reportKey(issue, here)
      if (!named.success) this.#break(here)
      result.set(key, this.read(schema.valueType, entry.node, here))
    }
    return result
  }

  #whole(schema: z.ZodType, node: SourceNode, path: Path): unknown {
    if (holdsUnknown(node)) {
      this.#break(path)
      return undefined
    }
    const value = plainValue(node)
    let result = schema.safeParse(value)
    if (!result.success) {
      const retyped = this.#retype(value, result.error.issues, path)
      if (retyped !== null) result = schema.safeParse(retyped.value)
    }
    if (result.success) return result.data
    for (const issue of withoutEchoes(result.error.issues)) {
      this.#problems.report(issue, path, schema)
      this.#break([...path, ...issue.path.map(step => (typeof step === 'symbol' ? String(step) : step))])
    }
    this.#break(path)
    return undefined
  }

  /**
   * `connections: ${LIMIT}` is text by its origin. Where the schema wants something else, an unquoted value from the
   * environment counts as what YAML would make of it.
   */
  #retype(
    value: unknown,
    issues: readonly z.core.$ZodIssue[],
    path: Path,
  ): { readonly value: unknown } | null {
    let changed: { value: unknown } | null = null
    for (const issue of issues) {
      const steps = issue.path.map(step => (typeof step === 'symbol' ? String(step) : step))
      const node = nodeAt(this.#root, [...path, ...steps])
      if (
        node?.kind !== 'scalar' ||
        node.origin !== 'environment' ||
        !node.plain ||
        typeof node.value !== 'string'
      )
        continue
      const typed = typedScalar(node.value)
      if (typed === node.value) continue
      // One copy for all replacements: one for each would take minutes for a long list of variables.
      changed ??= { value: structuredClone(value) }
      changed.value = replaceAt(changed.value, steps, typed)
    }
    return changed
  }

  #break(path: Path): void {
    this.broken.add(keyOf(path))
  }
}

/** Records are read as maps; the only standard one is empty. */
function isRecord(schema: z.ZodType): boolean {
  return schema instanceof z.ZodPrefault && schema.unwrap() instanceof z.ZodRecord
}

/** Numbers and booleans as YAML 1.2 core has them, as far as settings use them. */
function typedScalar(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?(?:0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : text
}

/** Puts a part into a value, in place; returns the value, or the part when that is all of it. */
function replaceAt(value: unknown, path: Path, replacement: unknown): unknown {
  const [step, ...rest] = path
  if (step === undefined) return replacement
  const whole = value as Record<string | number, unknown>
  whole[step] = replaceAt(whole[step], rest, replacement)
  return whole
}
