import { mutate } from './mutate.js'
import { Random } from './random.js'
import { BrokenPromise, type Target } from './target.js'

export interface Find {
  readonly input: string
  readonly what: string
}

export interface Run {
  readonly inputs: number
  /** Inputs whose outcome was new; without those that the run began with. */
  readonly kept: readonly string[]
  readonly outcomes: ReadonlySet<string>
  readonly finds: readonly Find[]
}

export interface RunOptions {
  readonly target: Target
  readonly seed: number
  /** Inputs to begin with. */
  readonly corpus: readonly string[]
  /** Asked before each input. */
  readonly goesOn: (inputs: number) => boolean
  readonly onFind?: (find: Find) => void
}

/** The run ends at so many finds: one mistake is found in many ways. */
const MOST_FINDS = 5
/** Between two pauses, so that signals and timers are heard. */
const INPUTS_AT_A_TIME = 64
/** Of a slow input the least of so many times counts: the machine has other work. */
const TIMINGS = 3
const SLOW = 'find: slow'

/**
 * Gives a target one input after the other: from its grammar, or by small changes of inputs whose outcome was new. The same
 * seed, corpus and number of inputs make the same run.
 */
export async function run(options: RunOptions): Promise<Run> {
  const { target, seed, corpus, goesOn, onFind } = options
  const random = new Random(seed)
  const pool = [...corpus]
  const kept: string[] = []
  const outcomes = new Set<string>()
  const finds: Find[] = []
  let inputs = 0
  const found = (find: Find) => {
    finds.push(find)
    onFind?.(find)
  }
  for (const input of corpus) {
    const { outcome, find } = await tryInput(target, input)
    if (find !== null && !outcomes.has(outcome)) found({ input, what: find })
    outcomes.add(outcome)
  }
  while (finds.length < MOST_FINDS && goesOn(inputs)) {
    const input = nextInput(random, target, pool)
    const { outcome, find } = await tryInput(target, input)
    inputs++
    const isNew = !outcomes.has(outcome)
    outcomes.add(outcome)
    if (find !== null) {
      if (isNew) found({ input: await shrink(target, input, outcome), what: find })
    } else if (isNew) {
      pool.push(input)
      kept.push(input)
    }
    if (inputs % INPUTS_AT_A_TIME === 0) await new Promise(resolve => setImmediate(resolve))
  }
  return { inputs, kept, outcomes, finds }
}

function nextInput(random: Random, target: Target, pool: readonly string[]): string {
  const fresh = pool.length === 0 || random.oneIn(2) ? target.generate(random) : random.pick(pool)
  if (random.oneIn(4)) return fresh.slice(0, target.maxLength)
  const other = pool.length === 0 ? '' : random.pick(pool)
  return mutate(random, fresh, other, target.words).slice(0, target.maxLength)
}

/** Judges one input. `find` is what went wrong, or null. */
export async function tryInput(
  target: Target,
  input: string,
): Promise<{ readonly outcome: string; readonly find: string | null }> {
  let least = Number.POSITIVE_INFINITY
  let outcome = ''
  for (let timing = 0; timing < TIMINGS && least > target.maxMs; timing++) {
    const start = process.cpuUsage()
    try {
      outcome = await target.judge(input)
    } catch (error) {
      const what = error instanceof BrokenPromise ? error.message : `it threw ${String(error)}`
      return { outcome: `find: ${error instanceof BrokenPromise ? what : whereThrown(error)}`, find: what }
    }
    const { user, system } = process.cpuUsage(start)
    least = Math.min(least, (user + system) / 1000)
  }
  if (least <= target.maxMs) return { outcome, find: null }
  return { outcome: SLOW, find: `it took ${Math.round(least)} ms of at most ${target.maxMs} ms` }
}

/** Two faults of one line are one find, whatever their message says of the input. */
function whereThrown(error: unknown): string {
  return error instanceof Error
    ? ((error.stack ?? '').split('\n').find(line => line.includes('at ')) ?? error.name)
    : 'no Error'
}

/** Leaves out of a find what it does not need: halves first, then single characters. */
async function shrink(target: Target, input: string, outcome: string): Promise<string> {
  let left = input
  if (outcome === SLOW) return left // it would take as long again for each character
  for (
    let size = Math.ceil(left.length / 2), tries = 0;
    size >= 1 && tries < 2000;
    size = Math.floor(size / 2)
  )
    for (let at = 0; at < left.length && tries < 2000; tries++) {
      const without = left.slice(0, at) + left.slice(at + size)
      if ((await tryInput(target, without)).outcome === outcome) left = without
      else at += size
    }
  return left
}
