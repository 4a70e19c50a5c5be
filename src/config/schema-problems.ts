import { z } from 'zod'
import type { Findings } from './findings.js'
import { didYouMean } from './nearest-word.js'
import { isLaterKey, isLaterValue, NOT_ENFORCED_HINT } from './not-enforced.js'
import { keyPlace, nodeAt, type Path, type SourceNode, valuePlace } from './source-tree.js'

type Issue = z.core.$ZodIssue

/** Says in words what the schema found, at the line where it stands. */
export class SchemaProblems {
  readonly #root: SourceNode
  readonly #findings: Findings

  constructor(root: SourceNode, findings: Findings) {
    this.#root = root
    this.#findings = findings
  }

  /** What the schema said of the value at `path`. */
  report(issue: Issue, path: Path, schema: z.ZodType): void {
    const here: Path = [...path, ...issue.path.map(step => (typeof step === 'symbol' ? String(step) : step))]
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) this.unknownKey(here, key, keysOf(schema, issue.path))
      return
    }
    const node = nodeAt(this.#root, here)
    if (node === null) {
      this.missing(here, '')
      return
    }
    const fromFile = node.kind === 'scalar' && node.origin === 'file'
    const value = node.kind === 'scalar' ? node.value : undefined
    if (isLaterValue(here, value)) {
      // Said without the value, unless it stands in the file.
      const what = fromFile ? `"${nameOf(here)}: ${value}"` : `this value of "${nameOf(here)}"`
      this.#findings.problem(
        node.place,
        `${what} is not enforced by this version of Postern`,
        NOT_ENFORCED_HINT,
      )
      return
    }
    if (issue.code === 'invalid_union') {
      const branch = likeliestBranch(issue, node)
      if (branch !== null) {
        for (const inner of withoutEchoes(branch))
          this.report({ ...inner, path: [...issue.path, ...inner.path] }, path, schema)
        return
      }
    }
    const [message = '', hint = ''] = this.#words(issue, fromFile ? value : undefined)
    this.#findings.problem(valuePlace(this.#root, here), `${quotedName(here)} ${message}`, hint)
  }

  #words(issue: Issue, written: unknown): readonly string[] {
    if (issue.code === 'invalid_value' && /^Invalid (?:input|option)/.test(issue.message)) {
      const values = issue.values.map(String)
      const either = values.length === 1 ? values[0] : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`
      return [`must be ${either}`, typeof written === 'string' ? didYouMean(written, values, '') : '']
    }
    if (issue.code === 'invalid_type' && issue.message.startsWith('Invalid input'))
      return [TYPE_WORDS[issue.expected] ?? `must be of type ${issue.expected}`, '']
    return issue.message.split('\n')
  }

  /** A setting that must be there is not: said at what should contain it. */
  missing(path: Path, description: string): void {
    const name = path.at(-1)
    const inside = path.length > 1 ? ` in ${quotedName(path.slice(0, -1))}` : ''
    this.#findings.problem(keyPlace(this.#root, path), `"${name}" is missing${inside}`, description)
  }

  /** A key of a record that is no name. */
  reportKey(issue: Issue, path: Path): void {
    const [message = '', hint = ''] = issue.message.split('\n')
    this.#findings.problem(keyPlace(this.#root, path), `${quotedName(path)} ${message}`, hint)
  }

  /** A key that the schema does not have. */
  unknownKey(path: Path, key: string, known: readonly string[]): void {
    const place = keyPlace(this.#root, [...path, key])
    if (isLaterKey(path, key))
      this.#findings.problem(place, `"${key}" is not enforced by this version of Postern`, NOT_ENFORCED_HINT)
    else
      this.#findings.problem(
        place,
        `"${key}" is not a setting here`,
        key === '<<'
          ? 'YAML 1.2 has no merge keys; write the settings out, or give them to the API or to defaults'
          : didYouMean(key, known, known.length === 0 ? '' : `known: ${known.join(', ')}`),
      )
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  object: 'must be a map of settings',
  record: 'must be a map of names and their settings',
  array: 'must be a list',
  string: 'must be text',
  number: 'must be a number',
  int: 'must be a whole number',
  boolean: 'must be true or false',
}

/** With a key misspelt, what the object as a whole lacks is a consequence and no second mistake. */
export function withoutEchoes(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  const misspelt = new Set(
    issues.filter(issue => issue.code === 'unrecognized_keys').map(issue => issue.path.join('.')),
  )
  return issues.filter(issue => issue.code !== 'custom' || !misspelt.has(issue.path.join('.')))
}

/** `"audience"`, or `entry 2 of "audience"`. */
function quotedName(path: Path): string {
  const last = path.at(-1)
  if (last === undefined) return 'the policy'
  return typeof last === 'number' ? `entry ${last + 1} of ${quotedName(path.slice(0, -1))}` : `"${last}"`
}

function nameOf(path: Path): string {
  return String(path.findLast(step => typeof step === 'string') ?? 'the policy')
}

/** The alternative that the author meant: the one whose type the value has. null when it has none of them. */
function likeliestBranch(issue: z.core.$ZodIssueInvalidUnion, node: SourceNode): readonly Issue[] | null {
  const ofThisType = issue.errors.filter(
    errors =>
      !errors.some(
        ({ code, path }) =>
          path.length === 0 &&
          (code === 'invalid_type' || (code === 'invalid_value' && node.kind !== 'scalar')),
      ),
  )
  return ofThisType.sort((a, b) => a.length - b.length)[0] ?? null
}

/** The keys that the schema has at a path; all of them where it has alternatives. */
function keysOf(schema: z.core.$ZodType, path: readonly PropertyKey[]): readonly string[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault)
    return keysOf(schema.unwrap(), path)
  if (schema instanceof z.ZodPipe) return keysOf(schema.in, path)
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(option => keysOf(option, path))
  const [step, ...rest] = path
  if (schema instanceof z.ZodRecord) return step === undefined ? [] : keysOf(schema.valueType, rest)
  if (schema instanceof z.ZodArray) return step === undefined ? [] : keysOf(schema.element, rest)
  if (!(schema instanceof z.ZodObject)) return []
  if (step === undefined) return Object.keys(schema.shape)
  const child = schema.shape[String(step)]
  return child === undefined ? [] : keysOf(child, rest)
}
