/** Latency at a fixed rate: requests are sent when they are due, and a late answer delays no other request. */
import type { Instance } from './instances.js'
import { say } from './progress.js'
import type { RateRow } from './results.js'
import { MANY_TOKENS } from './scenarios.js'
import { measureAll, type Session } from './session.js'

const SHARE_OF_SATURATION = 0.7
/** So many times the slices of other scenarios: a latency swings more than a cost. */
const MORE_SLICES = 3
const LOAD = { connections: 64, path: '/api/small', count: MANY_TOKENS }

export async function runRate(session: Session, all: readonly Instance[]): Promise<void> {
  const longer = { ...session, options: { ...session.options, slices: MORE_SLICES * session.options.slices } }
  const instances = all.filter(({ target }) => target.name === 'postern' || target.name === 'haproxy')
  for (const instance of instances) await session.load(instance, { ...LOAD, requests: MANY_TOKENS })
  const saturation = await measureAll(session, 'rate: saturation', instances, () => LOAD)
  const most = new Map([...saturation].map(([instance, summary]) => [instance, summary.requestsPerSecond]))
  const least = Math.min(...most.values())
  say(`\nrate: latency at ${SHARE_OF_SATURATION * 100} % of saturation, from the moment a request is due`)
  for (const kind of ['own', 'same'] as const) {
    const offered = (instance: Instance) =>
      Math.round(SHARE_OF_SATURATION * (kind === 'own' ? (most.get(instance) ?? least) : least))
    const measured = await measureAll(longer, `rate: ${kind}`, instances, instance => ({
      ...LOAD,
      rate: offered(instance),
    }))
    for (const [instance, summary] of measured)
      tell(session, { target: instance.target.name, kind, offered: offered(instance), summary })
  }
}

function tell({ results }: Session, row: RateRow): void {
  results.rates.push(row)
  const { p50Us, p99Us, quiet, slices } = row.summary
  const of = row.kind === 'own' ? 'of its own' : "of the slower one's"
  say(
    `  ${row.target.padEnd(10)} ${String(row.offered).padStart(6)}/s (${of})  p50 ${p50Us} us  p99 ${p99Us} us  quiet ${quiet}/${slices}`,
  )
}
