/**
 * The benchmark: `npm run bench`, `npm run bench:quick`. bench/README.md says how to read it. Exit codes: 0 ok, 1 a loss against
 * bench/record.json or wrong answers, 2 it could not be run.
 */
import { conditionsOf } from './conditions.js'
import type { Instance } from './instances.js'
import { type Options, readOptions, USAGE } from './options.js'
import { profile } from './profile.js'
import { say, startClock } from './progress.js'
import { GOALS, type Ratios, ratiosOf } from './ratios.js'
import { compare, type Run, readRecord, writeRecord } from './record.js'
import { writeReport } from './report.js'
import { runRate } from './run-rate.js'
import { coreCount, runConnections, runRoutes, runTokens, runWorkers, scaleTokens } from './run-scale.js'
import { coldTokens, runScenario, warmUp } from './run-scenarios.js'
import { MANY_TOKENS, OTHER_SCENARIOS, QUICK_SCENARIOS, SCENARIOS } from './scenarios.js'
import { openSession, type Session } from './session.js'
import { apache } from './targets/apache.js'
import { haproxy, haproxyCache } from './targets/haproxy.js'
import { httpProxy } from './targets/http-proxy.js'
import { nginx } from './targets/nginx.js'
import { postern } from './targets/postern.js'

const TARGETS = [postern(), nginx, haproxy, haproxyCache, apache, httpProxy]
const ALL_SCENARIOS: readonly string[] = [...SCENARIOS.map(({ name }) => name), ...OTHER_SCENARIOS]

function wantedScenarios({ scenarios, quick }: Options): readonly string[] {
  const wanted = scenarios ?? (quick ? QUICK_SCENARIOS : ALL_SCENARIOS)
  const unknown = wanted.filter(name => !ALL_SCENARIOS.includes(name))
  if (unknown.length > 0) throw new Error(`no scenario is called ${unknown.join(', ')}`)
  return wanted
}

function wantedTargets({ targets }: Options) {
  const unknown = targets?.filter(name => !TARGETS.some(target => target.name === name)) ?? []
  if (unknown.length > 0) throw new Error(`no target is called ${unknown.join(', ')}`)
  return TARGETS.filter(({ name }) => targets?.includes(name) ?? true)
}

function tokensNeeded(options: Options, wanted: readonly string[]): number {
  const cold = wanted.includes('cold') ? coldTokens(options.slices, options.sliceSeconds) : 0
  return Math.max(MANY_TOKENS + cold, wanted.includes('tokens') ? scaleTokens(options.large) : 0)
}

async function runAll(session: Session, wanted: readonly string[]): Promise<void> {
  const instances: Instance[] = []
  const shared = SCENARIOS.filter(({ name }) => wanted.includes(name))
  if (shared.length > 0 || wanted.includes('rate'))
    for (const target of wantedTargets(session.options)) {
      const instance = await session.start(target)
      if (instance !== null) instances.push(instance)
    }
  await warmUp(session, session.options.quick ? withoutSlowOnes(instances, 'many') : instances)
  for (const scenario of shared)
    await runScenario(
      session,
      scenario,
      session.options.quick ? withoutSlowOnes(instances, scenario.name) : instances,
    )
  if (wanted.includes('rate')) await runRate(session, instances)
  for (const { started } of instances) await started.stop()
  if (wanted.includes('connections')) await runConnections(session)
  if (wanted.includes('routes')) await runRoutes(session)
  if (wanted.includes('tokens')) await runTokens(session)
  if (wanted.includes('workers')) await runWorkers(session)
}

/** Showing Apache 10,000 tokens takes as long as all the rest of a quick run. */
function withoutSlowOnes(instances: readonly Instance[], scenario: string): readonly Instance[] {
  return scenario === 'one' ? instances : instances.filter(({ target }) => target.name !== 'apache')
}

function sayGoals(ratios: Ratios): void {
  say('\ngoals (Postern / anchor, lower is better)')
  for (const { ratio, text, most } of GOALS) {
    const found = ratios[ratio]
    if (found === undefined) continue
    const verdict = found.value <= most ? 'met' : 'NOT MET'
    say(
      `  ${verdict.padEnd(8)} ${found.value.toFixed(2).padStart(5)} of ${most.toFixed(2)}  ${text}${found.isCertain ? '' : ' (noisy)'}`,
    )
  }
}

/** Returns whether anything was lost. */
function sayComparison(record: Run | null, ratios: Ratios): boolean {
  if (record === null) {
    say('\nthere is no bench/record.json to compare with')
    return false
  }
  const comparisons = compare(record, ratios)
  const changes = comparisons.filter(({ verdict }) => verdict !== 'same')
  say(
    `\nagainst the record of ${record.conditions.date}: ${comparisons.length - changes.length} ratios the same within 10 %`,
  )
  for (const { ratio, before, now, verdict } of changes)
    say(`  ${verdict.padEnd(9)} ${ratio}: ${before.value.toFixed(2)}, now ${now.value.toFixed(2)}`)
  return changes.some(({ verdict }) => verdict === 'lost')
}

async function bench(options: Options): Promise<number> {
  startClock()
  const wanted = wantedScenarios(options)
  if (options.profile) {
    const name = options.scenarios?.[0] ?? 'many'
    const scenario = SCENARIOS.find(scenario => scenario.name === name)
    if (scenario === undefined) throw new Error(`scenario ${name} cannot be profiled`)
    await profile(await openSession(options, MANY_TOKENS * 4), scenario)
    return 0
  }
  const session = await openSession(options, tokensNeeded(options, wanted))
  await runAll(session, wanted)
  const { results } = session
  const ratios = ratiosOf(results, coreCount(options.cores))
  const run = { conditions: conditionsOf(options, TARGETS, results), ratios, results }
  sayGoals(ratios)
  const hasLost = sayComparison(readRecord(), ratios)
  const wrong = [...results.rows, ...results.rates, ...results.sizes].some(
    ({ summary }) => summary.problems.length > 0,
  )
  if (wrong) say('\nsome answers were wrong (see above); their ratios do not count')
  const isWhole = options.scenarios === null && options.targets === null && !options.quick
  if (isWhole && !wrong && (!hasLost || options.accept)) {
    writeRecord(run)
    writeReport(run, TARGETS)
    say('\nwrote bench/record.json and docs/performance.md')
  } else if (hasLost) say('\nlost more than 10 %: nothing is written; --accept makes this the record')
  return hasLost || wrong ? 1 : 0
}

try {
  const options = readOptions(process.argv.slice(2))
  if (options === null) process.stdout.write(USAGE)
  process.exit(options === null ? 0 : await bench(options))
} catch (error) {
  const usage = error instanceof TypeError && 'code' in error ? `\n\n${USAGE}` : ''
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}${usage}\n`)
  process.exit(2)
}
