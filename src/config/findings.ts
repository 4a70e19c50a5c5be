import type { Place, Problem } from './problem.js'

/** So many are told; whoever mends a thousand can ask again, and a broken file cannot fill the log. */
const MOST_TOLD = 1000

/** Collects what is wrong and what deserves a look, so that one run reports everything. */
export class Findings {
  readonly #problems = new Map<string, Problem>()
  readonly #warnings = new Map<string, Problem>()
  #untold: Place | null = null

  /** `message` never holds a value that came from the environment or from a key file: it may be a secret. */
  problem(place: Place, message: string, hint: string): void {
    if (this.#problems.size < MOST_TOLD) add(this.#problems, place, message, hint)
    else this.#untold ??= place
  }

  warning(place: Place, message: string, hint: string): void {
    if (this.#warnings.size < MOST_TOLD) add(this.#warnings, place, message, hint)
  }

  get problems(): readonly Problem[] {
    const told = sorted(this.#problems)
    if (this.#untold === null) return told
    const message = `there are more problems than the ${MOST_TOLD} that are told`
    return [...told, { ...this.#untold, message, hint: 'mend these and look again' }]
  }

  get warnings(): readonly Problem[] {
    return sorted(this.#warnings)
  }
}

/** What is said of one place twice (an anchor used by two routes, a default that ten routes inherit) is said once. */
function add(to: Map<string, Problem>, { file, line, column }: Place, message: string, hint: string): void {
  const key = `${line}:${column} ${message}`
  if (!to.has(key)) to.set(key, { file, line, column, message, hint })
}

function sorted(findings: ReadonlyMap<string, Problem>): readonly Problem[] {
  return [...findings.values()].sort((a, b) => a.line - b.line || a.column - b.column)
}
