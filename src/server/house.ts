import { randomBytes } from 'node:crypto'
import type { Limits } from '../config/settings.js'
import { createFailures } from '../gate/failures.js'
import type { House } from '../gate/gate.js'
import { Places } from '../gate/places.js'
import type { Logger } from '../observe/logger.js'
import type { Metrics } from '../observe/metrics.js'
import { Recorder } from '../observe/recorder.js'
import type { OpenBudget } from '../sources/budget.js'

/** Seconds since the epoch; the clock of everything that is judged. */
export const now = () => Date.now() / 1000

/** The budget of failed authentications, among those of the policy's rates. */
export const FAILURES = 'failures'

/** What a process offers to requests. */
export function createHouse(
  log: Logger,
  metrics: Metrics,
  isDraining: () => boolean,
  { requests, failures }: Pick<Limits, 'requests' | 'failures'>,
  openBudget: OpenBudget,
): House {
  const stopwatch = () => performance.now() / 1000
  const { requests: count, perSeconds } = failures
  const budget = openBudget(FAILURES, { count, perSeconds })
  const recorder = new Recorder(log, metrics)
  // A second signal ends the process at once, but not without what it has done. First, because the sink writes its rest then, too.
  process.prependOnceListener('exit', () => recorder.flush())
  return {
    ...{ log, metrics, recorder, now, stopwatch, isDraining },
    places: new Places(requests),
    failures: createFailures(budget, perSeconds, stopwatch),
  }
}

/** What all processes of one sidecar have in common from its start to its end. */
export interface Seed {
  /** Pseudonym in the Via header. */
  readonly via: string
  /** Of the nonces for DPoP proofs. Goes to no file, log, argument or environment. */
  readonly nonceSecret: Buffer
}

export function newSeed(): Seed {
  return { via: `postern-${randomBytes(4).toString('hex')}`, nonceSecret: randomBytes(32) }
}
