/**
 * `npm test [-- WORD ...]`: runs the compiled tests through tap, those whose path has one of the words or all. Prints a line
 * for each file and every failure, keeps the raw TAP in build/test-results.tap, and ends with `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { createWriteStream, existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ROOT } from './support/root.js'

const RESULTS = join(ROOT, 'build', 'test-results.tap')

/** What became of one test file. A test is an innermost subtest, or a file without any. */
export interface FileResult {
  readonly file: string
  passed: number
  failed: number
  skipped: number
  /** One text for each assertion that failed, with its diagnostics. */
  readonly failures: string[]
}

interface Subtest {
  readonly name: string
  isInnermost: boolean
}

const POINT = /^( *)(not )?ok \d+(?: - (.*?))?(?: # time=\S+)?$/
const DIRECTIVE = / # (?:SKIP|TODO)\b/i

/**
 * Reads the TAP that `tap run` writes, line by line.
 * @param onFile called with each file as it ends
 * @param files the paths that tap was given
 */
export function createTapReader(files: readonly string[], onFile: (result: FileResult) => void) {
  /** Open subtests by their depth; the file itself has depth 0. */
  let open: Subtest[] = []
  let result: FileResult = emptyResult()
  let diagnosed: { readonly end: string; readonly indent: number; readonly failure: number | null } | null =
    null
  let indentOfPoint = 0
  let failure: number | null = null

  function opened(depth: number, subtest: Subtest): void {
    for (const parent of open.slice(0, depth)) parent.isInnermost = false
    open = [...open.slice(0, depth), subtest]
  }

  function closed(depth: number, isOk: boolean): void {
    const subtest = open[depth]
    open = open.slice(0, depth)
    if (subtest?.isInnermost !== true) return
    if (isOk) result.passed++
    else result.failed++
  }

  function fileEnded(name: string, isOk: boolean): void {
    const file = files.find(file => file === name || file === open[0]?.name)
    // `timeout!` without a name of a file: the caller finds that the file never ended.
    if (file === undefined) return
    if (DIRECTIVE.test(name)) result.skipped++
    closed(0, isOk)
    // A crash, or a plan that was not kept, with every single test fine.
    if (!isOk && result.failed === 0) result.failed++
    onFile({ ...result, file })
    result = emptyResult()
  }

  return (line: string): void => {
    if (diagnosed !== null) {
      if (line === diagnosed.end) diagnosed = null
      else if (diagnosed.failure !== null)
        result.failures[diagnosed.failure] += `\n${line.slice(diagnosed.indent)}`
      return
    }
    if (/^ *---$/.test(line) && line.length - 3 === indentOfPoint + 2) {
      diagnosed = { end: `${' '.repeat(indentOfPoint + 2)}...`, indent: indentOfPoint, failure }
      return
    }
    const subtest = /^( *)# Subtest: (.*)$/.exec(line)
    if (subtest !== null) {
      opened((subtest[1] as string).length / 4, { name: subtest[2] as string, isInnermost: true })
      return
    }
    const point = POINT.exec(line)
    if (point === null) return
    const [, indent = '', not, name = ''] = point
    const depth = indent.length / 4
    const isOk = not === undefined
    indentOfPoint = indent.length
    failure = null
    if (depth === 0) fileEnded(name, isOk)
    else if (open[depth] !== undefined) closed(depth, isOk)
    else if (DIRECTIVE.test(name)) result.skipped++
    else if (!isOk) failure = result.failures.push([...open.map(({ name }) => name), name].join(' > ')) - 1
  }
}

function emptyResult(): FileResult {
  return { file: '', passed: 0, failed: 0, skipped: 0, failures: [] }
}

/** The compiled files of the tests whose source is there; what an older build left behind is not run. */
function testFiles(words: readonly string[]): string[] {
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .map(name => name.split('\\').join('/'))
    .filter(
      name => name.endsWith('.test.ts') && (words.length === 0 || words.some(word => name.includes(word))),
    )
    .map(name => `build/test/${name.replace(/\.ts$/, '.js')}`)
    .sort()
}

/** Whether tap was put together with other plugins than .taprc asks for, as it is after `npm ci`. */
function needsBuild(): boolean {
  const excluded = [...readFileSync(join(ROOT, '.taprc'), 'utf8').matchAll(/"!(@tapjs\/\w+)"/g)].map(
    ([, name]) => name,
  )
  try {
    const tap = createRequire(import.meta.url).resolve('tap')
    const built = readFileSync(createRequire(tap).resolve('@tapjs/test/test-built'), 'utf8')
    return excluded.some(name => built.includes(`${name}"`))
  } catch {
    return true
  }
}

/** Runs tap with this very Node. Resolves with its exit code; `onLine` hears its output. */
function runTap(args: readonly string[], onLine: (line: string) => void): Promise<number> {
  const child = spawn(process.execPath, [join(ROOT, 'node_modules', '.bin', 'tap'), ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  createInterface({ input: child.stdout }).on('line', onLine)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? 1))
  })
}

const say = (text: string) => process.stdout.write(`${text}\n`)

async function run(words: readonly string[]): Promise<number> {
  const files = testFiles(words)
  const missing = files.filter(file => !existsSync(join(ROOT, file)))
  for (const file of missing) say(`not compiled: ${file}`)
  const present = files.filter(file => !missing.includes(file))
  const total = { passed: 0, failed: missing.length, skipped: 0 }
  const ended = new Set<string>()
  let code = 0
  if (present.length > 0) {
    if (needsBuild()) code = await runTap(['build'], say)
    const raw = createWriteStream(RESULTS)
    const read = createTapReader(present, result => {
      ended.add(result.file)
      total.passed += result.passed
      total.failed += result.failed
      total.skipped += result.skipped
      const name = relative('build', result.file).replace(/\.js$/, '.ts')
      say(
        `${result.failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${result.passed} passed, ${result.failed} failed`,
      )
      for (const failure of result.failures) say(failure.replace(/^/gm, '     '))
    })
    if (code === 0)
      code = await runTap(['run', '--reporter=tap', ...present], line => {
        raw.write(`${line}\n`)
        read(line)
      })
    await new Promise(resolve => raw.end(resolve))
    for (const file of present.filter(file => !ended.has(file))) {
      say(
        `FAIL ${relative('build', file).replace(/\.js$/, '.ts')}: did not run to its end; what it said is in .tap/test-results/`,
      )
      total.failed++
    }
  }
  if (code !== 0 && total.failed === 0) total.failed = 1
  if (total.skipped > 0) say(`${total.skipped} skipped`)
  if (files.length === 0)
    say(`no test file has ${words.map(word => JSON.stringify(word)).join(' or ')} in its path`)
  say(`${total.passed} passed, ${total.failed} failed`)
  return total.failed === 0 && total.passed > 0 ? 0 : 1
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === realpathSync(process.argv[1]))
  process.exitCode = await run(process.argv.slice(2))
