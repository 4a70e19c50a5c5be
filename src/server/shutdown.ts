import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../observe/logger.js'
import type { Listener } from './listener.js'

/**
 * Load balancers need a moment to see that this instance is unready before it stops accepting, also when it has
 * nothing to do just then: they may be about to send it something. Milliseconds.
 */
export const NOTICE_MS = 2_000
/** Requests that take longer are cut off; below the 30 s after which Kubernetes kills. Milliseconds. */
export const DEADLINE_MS = 25_000
const LOOK_MS = 50

/**
 * Ends the public side once the notice is over: no new connections, then the end of what is in flight. Resolves when no
 * connection is left or the deadline has passed. Requests are already handled as during a drain (`House.isDraining`).
 */
export async function finish(listener: Listener, log: Logger, endTunnels: () => void): Promise<void> {
  listener.stopAccepting()
  // Not before: a client that connects again at once should find another instance.
  endTunnels()
  const end = performance.now() + DEADLINE_MS
  while (listener.connections() > 0 && performance.now() < end) await sleep(LOOK_MS)
  if (listener.connections() > 0) log.warn({ connections: listener.connections() }, 'cut off at the deadline')
  listener.destroy()
}
