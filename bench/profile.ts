/** `npm run bench -- --profile`: where the time of Postern goes in one scenario, by module and by function. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ROOT } from '../test/support/root.js'
import { say } from './progress.js'
import { MANY_TOKENS, type Scenario } from './scenarios.js'
import type { Session } from './session.js'
import { postern } from './targets/postern.js'

const SECONDS = 10
const WARM_UP_SECONDS = 5
const TOP = 30

interface CallFrame {
  readonly functionName: string
  readonly url: string
  /** From 0. */
  readonly lineNumber: number
  readonly columnNumber: number
}

interface ProfileNode {
  readonly id: number
  readonly callFrame: CallFrame
  readonly children?: readonly number[]
}

interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  /** Microseconds of the monotonic clock. */
  readonly startTime: number
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export async function profile(session: Session, scenario: Scenario): Promise<void> {
  const directory = join(session.options.work, 'profile')
  rmSync(directory, { recursive: true, force: true })
  const instance = await session.start(
    postern({ suffix: '-profile', nodeArguments: ['--cpu-prof', `--cpu-prof-dir=${directory}`] }),
  )
  if (instance === null) throw new Error('Postern did not start')
  const tokens = scenario.tokens === 'one' ? 1 : MANY_TOKENS
  const load = { ...scenario.load, count: tokens }
  if (scenario.tokens === 'many') await session.load(instance, { ...load, requests: MANY_TOKENS })
  await session.load(instance, { ...load, seconds: WARM_UP_SECONDS })
  const from = nowUs()
  const isCold = scenario.tokens === 'new'
  await session.load(instance, {
    ...(isCold ? { ...scenario.load, skip: MANY_TOKENS, count: 100_000, 'each-once': true } : load),
    seconds: SECONDS,
  })
  const to = nowUs()
  await instance.started.stop()
  const [file] = readdirSync(directory)
  if (file === undefined) throw new Error('node wrote no profile')
  const text = readFileSync(join(directory, file), 'utf8')
  say(`\nPostern in scenario ${scenario.name}, ${SECONDS} s of load; share of the time that it was not idle`)
  for (const line of digest(JSON.parse(text) as CpuProfile, from, to)) say(line)
  say(`\nthe profile itself: ${relative(ROOT, join(directory, file))}`)
}

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

/** Self time by module and by function, then whose it is among functions of our own. */
export function digest(cpu: CpuProfile, from: number, to: number): readonly string[] {
  const nodes = new Map(cpu.nodes.map(node => [node.id, node]))
  const parents = new Map(cpu.nodes.flatMap(({ id, children }) => (children ?? []).map(child => [child, id])))
  const own = new Map<number, number>()
  let at = cpu.startTime
  for (const [index, id] of cpu.samples.entries()) {
    const delta = cpu.timeDeltas[index] ?? 0
    at += delta
    if (at >= from && at <= to) own.set(id, (own.get(id) ?? 0) + delta)
  }
  const modules = new Map<string, number>()
  const functions = new Map<string, number>()
  const inclusive = new Map<string, number>()
  const charged = new Map<string, number>()
  const add = (to: Map<string, number>, key: string, us: number) => to.set(key, (to.get(key) ?? 0) + us)
  let all = 0
  for (const [id, us] of own) {
    const frame = nodes.get(id)?.callFrame
    if (frame === undefined || frame.functionName === '(idle)') continue
    all += us
    add(modules, moduleOf(frame), us)
    add(functions, nameOf(frame), us)
    const callers = new Set<string>() // recursion counts once
    for (let up: number | undefined = id; up !== undefined; up = parents.get(up)) {
      const caller = nodes.get(up)?.callFrame
      if (caller !== undefined && moduleOf(caller).startsWith('src/')) callers.add(nameOf(caller))
    }
    for (const name of callers) add(inclusive, name, us)
    const [nearest = 'node itself, called by nobody of src/'] = callers
    add(charged, nearest, us)
  }
  const table = (title: string, shares: ReadonlyMap<string, number>) => [
    `\n${title}`,
    ...[...shares]
      .sort(([, a], [, b]) => b - a)
      .slice(0, TOP)
      .map(([name, us]) => `  ${((100 * us) / all).toFixed(1).padStart(5)} %  ${name}`),
  ]
  return [
    ...table('self time by module', modules),
    ...table('self time by function', functions),
    ...table('time by the function of src/ that spent it, in itself or in code of others', charged),
    ...table('time with all that was called, functions of src/', inclusive),
  ]
}

function moduleOf({ url, functionName }: CallFrame): string {
  if (url === '') return functionName.startsWith('(') ? functionName : '(native)'
  if (url.startsWith('node:')) return url
  const path = fileURLToPath(url)
  const npm = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]
  if (npm !== undefined) return `npm:${npm}`
  return relative(ROOT, path).replace(/^dist\/(.*)\.js$/, 'src/$1.ts')
}

function nameOf(frame: CallFrame): string {
  const name = frame.functionName === '' ? '(anonymous)' : frame.functionName
  if (frame.url === '') return name
  return `${name}  ${moduleOf(frame)}:${sourceLine(frame)}`
}

const maps = new Map<string, SourceMap | null>()

/** dist/ has no source maps, and the same code in build/src/ has. */
function sourceLine({ url, lineNumber, columnNumber }: CallFrame): number {
  const path = url.startsWith('file:') ? relative(join(ROOT, 'dist'), fileURLToPath(url)) : '..'
  const file = join(ROOT, 'build', 'src', `${path}.map`)
  if (path.startsWith('..')) return lineNumber + 1
  if (!maps.has(file))
    maps.set(file, existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, 'utf8'))) : null)
  const entry = maps.get(file)?.findEntry(lineNumber, columnNumber)
  return (entry !== undefined && 'originalLine' in entry ? entry.originalLine : lineNumber) + 1
}
