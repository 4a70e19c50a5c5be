import { USUAL } from '../kinds.js'
import type { Scenario } from '../scenario.js'

/** Between two looks of the load balancer at an instance. */
const LOOK_MS = 200
/** Kubernetes kills after this time. */
const KILL_MS = 30_000

export const DRAIN: Scenario = {
  name: 'drain',
  fault:
    'SIGTERM under load, while a second instance takes over: new connections go there once the first says by /readyz that it is unready. Then the next, and so on.',
  allowance: 'Nothing. Every instance ends with exit code 0 before Kubernetes would kill it.',
  prepare: async () => ({
    policy: {},
    kinds: USUAL,
    explains: () => false,
    disturb: async stage => {
      while (!stage.isOver()) {
        const next = await stage.startAnother()
        await stage.pause(500)
        const old = stage.sidecar
        old.child.kill('SIGTERM')
        await stage.expect('it was not unready after SIGTERM', async () => {
          const isUnready = (await old.admin('/readyz'))?.status === 503
          if (!isUnready) await new Promise(resolve => setTimeout(resolve, LOOK_MS))
          return isUnready
        })
        stage.sidecar = next
        const code = await old.ended(KILL_MS)
        if (code !== 0) stage.ledger.fault(`an instance ended with ${code}`)
      }
    },
  }),
}
