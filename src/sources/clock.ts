/** Time for background work, in milliseconds from an arbitrary start; it never goes back (unlike the time of day). */
export interface Clock {
  readonly now: () => number
  /** Calls `run` once after `ms`. Returns what calls it off. Does not keep the process alive. */
  readonly after: (ms: number, run: () => void) => () => void
}

/** The time of day as it goes on, in seconds since the epoch, when it is `now` at present: for work that waits before it needs it. */
export function timeFrom(now: number, clock: Clock): () => number {
  const since = clock.now()
  return () => now + (clock.now() - since) / 1000
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
