import { formatProblem, type Problem } from '../config/problem.js'
import type { Configuration } from '../config/settings.js'
import type { Logger } from '../observe/logger.js'
import type { Metrics } from '../observe/metrics.js'
import type { FileWatch } from './watch-files.js'

export interface ReloadOptions {
  readonly load: () => Promise<Configuration | readonly Problem[]>
  /** Builds a whole new gate and swaps it in; throws or rejects, with everything as it was, when it cannot. */
  readonly use: (configuration: Configuration) => void | Promise<void>
  readonly hashInUse: () => string
  readonly log: Logger
  readonly metrics: Pick<Metrics, 'reloaded'>
  readonly watch: Pick<FileWatch, 'tried'>
}

/** What made a reload happen, for the log. `retry`: nothing; what was refused may be whole by now. */
export type ReloadCause = 'SIGHUP' | 'file' | 'admin' | 'retry'

/** Reads everything again; on any problem the gate in use serves on. Returns the problems, one line each. */
export type Reload = (cause: ReloadCause) => Promise<readonly string[]>

/** Problems that are said one by one; a broken file can have as many as it has lines. */
const MOST_PROBLEMS = 50

/** Reloads run one after another, in the order in which they are asked for; those that wait together are one. */
export function createReload(options: ReloadOptions): Reload {
  let last: Promise<unknown> = Promise.resolve()
  let waiting: Promise<readonly string[]> | null = null
  /** Why the last one was refused; empty when it was not. */
  let refusal: readonly string[] = []

  return cause => {
    if (waiting !== null) return waiting
    waiting = last.then(async () => {
      waiting = null
      refusal = await reload(cause, options, refusal)
      return refusal
    })
    last = waiting
    return waiting
  }
}

async function reload(
  cause: ReloadCause,
  { load, use, hashInUse, log, metrics, watch }: ReloadOptions,
  before: readonly string[],
): Promise<readonly string[]> {
  const problems = await attempt()
  watch.tried(problems.length === 0)
  // A refusal that was told already is told again to those who ask, and not every few seconds.
  if (problems.length === 0 || (cause === 'retry' && problems.join() === before.join())) return problems
  metrics.reloaded('failure')
  for (const problem of problems) log.error({ cause, problem }, 'reload refused; the policy before serves on')
  return problems

  async function attempt(): Promise<readonly string[]> {
    try {
      const loaded = await load()
      if (!('settings' in loaded)) return shortened(loaded.map(formatProblem))
      const hash = hashInUse()
      await use(loaded)
      metrics.reloaded('success')
      log.info({ cause, policy: loaded.hash.slice(0, 12), changed: loaded.hash !== hash }, 'reloaded')
      return []
    } catch (fault) {
      return [fault instanceof Error ? fault.message : 'unknown fault']
    }
  }
}

function shortened(problems: readonly string[]): readonly string[] {
  const more = problems.length - MOST_PROBLEMS
  return more > 0 ? [...problems.slice(0, MOST_PROBLEMS), `and ${more} more`] : problems
}
