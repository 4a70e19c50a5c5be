import {
  type ErrorCode,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLParseError,
} from 'yaml'
import type { Findings } from './findings.js'
import type { Place } from './problem.js'
import type { SourceEntry, SourceNode } from './source-tree.js'
import { boundOf, MAX_YAML_BYTES } from './yaml-bounds.js'
import { wordsFor } from './yaml-words.js'

/** An alias may stand for a large part of the file, and may hold aliases itself. */
const MAX_NODES = 100_000
const MAX_ALIASES = 100

/**
 * Reads one YAML 1.2 document into a tree with positions. Every syntax problem goes to `findings`; then the result is null.
 * What YAML would let pass with a warning is a problem: a policy has one reading.
 */
export function readYaml(bytes: Buffer, file: string, findings: Findings): SourceNode | null {
  const start: Place = { file, line: 1, column: 1 }
  if (bytes.length > MAX_YAML_BYTES) {
    findings.problem(
      start,
      `the file has ${bytes.length} bytes; at most ${MAX_YAML_BYTES} are read`,
      'split it, or look whether it is the right file',
    )
    return null
  }
  const text = textOf(bytes)
  if (text === null) {
    findings.problem(
      start,
      'the file is not UTF-8 text',
      'save it as UTF-8, or look whether it is the right file',
    )
    return null
  }
  const bound = boundOf(text)
  if (bound !== null) {
    const { line, column, message, hint } = bound
    findings.problem({ file, line, column }, message, hint)
    return null
  }
  return new Reader(text, file, findings).read()
}

/** null for bytes that are not UTF-8, and for control characters, which no text file holds. */
function textOf(bytes: Buffer): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    return /[\u0000-\u0008\u000e-\u001f\u007f]/.test(text) ? null : text
  } catch {
    return null
  }
}

class Reader {
  readonly #text: string
  readonly #file: string
  readonly #findings: Findings
  readonly #lines = new LineCounter()
  readonly #anchors = new Map<string, Node>()
  /** What each alias stood for when it was first met: a name may be given to another value further down. */
  readonly #targets = new Map<Node, Node>()
  /** Nodes that are being read: an alias to one of them would never end. */
  readonly #open = new Set<Node>()
  #nodes = 0
  #aliases = 0
  #expanding = false
  #failed = false

  constructor(text: string, file: string, findings: Findings) {
    this.#text = text
    this.#file = file
    this.#findings = findings
    // Counted here: in a broken text the parser passes over some line breaks, and places behind them would be wrong.
    for (let at = -1; ; ) {
      this.#lines.addNewLine(at + 1)
      at = text.indexOf('\n', at + 1)
      if (at === -1) break
    }
  }

