/** Time for background work, in milliseconds from an arbitrary start; it never goes back (unlike the time of day). */
export interface Clock {
  readonly now: () => number
  /** Calls `run` once after `ms`. Returns what calls it off. Does not keep the process alive. */
  readonly after: (ms: number, run: () => void) => () => void
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
