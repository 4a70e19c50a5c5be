/** A position in a file; line and column count from 1. */
export interface Place {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** One thing that is wrong with a file: where, what, and what to do. */
export interface Problem extends Place {
  readonly message: string
  readonly hint: string
}

/** `policies.yaml:12:7 what is wrong` and the hint below, indented. */
export function formatProblem({ file, line, column, message, hint }: Problem): string {
  return `${file}:${line}:${column} ${message}${hint === '' ? '' : `\n    ${hint}`}`
}