  read(): SourceNode | null {
    const document = withoutStacks(() =>
      parseDocument(this.#text, {
        version: '1.2',
        schema: 'core',
        strict: true,
        stringKeys: true,
        // Compared one with each other, the keys of a large map take minutes; the reader below looks for duplicates itself.
        uniqueKeys: false,
        resolveKnownTags: false,
        merge: false,
        prettyErrors: false,
        // With `silent` a second document would pass unseen.
        logLevel: 'error',
      }),
    )
    for (const { code, pos } of withoutEchoes(document.errors, this.#lines)) this.#syntax(code, pos[0])
    for (const { code, pos } of document.warnings) this.#syntax(code, pos[0])
    if (document.directives?.yaml.version !== '1.2')
      this.#problem(
        0,
        'the file asks for another version of YAML',
        'take the %YAML line out: the file is read as YAML 1.2',
      )
    if (this.#failed) return null
    if (document.contents === null) {
      this.#problem(0, 'the file is empty', 'a policy begins with "version: 1"')
      return null
    }
    const node = this.#node(document.contents)
    return this.#failed ? null : node
  }

  #node(node: Node): SourceNode {
    const place = this.#place(node.range?.[0] ?? 0)
    const nothing: SourceNode = { kind: 'scalar', place, value: null, plain: true, origin: 'file' }
    if (++this.#nodes > MAX_NODES) {
      if (this.#nodes === MAX_NODES + 1)
        this.#problem(
          node.range?.[0] ?? 0,
          `more than ${MAX_NODES} values, aliases counted as often as they are used`,
          'no policy needs that',
        )
      return nothing
    }
    if (isAlias(node)) return this.#alias(node, nothing)
    if (node.anchor !== undefined && !this.#expanding) this.#anchors.set(node.anchor, node)
    this.#open.add(node)
    const result = this.#content(node) ?? nothing
    this.#open.delete(node)
    return result
  }

  #content(node: Node): SourceNode | null {
    const place = this.#place(node.range?.[0] ?? 0)
    if (isSeq(node)) return { kind: 'list', place, items: node.items.map(item => this.#node(item as Node)) }
    if (isMap(node)) return this.#map(node, place)
    if (!isScalar(node)) return null
    const value = node.value
    if (
      value !== null &&
      typeof value !== 'string' &&
      typeof value !== 'number' &&
      typeof value !== 'boolean'
    )
      return null
    return { kind: 'scalar', place, value, plain: node.type === 'PLAIN', origin: 'file' }
  }

  #map(
    node: Node & { readonly items: readonly { readonly key: unknown; readonly value: unknown }[] },
    place: Place,
  ): SourceNode {
    const entries = new Map<string, SourceEntry>()
    for (const pair of node.items) {
      const key = pair.key
      if (!isScalar(key) || typeof key.value !== 'string') {
        this.#problem(
          (key as Node | null)?.range?.[0] ?? node.range?.[0] ?? 0,
          'a key must be text',
          'put it in quotes, or look for a stray "?" or ":"',
        )
        continue
      }
      const offset = key.range?.[0] ?? 0
      const first = entries.get(key.value)
      if (first !== undefined) {
        const line = first.keyPlace.line
        this.#problem(
          offset,
          `"${key.value}" stands twice here, first in line ${line}`,
          'keep one of them: the other would be ignored',
        )
        continue
      }
      if (key.value === '__proto__') {
        this.#problem(offset, '"__proto__" cannot be a key', 'choose another name')
        continue
      }
      const keyPlace = this.#place(offset)
      const value = pair.value as Node | null
      const empty: SourceNode = { kind: 'scalar', place: keyPlace, value: null, plain: true, origin: 'file' }
      entries.set(key.value, { keyPlace, node: value === null ? empty : this.#node(value) })
    }
    return { kind: 'map', place, entries }
  }

  #alias(node: Node & { readonly source: string }, nothing: SourceNode): SourceNode {
    const offset = node.range?.[0] ?? 0
    const target = this.#targets.get(node) ?? this.#anchors.get(node.source)
    if (target === undefined)
      this.#problem(
        offset,
        `nothing above is marked &${node.source}`,
        `put &${node.source} before the value that *${node.source} stands for, or quote the text`,
      )
    else if (this.#open.has(target))
      this.#problem(
        offset,
        `*${node.source} stands inside the value that it stands for`,
        'write the value out',
      )
    else if (++this.#aliases === MAX_ALIASES + 1)
      this.#problem(
        offset,
        `more than ${MAX_ALIASES} aliases`,
        'write some values out; settings that routes share belong to the API or to defaults',
      )
    else if (this.#aliases <= MAX_ALIASES) {
      this.#targets.set(node, target)
      const outer = this.#expanding
      this.#expanding = true
      const result = this.#node(target)
      this.#expanding = outer
      return result
    }
    return nothing
  }

  #syntax(code: ErrorCode, offset: number): void {
    const { message, hint } = wordsFor(code)
    // `${` opens a map inside brackets; that is seldom what was meant.
    const { col } = this.#lines.linePos(offset)
    // A bounded part of the line: there may be as many errors as characters.
    const written = this.#text.slice(offset - Math.min(col - 1, 100), offset + 20).split('\n', 1)[0] ?? ''
    const variable = written.indexOf('${')
    const quote = variable !== -1 && /[[{,]/.test(written.slice(0, variable))
    this.#problem(offset, message, quote ? `inside [ ] and { } write it in quotes: "${'$'}{NAME}"` : hint)
  }

  #problem(offset: number, message: string, hint: string): void {
    this.#failed = true
    this.#findings.problem(this.#place(offset), message, hint)
  }

  #place(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset)
    return { file: this.#file, line: Math.max(1, line), column: Math.max(1, col) }
  }
}

/** After one error the parser finds every following word misplaced, line by line; only the first of such a run tells something. */
function withoutEchoes(errors: readonly YAMLParseError[], lines: LineCounter): readonly YAMLParseError[] {
  let lastLine = Number.NEGATIVE_INFINITY
  return errors.filter(({ code, pos }) => {
    const { line } = lines.linePos(pos[0])
    const isEcho = line === lastLine || (code === 'UNEXPECTED_TOKEN' && line === lastLine + 1)
    lastLine = line
    return !isEcho
  })
}

/** The parser makes an Error of every mistake, up to one a character; the stack of each would take most of the time and memory. */
function withoutStacks<T>(work: () => T): T {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return work()
  } finally {
    Error.stackTraceLimit = limit
  }
}
