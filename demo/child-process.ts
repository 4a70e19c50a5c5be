/** One program of the demo, run as its own process: started, watched until it serves, and stopped for certain. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export type ChildOptions = {
  readonly name: string
  /** The script and its arguments, run by this same Node. */
  readonly script: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly folder: string
  /** Where its output goes; without one only the end is remembered. */
  readonly logFile?: string
}

export type Child = {
  readonly name: string
  readonly pid: number
  /** Settles when the process has ended, with how. */
  readonly ended: Promise<string>
  /** The end of what it wrote, for a message about its death. */
  lastWords(): string
  stop(): Promise<void>
}

/** Characters of output that are remembered. */
const rememberedOutput = 8 * 1024
/** Milliseconds from SIGTERM to SIGKILL. */
const stopGrace = 5000
/** Milliseconds between two looks whether a process serves yet. */
const pollInterval = 50

export function startChild(options: ChildOptions): Child {
  const { name, script, environment, folder, logFile } = options
  const process_ = spawn(process.execPath, script, {
    cwd: folder,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let words = ''
  const log: WriteStream | undefined = logFile ? createWriteStream(logFile, { mode: 0o600 }) : undefined
  const note = (text: string) => {
    words = (words + text).slice(-rememberedOutput)
    log?.write(text)
  }
  process_.stdout.setEncoding('utf8').on('data', note)
  process_.stderr.setEncoding('utf8').on('data', note)

  const ended = new Promise<string>(resolve => {
    process_.once('error', error => resolve(`could not start: ${error.message}`))
    // `close` comes after the last output, `exit` may not.
    process_.once('close', (code, signal) => {
      log?.end()
      resolve(signal ? `was ended by ${signal}` : `ended with exit code ${code}`)
    })
  })

  return {
    name,
    pid: process_.pid ?? -1,
    ended,
    lastWords: () => words.trim(),
    stop: () => stopProcess(process_, ended),
  }
}

async function stopProcess(process_: ChildProcess, ended: Promise<string>): Promise<void> {
  if (process_.pid === undefined || process_.exitCode !== null || process_.signalCode !== null) return
  process_.kill('SIGTERM')
  const timer = setTimeout(() => process_.kill('SIGKILL'), stopGrace)
  await ended
  clearTimeout(timer)
}

/**
 * Waits until the process serves; its death or the deadline (in milliseconds) is an error that says what it wrote, and
 * a stop that was asked for ends the wait at once.
 */
export async function waitUntilReady(
  child: Child,
  isReady: () => Promise<boolean>,
  deadlineMs: number,
  stop: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + deadlineMs
  let death: string | undefined
  child.ended.then(how => {
    death = how
  })
  while (!(await isReady())) {
    stop.throwIfAborted()
    if (death !== undefined) throw new Error(describeDeath(child, death))
    if (Date.now() > deadline) {
      throw new Error(`the ${child.name} is not ready after ${deadlineMs / 1000} s\n${child.lastWords()}`)
    }
    await sleep(pollInterval)
  }
}

export function describeDeath(child: Child, how: string): string {
  return `the ${child.name} ${how}\n${child.lastWords() || '(it wrote nothing)'}`
}
