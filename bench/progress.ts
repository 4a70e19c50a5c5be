/** What a person sees while a run goes on: one line that changes on a terminal, lines that stay for results. */

const isTerminal = process.stderr.isTTY === true
let started = Date.now()

export function startClock(): void {
  started = Date.now()
}

export function secondsSoFar(): number {
  return (Date.now() - started) / 1000
}

/** A line that stays. */
export function say(text: string): void {
  clear()
  process.stdout.write(`${text}\n`)
}

/** What goes on right now; only on a terminal. */
export function doing(text: string): void {
  if (!isTerminal) return
  clear()
  process.stderr.write(`${secondsSoFar().toFixed(0).padStart(5)} s  ${text}`.slice(0, 110))
}

function clear(): void {
  if (isTerminal) process.stderr.write('\r\u001b[K')
}
