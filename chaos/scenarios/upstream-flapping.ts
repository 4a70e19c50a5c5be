import { setTimeout as sleep } from 'node:timers/promises'
import type { Incident } from '../exchange.js'
import { USUAL } from '../kinds.js'
import type { Scenario } from '../scenario.js'
import { Timeline } from '../timeline.js'

/** The upstream is back, and yet: connections that it has reset are still found out. Milliseconds. */
const RECOVERY_MS = 1000

export const UPSTREAM_FLAPPING: Scenario = {
  name: 'upstream flapping',
  fault:
    'Every few seconds the upstream resets all connections and its port is closed for a second, or it resets each connection in the middle of the answer.',
  allowance:
    'Requests that were under way while the upstream was down, or within one second after: 502, 504, or an answer that breaks off. Refused requests are refused as ever.',
  prepare: async ({ upstream }) => {
    const isDown = new Timeline(false)
    return {
      policy: {},
      kinds: USUAL,
      explains: ({ sentAt, endedAt, reply }: Incident) =>
        isDown.during(sentAt - RECOVERY_MS, endedAt).has(true) &&
        (reply.is === 'nothing' ? reply.bytes > 0 : reply.status === 502 || reply.status === 504),
      disturb: async stage => {
        for (let round = 0; !stage.isOver(); round++) {
          await stage.pause(2000)
          isDown.set(true)
          if (round % 2 === 0) await upstream.stop()
          else upstream.mode = 'cut'
          // In full also at the end: a GET whose connection was reset is sent once more, and would find the port open again.
          await sleep(1000)
          if (round % 2 === 0) await upstream.start()
          else upstream.mode = 'well'
          isDown.set(false)
        }
      },
    }
  },
}
