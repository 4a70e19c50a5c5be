/** Programs that a run starts: each on cores of its own, and ended by its id however the run ends. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const START_DEADLINE_MS = 20_000
const STOP_DEADLINE_MS = 5_000

/** A program at work. */
export interface Started {
  readonly pid: number
  /** Its own id and those of its descendants. */
  readonly pids: () => number[]
  readonly hasEnded: () => boolean
  /** SIGTERM, and SIGKILL to whatever is left some seconds later. */
  readonly stop: () => Promise<void>
}

export interface Program {
  readonly command: string
  readonly args: readonly string[]
  /** Cores to run on, such as `0` or `0,2`. */
  readonly cores: string
  /** Where its output goes, at the end of what is there. */
  readonly log: string
  readonly environment?: Readonly<Record<string, string>>
}

const running = new Set<ChildProcess>()

function killAll(): void {
  for (const child of running) for (const pid of treeOf(child.pid as number)) kill(pid, 'SIGKILL')
}
process.once('exit', killAll)
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)
  process.once(signal, () => process.exit(code))

/** Starts a program; the caller waits for its port. */
export function start(program: Program): Started {
  const log = openSync(program.log, 'a')
  const child = spawn('taskset', ['-c', program.cores, program.command, ...program.args], {
    env: { ...process.env, ...program.environment },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  running.add(child)
  const ended = once(child, 'exit').finally(() => running.delete(child))
  ended.catch(() => {}) // `spawn` failed: hasEnded says it
  const hasEnded = () => !running.has(child)
  return {
    pid: child.pid ?? 0,
    pids: () => (hasEnded() ? [] : treeOf(child.pid as number)),
    hasEnded,
    stop: async () => {
      if (hasEnded()) return
      const pids = treeOf(child.pid as number)
      child.kill('SIGTERM')
      await Promise.race([ended, sleep(STOP_DEADLINE_MS, undefined, { ref: false })])
      for (const pid of hasEnded() ? [] : pids) kill(pid, 'SIGKILL')
      await ended
    },
  }
}

/** Runs a program to its end on some cores and returns what it printed; rejects when it fails. */
export async function run(command: string, args: readonly string[], cores: string): Promise<string> {
  const child = spawn('taskset', ['-c', cores, command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  let [output, problem] = ['', '']
  child.stdout.setEncoding('utf8').on('data', text => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    problem += text
  })
  const [code, signal] = (await once(child, 'close').finally(() => running.delete(child))) as [
    number | null,
    string | null,
  ]
  if (code !== 0) throw new Error(`${command} ended with ${code ?? signal}: ${problem || output}`)
  return output
}

/** Waits until something listens on the port. */
export async function listening(port: number, started: Started, log: string): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS
  while (!(await accepts(port))) {
    if (started.hasEnded() || Date.now() > deadline)
      throw new Error(
        `it does not listen; the end of its output:\n${readFileSync(log, 'utf8').slice(-1000).trim()}`,
      )
    await sleep(50)
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** The first line that a command prints about itself; null when there is no such command. */
export function versionOf(command: string, flag: string): string | null {
  try {
    const output = execFileSync('sh', ['-c', `PATH="$PATH:/usr/sbin:/sbin" exec ${command} ${flag} 2>&1`], {
      encoding: 'utf8',
    })
    return output.split('\n', 1)[0] as string
  } catch {
    return null
  }
}

function treeOf(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    const stat = existsSync(`/proc/${name}/stat`) ? readQuietly(`/proc/${name}/stat`) : ''
    const parent = /^.*\) . (\d+) /s.exec(stat)?.[1]
    if (parent !== undefined) parents.set(Number(name), Number(parent))
  }
  const tree = [root]
  for (const pid of tree) for (const [child, parent] of parents) if (parent === pid) tree.push(child)
  return tree
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // the process ended meanwhile
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // it ended by itself
  }
}
