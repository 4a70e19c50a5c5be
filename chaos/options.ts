/** Arguments of the commands, and the line that shows how far they are. */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const

/** A positive number; ends the process with words when it is something else. */
export function positive(name: string, text: string | undefined, usual: number): number {
  if (text === undefined) return usual
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  return usage(`--${name} takes a number above 0, not ${JSON.stringify(text)}`)
}

export function usage(words: string): never {
  process.stderr.write(`${words}\n`)
  process.exit(EXIT.usage)
}

type Known = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>['options']>

/** Options by name; unknown ones end the process with words, and `--help` with the help. */
export function readOptions(
  options: Known,
  help: string,
): Readonly<Record<string, string | boolean | undefined>> {
  const values = parsed({ ...options, help: { type: 'boolean' } })
  if (values.help === true) {
    process.stdout.write(help)
    process.exit(EXIT.ok)
  }
  // Descriptors and memory are read there.
  if (!existsSync('/proc/self/fd')) usage('this needs Linux: it looks into /proc')
  return values
}

function parsed(options: Known): Readonly<Record<string, string | boolean | undefined>> {
  try {
    return parseArgs({ options, strict: true }).values as Record<string, string | boolean | undefined>
  } catch (error) {
    return usage(`${(error as Error).message}\n--help lists the options`)
  }
}

/** Written over itself on a terminal; left out where nobody looks. */
export function showProgress(words: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\u001b[K${words}`)
}

/** A line that stays. */
export function say(words: string): void {
  if (process.stdout.isTTY) process.stdout.write('\r\u001b[K')
  process.stdout.write(`${words}\n`)
}
