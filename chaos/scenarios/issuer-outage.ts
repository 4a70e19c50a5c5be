import { ASKED_CACHE_MS, ASKED_TIMEOUT_MS } from '../ground.js'
import { askedKind, USUAL } from '../kinds.js'
import type { Scenario } from '../scenario.js'
import { Timeline } from '../timeline.js'

/** The circuit to the introspection endpoint stays open for 5 s, and then one question may fail by its time. */
const RECOVERY_MS = 5000 + ASKED_TIMEOUT_MS + 500
/** An answer of before the outage serves for as long as the cache keeps it. */
const MEMORY_MS = ASKED_CACHE_MS + ASKED_TIMEOUT_MS

const FAILURES = ['down', '500', 'hang'] as const

export const ISSUER_OUTAGE: Scenario = {
  name: 'issuer outage',
  fault:
    'For ten seconds at a time the endpoints for keys and introspection answer 500, do not answer at all, or refuse connections.',
  allowance:
    'Opaque tokens: 503 from the beginning of an outage until 7.5 s after it (the circuit breaker, and a question that runs into its timeout), 200 for no longer than the cache keeps it. JWTs of known keys: nothing.',
  prepare: async ({ world: { issuer }, introspection }) => {
    const isUp = new Timeline(true)
    const asked = askedKind((sentAt, endedAt) => {
      const statuses = new Set<number>()
      if (isUp.during(sentAt - MEMORY_MS, endedAt).has(true)) statuses.add(200)
      if (isUp.during(sentAt - RECOVERY_MS, endedAt).has(false)) statuses.add(503)
      return statuses
    })
    return {
      policy: { keys: `{ url: ${issuer.jwksUrl}, cooldown: 1s, refresh: 10s, ca: issuer-ca.pem }` },
      kinds: [...USUAL, asked],
      explains: () => false,
      disturb: async stage => {
        for (let round = 0; !stage.isOver(); round++) {
          const failure = FAILURES[round % FAILURES.length]
          await stage.pause(2000)
          isUp.set(false)
          issuer.failMode = failure === 'hang' ? 'hang' : '500'
          if (failure === 'down') await introspection.stop()
          else introspection.failMode = failure ?? null
          await stage.pause(10_000)
          issuer.failMode = null
          introspection.failMode = null
          if (failure === 'down') await introspection.reopen()
          isUp.set(true)
          await stage.pause(RECOVERY_MS)
        }
      },
    }
  },
}
