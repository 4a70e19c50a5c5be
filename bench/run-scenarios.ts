/** The scenarios in which Postern and the anchors do the same. */
import type { Instance } from './instances.js'
import type { LoadArguments } from './load.js'
import { doing, say } from './progress.js'
import { MANY_TOKENS, type Scenario } from './scenarios.js'
import { measureAll, type Session } from './session.js'

/** More than a target can judge in a second, all new. */
const COLD_PER_SECOND = 12_000

/** Tokens that the cold scenario needs for each target, beside those of the warm ones. */
export function coldTokens(slices: number, sliceSeconds: number): number {
  const expectedPerSecond = 6_000
  return Math.ceil(slices * (sliceSeconds + 0.5) * expectedPerSecond)
}

export async function runScenario(
  session: Session,
  scenario: Scenario,
  all: readonly Instance[],
): Promise<void> {
  const { results } = session
  const instances = all.filter(({ target }) => scenario.targets?.includes(target.name) ?? true)
  for (const instance of instances) await warm(session, scenario, instance)
  /** Where each target is in the file of tokens: no token is shown twice to the same one. */
  const next = new Map<Instance, number>(instances.map(instance => [instance, MANY_TOKENS]))
  const argumentsFor = (instance: Instance): LoadArguments | null => {
    if (scenario.tokens !== 'new' || !instance.target.judgesTokens)
      return { ...scenario.load, count: scenario.tokens === 'many' ? MANY_TOKENS : 1 }
    const skip = next.get(instance) ?? MANY_TOKENS
    if (skip >= session.material.tokenCount) return null
    const count = Math.ceil(COLD_PER_SECOND * (session.options.sliceSeconds + 0.5))
    return { ...scenario.load, skip, count, 'each-once': true }
  }
  const summaries = await measureAll(session, scenario.name, instances, argumentsFor, {
    bodyBytes: scenario.bodyBytes,
    heard: (instance, { tokensUsed }) => next.set(instance, (next.get(instance) ?? 0) + tokensUsed),
  })
  say(`\n${scenario.name}: ${scenario.title}`)
  const own = [...summaries].find(([{ target }]) => target.name === 'postern')?.[1].cpuUs
  for (const [{ target }, summary] of summaries) {
    results.rows.push({ scenario: scenario.name, target: target.name, summary })
    const ratio = own === undefined ? '' : (own / summary.cpuUs).toFixed(2)
    const bad = summary.problems.length === 0 ? '' : `  WRONG: ${summary.problems.join(', ')}`
    say(
      `  ${target.title.padEnd(32)} ${summary.cpuUs.toFixed(1).padStart(10)} us  ratio ${ratio.padStart(5)}` +
        `  ${summary.requestsPerSecond.toFixed(0).padStart(6)}/s  quiet ${summary.quiet}/${summary.slices}${bad}`,
    )
  }
}

/**
 * Before the first scenario: compiles what a just-in-time compiler compiles, and has caches see the tokens that they shall know.
 */
export async function warmUp(session: Session, instances: readonly Instance[]): Promise<void> {
  for (const instance of instances) {
    doing(`warming up ${instance.target.name}`)
    const { judgesTokens } = instance.target
    const count = judgesTokens ? MANY_TOKENS : 1
    await session.load(instance, { connections: 64, path: '/api/small', count, requests: MANY_TOKENS })
    instance.emptyLog()
  }
}

/** The first requests of another kind are none of the figure. */
async function warm(session: Session, scenario: Scenario, instance: Instance): Promise<void> {
  const seconds = Math.min(1, session.options.sliceSeconds)
  await session.load(instance, { ...scenario.load, count: 1, seconds })
}
