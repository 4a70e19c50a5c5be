import type { Incident } from '../exchange.js'
import { USUAL } from '../kinds.js'
import type { Scenario } from '../scenario.js'

/** A request may have been sent on a dead connection before its client heard of that. Milliseconds. */
const NEWS_MS = 1000

export const WORKER_CRASH: Scenario = {
  name: 'worker crash',
  fault: 'Two workers; every few seconds one of them is killed with SIGKILL.',
  allowance:
    'Requests that were in flight on a connection when a worker was killed, or were sent on it within the second after: no answer, once. For each kill one socket may stay behind in the primary: node:cluster never closes a connection that was being handed to the worker.',
  prepare: async () => {
    const kills: number[] = []
    return {
      policy: { workers: '2' },
      kinds: USUAL,
      explains: ({ sentAt, endedAt, reply }: Incident) =>
        reply.is === 'nothing' &&
        reply.how !== 'late' &&
        kills.some(at => sentAt <= at + NEWS_MS && endedAt >= at),
      mostLeft: () => kills.length,
      disturb: async stage => {
        const { sidecar } = stage
        for (let round = 0; !stage.isOver(); round++) {
          await stage.pause(3000)
          await stage.expect('two workers are at work', async () => sidecar.workers().length === 2)
          const victim = sidecar.workers()[round % 2]
          if (victim === undefined) continue
          kills.push(performance.now())
          process.kill(victim, 'SIGKILL')
        }
        await stage.expect('two workers are at work at the end', async () => sidecar.workers().length === 2)
      },
    }
  },
}
