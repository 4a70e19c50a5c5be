import type { Incident } from '../exchange.js'
import { USUAL } from '../kinds.js'
import type { Scenario } from '../scenario.js'

/** A request may have been sent on a dead connection before its client heard of that. Milliseconds. */
const NEWS_MS = 1000
/** Each worker in turn: one that ends within 10 s of its start again and again is replaced later and later. */
const REST_MS = 6000
const READY_MS = 20_000

export const WORKER_CRASH: Scenario = {
  name: 'worker crash',
  fault: 'Two workers; every 6 s, when both serve, one of them is killed with SIGKILL.',
  allowance:
    'Requests that were in flight on a connection when a worker was killed, or were sent on it within the second after: no answer, once. The other worker takes every new connection.',
  prepare: async () => {
    const kills: number[] = []
    return {
      policy: { workers: '2' },
      kinds: USUAL,
      explains: ({ sentAt, endedAt, reply }: Incident) =>
        reply.is === 'nothing' &&
        (reply.how === 'ended' || reply.how === 'reset') &&
        kills.some(at => sentAt <= at + NEWS_MS && endedAt >= at),
      disturb: async stage => {
        const { sidecar } = stage
        const bothServe = () => stage.expect('two workers do not serve', () => sidecar.isReady(), READY_MS)
        while (!stage.isOver()) {
          await stage.pause(REST_MS)
          await bothServe()
          // The elder one: the younger has hardly begun.
          const victim = sidecar.workers()[0] as number
          kills.push(performance.now())
          process.kill(victim, 'SIGKILL')
        }
        await bothServe()
      },
    }
  },
}
