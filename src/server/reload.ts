import { formatProblem, type Problem } from '../config/problem.js'
import type { Configuration } from '../config/settings.js'
import type { Logger } from '../observe/logger.js'
import type { Metrics } from '../observe/metrics.js'

export interface ReloadOptions {
  readonly load: () => Promise<Configuration | readonly Problem[]>
  /** Builds a whole new gate and swaps it in; throws, with everything as it was, when it cannot. */
  readonly use: (configuration: Configuration) => void
  readonly hashInUse: () => string
  readonly log: Logger
  readonly metrics: Metrics
  readonly now: () => number
}

/** What made a reload happen, for the log. */
export type ReloadCause = 'SIGHUP' | 'file' | 'admin'

/** Reads everything again; on any problem the gate in use serves on. Returns the problems, one line each. */
export type Reload = (cause: ReloadCause) => Promise<readonly string[]>

/** Problems that are said one by one; a broken file can have as many as it has lines. */
const MOST_PROBLEMS = 50

/** Reloads run one after another; those asked for while one runs become one more. */
export function createReload(options: ReloadOptions): Reload {
  let running: Promise<readonly string[]> | null = null
  let next: Promise<readonly string[]> | null = null

  return cause => {
    if (running === null) return start(cause)
    next ??= running.then(() => {
      next = null
      return start(cause)
    })
    return next
  }

  function start(cause: ReloadCause): Promise<readonly string[]> {
    running = reload(cause, options).finally(() => {
      running = null
    })
    return running
  }
}

async function reload(cause: ReloadCause, { load, use, hashInUse, log, metrics, now }: ReloadOptions) {
  const refused = (all: readonly string[]) => {
    metrics.reloaded('failure', now())
    const more = all.length - MOST_PROBLEMS
    const problems = more > 0 ? [...all.slice(0, MOST_PROBLEMS), `and ${more} more`] : all
    for (const problem of problems)
      log.error({ cause, problem }, 'reload refused; the policy before serves on')
    return problems
  }
  try {
    const loaded = await load()
    if (!('settings' in loaded)) return refused(loaded.map(formatProblem))
    const before = hashInUse()
    use(loaded)
    metrics.reloaded('success', now())
    log.info({ cause, policy: loaded.hash.slice(0, 12), changed: loaded.hash !== before }, 'reloaded')
    return []
  } catch (fault) {
    return refused([fault instanceof Error ? fault.message : 'unknown fault'])
  }
}
