import { setTimeout as sleep } from 'node:timers/promises'
import { SILENCE } from './channel.js'
import type { WorkerProcess } from './worker-process.js'

/** Between two questions, and for an answer. Milliseconds. */
const BEAT_MS = 2_500
/** Questions without an answer after which a worker hangs for good: 30 s. Counted, because a machine that slept has slept whole. */
const MOST_MISSES = 6

/**
 * Resolves with true when the worker has answered nothing for half a minute, as one in an endless loop: it holds its
 * connections, and nobody can change its policy. Resolves with false when the worker is over.
 */
export async function hangs(
  worker: Pick<WorkerProcess, 'ask'>,
  isOver: () => boolean,
  beatMs = BEAT_MS,
): Promise<boolean> {
  let misses = 0
  while (misses < MOST_MISSES) {
    await sleep(beatMs, undefined, { ref: false })
    if (isOver()) return false
    misses = (await worker.ask('state', undefined, beatMs)) === SILENCE ? misses + 1 : 0
  }
  return !isOver()
}
