/** How cost and memory grow: with connections, routes, tokens and workers. */
import type { Instance } from './instances.js'
import { placeOf } from './instances.js'
import { doing, say } from './progress.js'
import type { SizeRow } from './results.js'
import { MANY_TOKENS } from './scenarios.js'
import { measureAll, type Session, skip } from './session.js'
import { haproxy } from './targets/haproxy.js'
import { nginx } from './targets/nginx.js'
import { postern, posternProblem, type Variant } from './targets/postern.js'

const CONNECTIONS = [10, 100, 1_000, 10_000]
const ROUTES = [10, 100, 1_000, 10_000]
const TOKENS = [1, 1_000, 10_000, 100_000]
const MANY_MORE_TOKENS = 1_000_000
const WORKERS = [1, 2]
/** Requests a second over mostly idle connections. */
const IDLE_RATE = 200
const ONE = { connections: 64, path: '/api/small', count: 1 }
/** Enough for the compiler. */
const WARM_UP = { ...ONE, requests: MANY_TOKENS }

/** Tokens that `runTokens` needs. */
export function scaleTokens(large: boolean): number {
  return large ? MANY_MORE_TOKENS : Math.max(...TOKENS)
}

/** Memory by open connections, each in processes that have done nothing else. */
export async function runConnections(session: Session): Promise<void> {
  say('\nconnections: memory with so many open connections')
  for (const target of [postern({ suffix: '-connections' }), haproxy, nginx]) {
    const instance = await session.start(target)
    if (instance === null) continue
    for (const connections of CONNECTIONS) {
      doing(`connections: ${target.name}, ${connections}`)
      const load = { ...ONE, connections, rate: IDLE_RATE, seconds: 2 }
      const { open, pssKb } = await session.load(instance, load)
      const name = target.name.replace('-connections', '')
      session.results.connections.push({ target: name, connections, open, memoryMiB: pssKb / 1024 })
      say(
        `  ${name.padEnd(10)} ${String(open).padStart(6)} of ${connections}  ${(pssKb / 1024).toFixed(1)} MiB`,
      )
    }
    await instance.started.stop()
  }
}

/** The same request with more and more other routes beside its own. */
export async function runRoutes(session: Session): Promise<void> {
  await runVariants(
    session,
    'routes',
    ROUTES.map(routes => [routes, { suffix: `-routes-${routes}`, routes }]),
  )
}

/** Known tokens in turn, more and more of them; the last sizes are more than the cache holds. */
export async function runTokens(session: Session): Promise<void> {
  const instance = await session.start(postern({ suffix: '-tokens' }))
  if (instance === null) return
  await session.load(instance, WARM_UP)
  say('\ntokens: so many known tokens in turn')
  for (const size of session.options.large ? [...TOKENS, MANY_MORE_TOKENS] : TOKENS) {
    doing(`tokens: showing ${size}`)
    await session.load(instance, { ...ONE, count: size, requests: size })
    const load = { ...ONE, count: size }
    const summaries = await measureAll(session, `tokens ${size}`, [instance], () => load)
    for (const summary of summaries.values()) tell(session, { kind: 'tokens', size, summary })
  }
  await instance.started.stop()
}

/** One worker and two on the same cores. */
export async function runWorkers(session: Session): Promise<void> {
  const variants = WORKERS.map(workers => [workers, { suffix: `-workers-${workers}`, workers }] as const)
  for (const [, variant] of variants) {
    const problem = posternProblem(await placeOf(postern(variant), session.around), variant)
    if (problem === null) continue
    skip(session.results, `workers: the policy with ${variant.workers} of them does not load: ${problem}`)
    return
  }
  if (coreCount(session.options.cores) < 2)
    skip(
      session.results,
      'workers: two of them on one core show what they cost, not what they gain; for that, --cores 0,2 on a machine with three cores or more',
    )
  await runVariants(session, 'workers', variants)
}

/** Cores in a list such as `0,2`. */
export function coreCount(cores: string): number {
  return cores.split(',').length
}

async function runVariants(
  session: Session,
  kind: SizeRow['kind'],
  variants: readonly (readonly [size: number, variant: Variant])[],
): Promise<void> {
  const sizes = new Map<Instance, number>()
  for (const [size, variant] of variants) {
    const instance = await session.start(postern(variant))
    if (instance !== null) sizes.set(instance, size)
  }
  say(`\n${kind}: Postern with so many ${kind}`)
  for (const instance of sizes.keys()) await session.load(instance, WARM_UP)
  const summaries = await measureAll(session, kind, [...sizes.keys()], () => ONE)
  for (const [instance, summary] of summaries)
    tell(session, { kind, size: sizes.get(instance) ?? Number.NaN, summary })
  for (const { started } of sizes.keys()) await started.stop()
}

function tell({ results }: Session, row: SizeRow): void {
  results.sizes.push(row)
  const { cpuUs, requestsPerSecond, peakMiB, quiet, slices, problems } = row.summary
  const bad = problems.length === 0 ? '' : `  WRONG: ${problems.join(', ')}`
  say(
    `  ${String(row.size).padStart(8)}  ${cpuUs.toFixed(1).padStart(8)} us  ${requestsPerSecond.toFixed(0)}/s  peak ${peakMiB.toFixed(0)} MiB  quiet ${quiet}/${slices}${bad}`,
  )
}
