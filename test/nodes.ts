/**
 * `npm run test:nodes [-- WORD ...]`: runs the tests that depend on the Node underneath (raw bytes, upstreams that break, paths, HTTP/2), or those
 * whose path has one of the words, on every major version that is supported. Ends with a table and `N passed, N failed`.
 *
 * NODE_BINARIES may name binaries, separated as in PATH; each is asked for its version. What it does not name, and this very Node
 * is not, is installed from npm's `node@N` into build/nodes/N.
 */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ROOT } from './support/root.js'

const MAJORS = [20, 22, 24, 26] as const
const DEFAULT_WORDS = ['wire/', 'upstream/', 'relaxed-paths', 'request/', 'http2']
const INSTALL_TIMEOUT_MS = 300_000

interface Binary {
  readonly path: string
  readonly version: string
}

interface Row {
  readonly name: string
  readonly passed: number
  readonly failed: number
  readonly seconds: number
  /** Why there are no results, or ''. */
  readonly problem: string
}

const run = promisify(execFile)
const say = (text: string) => process.stdout.write(`${text}\n`)

/** Rejects when there is no Node at the path. */
async function binaryAt(path: string): Promise<Binary> {
  const { stdout } = await run(path, ['--version'], { timeout: 10_000 })
  return { path, version: stdout.trim() }
}

function majorOf({ version }: Binary): number {
  return Number(/^v(\d+)\./.exec(version)?.[1])
}

/** The binaries that need no installation, by major version; what NODE_BINARIES names comes first. */
async function binariesAtHand(): Promise<ReadonlyMap<number, Binary>> {
  const named = (process.env.NODE_BINARIES ?? '').split(delimiter).filter(path => path !== '')
  const found = new Map<number, Binary>()
  for (const path of [...named, process.execPath]) {
    const binary = await binaryAt(path)
    if (!found.has(majorOf(binary))) found.set(majorOf(binary), binary)
  }
  return found
}

/** npm's package `node` is the official binary; its own version comes from the registry once, then from build/nodes. */
async function installed(major: number): Promise<Binary> {
  const directory = join(ROOT, 'build', 'nodes', String(major))
  const path = join(directory, 'node_modules', 'node', 'bin', 'node')
  if (!existsSync(path)) {
    say(`Node ${major}: installing node@${major} into build/nodes/${major}`)
    mkdirSync(directory, { recursive: true })
    const flags = ['--prefix', directory, '--no-save', '--no-audit', '--no-fund']
    await run('npm', ['install', ...flags, `node@${major}`], { timeout: INSTALL_TIMEOUT_MS })
  }
  return binaryAt(path)
}

/** Runs the tests with one Node, saying every line as it comes. */
async function testOn({ path, version }: Binary, words: readonly string[]): Promise<Row> {
  const started = performance.now()
  const child = spawn(path, [join(ROOT, 'build', 'test', 'run.js'), ...words], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => child.kill(signal))
  let last = ''
  createInterface({ input: child.stdout }).on('line', line => {
    last = line
    say(`${version}  ${line}`)
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const seconds = Math.round((performance.now() - started) / 1000)
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/.exec(last) ?? []
  if (passed === undefined || failed === undefined)
    return { name: version, passed: 0, failed: 1, seconds, problem: `ended with ${code} and no result` }
  const isHonest = (code === 0) === (failed === '0')
  return {
    ...{ name: version, passed: Number(passed), seconds },
    failed: Number(failed) + (isHonest ? 0 : 1),
    problem: isHonest ? '' : `ended with ${code}`,
  }
}

async function rowOf(
  major: number,
  atHand: ReadonlyMap<number, Binary>,
  words: readonly string[],
): Promise<Row> {
  try {
    return await testOn(atHand.get(major) ?? (await installed(major)), words)
  } catch (problem) {
    const [line = ''] = String(problem).split('\n')
    return { name: `v${major}`, passed: 0, failed: 1, seconds: 0, problem: line }
  }
}

async function main(words: readonly string[]): Promise<number> {
  const atHand = await binariesAtHand()
  const rows: Row[] = []
  for (const major of MAJORS) rows.push(await rowOf(major, atHand, words))
  say(`\n${'NODE'.padEnd(12)}${'PASSED'.padStart(8)}${'FAILED'.padStart(8)}${'SECONDS'.padStart(9)}`)
  for (const { name, passed, failed, seconds, problem } of rows)
    say(
      `${name.padEnd(12)}${String(passed).padStart(8)}${String(failed).padStart(8)}${String(seconds).padStart(9)}  ${problem}`.trimEnd(),
    )
  const sum = (pick: (row: Row) => number) => rows.reduce((total, row) => total + pick(row), 0)
  const failed = sum(row => row.failed)
  say(`${sum(row => row.passed)} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  const words = process.argv.slice(2)
  process.exitCode = await main(words.length > 0 ? words : DEFAULT_WORDS).catch((problem: unknown) => {
    say(`${problem}\n0 passed, 1 failed`)
    return 1
  })
}
