import type { Findings } from './findings.js'
import { type NamedFiles, Unreadable } from './named-files.js'
import type { Place } from './problem.js'
import type { policySchema } from './schema.js'
import { holdsUnknown, keyPlace, nodeAt, type Path, type SourceNode, valuePlace } from './source-tree.js'
import type { Lenient, Validated } from './validate.js'

export type PolicyParts = Lenient<typeof policySchema>

/** A policy that is being checked: its valid parts, where they stand, the files they name, and what was found so far. */
export class Draft {
  readonly parts: PolicyParts
  readonly findings: Findings
  readonly files: NamedFiles
  /** Seconds since the epoch. */
  readonly now: number
  readonly #root: SourceNode
  readonly #isBroken: (path: Path) => boolean

  constructor(
    root: SourceNode,
    validated: Validated<typeof policySchema>,
    findings: Findings,
    files: NamedFiles,
    now: number,
  ) {
    this.#root = root
    this.#isBroken = validated.isBroken
    // The root of a policy that is no map is reported; its parts are all absent then.
    this.parts = validated.value ?? EMPTY
    this.findings = findings
    this.files = files
    this.now = now
  }

  /** The path is in the file, whether or not its value is valid. */
  stands(path: Path): boolean {
    return nodeAt(this.#root, path) !== null
  }

  /** Something at this path is wrong and reported: what is undefined there is not simply absent. */
  isBroken(path: Path): boolean {
    return this.#isBroken(path)
  }

  /** The value as the file has it, for a message; a value from the environment may be a secret. */
  isFromEnvironment(path: Path): boolean {
    const node = nodeAt(this.#root, path)
    return node === null || holdsUnknown(node) || (node.kind === 'scalar' && node.origin !== 'file')
  }

  /**
   * The bytes of a file that the value at `path` names; null when it cannot be read, and then it is reported. A name from the
   * environment that is no file is not repeated: a secret or a whole key may stand where its file was meant.
   */
  async readFile(name: string, path: Path, maxBytes?: number): Promise<Buffer | null> {
    const file = await this.files.read(name, maxBytes)
    if (!(file instanceof Unreadable)) return file
    const what = this.isFromEnvironment(path) ? 'the file that is named here' : name
    this.problem(path, `${what} ${file.reason}`, file.hint)
    return null
  }

  valuePlace(path: Path): Place {
    return valuePlace(this.#root, path)
  }

  keyPlace(path: Path): Place {
    return keyPlace(this.#root, path)
  }

  problem(path: Path, message: string, hint: string): void {
    this.findings.problem(this.valuePlace(path), message, hint)
  }

  problemAtKey(path: Path, message: string, hint: string): void {
    this.findings.problem(this.keyPlace(path), message, hint)
  }

  warning(path: Path, message: string, hint: string): void {
    this.findings.warning(this.valuePlace(path), message, hint)
  }
}

const EMPTY: PolicyParts = {
  version: undefined,
  server: undefined,
  trustedTerminators: undefined,
  admin: undefined,
  log: undefined,
  issuers: undefined,
  upstreams: undefined,
  defaults: undefined,
  apis: undefined,
}
