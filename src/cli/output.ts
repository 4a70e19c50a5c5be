import { styleText } from 'node:util'

/** Exit codes: 0 ok, 1 runtime failure, 2 usage, 78 invalid configuration (sysexits EX_CONFIG: do not restart). */
export const EXIT = { ok: 0, failure: 1, usage: 2, configuration: 78 } as const

/** Data, on stdout. */
export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
}

/** A message, on stderr. */
export function say(text: string): void {
  process.stderr.write(text.endsWith('\n') ? text : `${text}\n`)
}

/** What went wrong, and what to do about it. */
export function fail(what: string, ...hints: readonly string[]): void {
  say(`postern: ${what}`)
  for (const hint of hints) say(`    ${hint}`)
}

/** Words in a colour where a person looks at a terminal at the end of the stream; plain with NO_COLOR or into a pipe. */
export function coloured(
  colour: 'green' | 'red' | 'yellow' | 'dim',
  text: string,
  stream: NodeJS.WriteStream = process.stdout,
): string {
  return stream.isTTY && !process.env.NO_COLOR ? styleText(colour, text) : text
}

/** Columns aligned by their widest cell, two spaces apart. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length)
    })
  return rows
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
