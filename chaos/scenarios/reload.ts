import { lstatSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { mount } from '../../test/support/mounted-volume.js'
import type { PolicyParts } from '../../test/support/postern.js'
import { fileOf } from '../ground.js'
import { type Kind, plan, USUAL } from '../kinds.js'
import { NOTICE_MS, type Scenario } from '../scenario.js'
import { Timeline } from '../timeline.js'

const COLOURS = ['red', 'blue'] as const
type Colour = (typeof COLOURS)[number]

/** What is not whole stays so for longer than the sidecar waits before it looks. */
const BROKEN_MS = 500

/** Two policies that differ in what the wire shows, and in parts that make the sidecar build TLS and keys anew. */
function partsOf(colour: Colour): Partial<PolicyParts> {
  const apis = `  - name: Colour
    base: /colour
    security: public
    routes:
      GET /${colour}/{id}: {}
`
  return colour === 'red' ? { apis } : { apis, profile: 'fapi2', issuer: 'clockSkew: 20s' }
}

/** The first half, up to the middle of a bracket: what is left is no policy. */
function half(policy: string): string {
  return policy.slice(0, policy.indexOf('scopes: {', policy.length / 2) + 'scopes: {'.length)
}

/** A request for the route that one of the policies has. */
function colourKind(wanted: Colour, inUse: Timeline<Colour>): Kind {
  return {
    name: wanted,
    weight: 5,
    plan: ({ place, count }) =>
      plan({
        kind: wanted,
        path: `/colour/${wanted}/${place}-${count}`,
        statuses: (sentAt, endedAt) => {
          const possible = [...inUse.during(sentAt - NOTICE_MS, endedAt)]
          return new Set(possible.map(colour => (colour === wanted ? 200 : 404)))
        },
      }),
  }
}

export const RELOAD: Scenario = {
  name: 'reload',
  fault:
    'Every second the policy changes to the other of two versions: written in place, renamed into place, swapped as Kubernetes does it; after half a file, after a broken one, after none.',
  allowance:
    'Nothing. Of the two routes that only one version has, either answer is right for three seconds after a change, and only the new one after that.',
  prepare: async ground => {
    const inUse = new Timeline<Colour>('red')
    const ways = waysToWrite(fileOf(ground, 'policies.yaml'))
    return {
      policy: partsOf('red'),
      kinds: [...USUAL, ...COLOURS.map(colour => colourKind(colour, inUse))],
      explains: () => false,
      disturb: async stage => {
        for (let round = 0; !stage.isOver(); round++) {
          await stage.pause(1000)
          const next = COLOURS[(round + 1) % COLOURS.length] as Colour
          const { broken, write } = ways[round % ways.length] as Way
          const policy = ground.policy(partsOf(next))
          if (broken !== null) {
            broken(policy)
            await stage.pause(BROKEN_MS)
          }
          // Before it is written: the sidecar may be fast.
          inUse.set(next)
          write(policy)
          // Now and then it stays for so long that only the new answers are right.
          if (round % 4 === 3) await stage.pause(NOTICE_MS + 1000)
        }
        await stage.expect('a reload was counted', async () => {
          return (await stage.sidecar.metric('postern_reload_total')) > 0
        })
      },
    }
  },
}

interface Way {
  /** Leaves something that is no policy; null: it never does. */
  readonly broken: ((policy: string) => void) | null
  readonly write: (policy: string) => void
}

function waysToWrite(file: string): readonly Way[] {
  let revision = 0
  const inPlace = (policy: string) => writeFileSync(file, policy)
  const rename = (policy: string) => {
    writeFileSync(`${file}.tmp`, policy)
    renameSync(`${file}.tmp`, file)
  }
  const swap = (policy: string) => {
    revision++
    mount(dirname(file), { 'policies.yaml': policy }, revision)
    if (lstatSync(file).isSymbolicLink()) return
    symlinkSync(join('..data', 'policies.yaml'), `${file}.tmp`)
    renameSync(`${file}.tmp`, file)
  }
  return [
    { broken: null, write: inPlace },
    { broken: null, write: rename },
    { broken: null, write: swap },
    { broken: null, write: swap },
    { broken: policy => rename(half(policy)), write: inPlace },
    { broken: policy => inPlace(`${policy}oops: true\n`), write: rename },
    { broken: () => rmSync(file), write: inPlace },
  ]
}
