/** Sockets that outlive the load. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { EchoUpstream } from './echo-upstream.js'
import type { Sidecar } from './sidecar.js'

/** Longer than the idle connections of the sidecar to upstreams and issuers last. */
export const LEAK_MS = 20_000

/** Open descriptors of the process, once their number stands still. */
export async function settledDescriptors(sidecar: Sidecar): Promise<number> {
  for (let before = sidecar.descriptors(); ; ) {
    await sleep(500)
    const now = sidecar.descriptors()
    if (now === before) return now
    before = now
  }
}

/**
 * Sockets that are still there when all that may end by itself has ended: of the process, or at the upstream.
 * @param before descriptors before the load; null where this process has no such figure
 */
export async function leftOver(
  sidecar: Sidecar,
  before: number | null,
  upstream: EchoUpstream,
  leakMs = LEAK_MS,
): Promise<number> {
  const deadline = performance.now() + leakMs
  for (;;) {
    const more = before === null ? 0 : sidecar.descriptors() - before
    const left = Math.max(0, more, upstream.connections, await sidecar.metric('postern_connections'))
    if (left === 0 || performance.now() > deadline) return left
    await sleep(200)
  }
}
