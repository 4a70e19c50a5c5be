import { renameSync, writeFileSync } from 'node:fs'
import { fileOf } from '../ground.js'
import { USUAL } from '../kinds.js'
import type { Scenario } from '../scenario.js'

const MIB = 1024 * 1024
const CALM_MS = 5000

/** As large as a policy may be. These take the longest to be refused, of some sixty that were tried. */
const BOMBS = ['['.padEnd(MIB - 1, ','), 'a: 1\n'.repeat(MIB / 5), `[${'[],'.repeat(MIB / 3 - 1)}`]

export const POLICY_BOMB: Scenario = {
  name: 'policy bomb',
  fault:
    'The policy is replaced by files of 1 MiB that take as long as can be to be refused, and comes back.',
  allowance: 'Nothing but time: requests wait while the file is read, see the slowest of them.',
  prepare: async ground => ({
    policy: {},
    kinds: USUAL,
    explains: () => false,
    disturb: async stage => {
      const file = fileOf(ground, 'policies.yaml')
      const write = (text: string) => {
        writeFileSync(`${file}.tmp`, text)
        renameSync(`${file}.tmp`, file)
      }
      const refused = () => stage.sidecar.metric('postern_reload_total{result="failure"}')
      for (let round = 0; !stage.isOver(); round++) {
        const before = await refused()
        write(BOMBS[round % BOMBS.length] as string)
        await stage.expect('the bomb was not refused', async () => (await refused()) > before, 60_000)
        write(ground.policy())
        await stage.pause(CALM_MS)
      }
    },
  }),
}
