/** The real process, seen from outside: what it writes, how many sockets it holds, how much memory it takes. Linux only. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../test/support/free-port.js'
import { MAIN } from '../test/support/postern.js'
import { Inspector } from './inspector.js'

const START_MS = 30_000
/** Attempts to start one. */
const MOST_STARTS = 3
const MOST_TOLD = 200

/** What is in use once all garbage has been collected. Bytes. */
export interface Live {
  /** Of the heap of the first process. */
  readonly heap: number
  /** Of all processes. */
  readonly rss: number
}

// Nothing of ours outlives the harness.
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class Sidecar {
  readonly child: ChildProcess
  /** Warnings and errors, the first ones. */
  readonly told: string[] = []
  /** Faults of the code itself, with their stacks. */
  faults = 0
  #port = 0
  #adminPort = 0
  #inspectorUrl = ''

  private constructor(child: ChildProcess) {
    this.child = child
    running.add(child)
    child.once('exit', () => running.delete(child))
    child.stdout?.on('data', (chunk: Buffer) => this.#read(chunk))
  }

  /** Resolves when it is ready; rejects with its words when it does not start. */
  static async start(policyFile: string): Promise<Sidecar> {
    for (let attempt = 1; ; attempt++)
      try {
        return await Sidecar.#startOnce(policyFile)
      } catch (fault) {
        // Somebody else was given the port of the inspector meanwhile.
        const isTaken = fault instanceof Error && /inspector .* address already in use/.test(fault.message)
        if (!isTaken || attempt === MOST_STARTS) throw fault
      }
  }

  static async #startOnce(policyFile: string): Promise<Sidecar> {
    // Where its inspector will listen; for now none does, here or in the workers. Node takes no 0 here once there are workers.
    const args = [`--inspect-port=127.0.0.1:${await freePort()}`, MAIN, 'serve', '-c', policyFile]
    const sidecar = new Sidecar(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] }))
    let words = ''
    sidecar.child.stderr?.setEncoding('utf8').on('data', chunk => {
      words += chunk
    })
    const deadline = performance.now() + START_MS
    const until = async (isSo: () => boolean | Promise<boolean>): Promise<void> => {
      while (!(await isSo())) {
        if (sidecar.hasEnded || performance.now() > deadline) {
          sidecar.kill()
          throw new Error(`the sidecar did not start: ${words}`)
        }
        await sleep(20)
      }
    }
    await until(() => {
      const ports = /serving https:\/\/[^ ]*:(\d+), admin http:\/\/[^ ]*:(\d+)/.exec(words)
      if (ports !== null) [sidecar.#port, sidecar.#adminPort] = [Number(ports[1]), Number(ports[2])]
      return ports !== null
    })
    await until(() => sidecar.isReady())
    // Node opens its inspector at this signal.
    sidecar.child.kill('SIGUSR1')
    await until(() => {
      if (/inspector .* failed/.test(words)) {
        sidecar.kill()
        throw new Error(words)
      }
      sidecar.#inspectorUrl = /Debugger listening on (ws:\S+)/.exec(words)?.[1] ?? ''
      return sidecar.#inspectorUrl !== ''
    })
    return sidecar
  }

  /** With workers: all of them serve. */
  async isReady(): Promise<boolean> {
    return (await this.admin('/readyz'))?.status === 200
  }

  get port(): number {
    return this.#port
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** null when nobody answers. */
  async admin(path: string, method = 'GET'): Promise<{ status: number; text: string } | null> {
    // A connection of its own each time: one that is kept open would count as a descriptor of the sidecar.
    const asking = request({ host: '127.0.0.1', port: this.#adminPort, path, method, agent: false }).end()
    try {
      const [response] = (await once(asking, 'response')) as [IncomingMessage]
      return { status: response.statusCode ?? 0, text: await text(response) }
    } catch {
      return null
    }
  }

  /** Sum of all series of a metric; 0 when there is none. */
  async metric(name: string): Promise<number> {
    const page = (await this.admin('/metrics'))?.text ?? ''
    const values = page
      .split('\n')
      .filter(line => [' ', '{'].some(next => line.startsWith(`${name}${next}`)))
      .map(line => Number(line.slice(line.lastIndexOf(' '))))
    return values.reduce((sum, value) => sum + value, 0)
  }

  /** Processes that serve requests beside the first one. */
  workers(): readonly number[] {
    const pid = this.child.pid as number
    const children = attempt(() => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')) ?? ''
    return children.split(' ').filter(Boolean).map(Number)
  }

  /** Open file descriptors of all processes. */
  descriptors(): number {
    const counts = this.#pids().map(pid => attempt(() => readdirSync(`/proc/${pid}/fd`))?.length ?? 0)
    return counts.reduce((sum, count) => sum + count, 0)
  }

  /** Memory of all processes as it is, in bytes. */
  rss(): number {
    const statuses = this.#pids().map(pid => attempt(() => readFileSync(`/proc/${pid}/status`, 'utf8')) ?? '')
    const kib = statuses.map(status => Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0))
    return kib.reduce((sum, value) => sum + value, 0) * 1024
  }

  /** Has the first process collect all garbage, and looks what is left. Requests wait meanwhile. */
  live(): Promise<Live> {
    return Inspector.use(this.#inspectorUrl, async inspector => {
      await inspector.collectGarbage()
      return { heap: Number(await inspector.evaluate('process.memoryUsage().heapUsed')), rss: this.rss() }
    })
  }

  /** Runs a script in the first process, for tests of the harness itself. */
  async evaluate(script: string): Promise<void> {
    await Inspector.use(this.#inspectorUrl, inspector => inspector.evaluate(script))
  }

  /** The exit code; null when it had to be killed. */
  async ended(deadlineMs: number): Promise<number | null> {
    if (!this.hasEnded) await Promise.race([once(this.child, 'exit'), sleep(deadlineMs)])
    if (!this.hasEnded) this.kill()
    return this.child.exitCode
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }

  #pids(): readonly number[] {
    return [this.child.pid as number, ...this.workers()]
  }

  /** A line for each request would be dear to parse, so that whole pieces without a warning are passed over. */
  #read(chunk: Buffer): void {
    if (!/"level":"(?:warn|error)"/.test(chunk.toString('latin1'))) return
    for (const line of chunk.toString('utf8').split('\n')) {
      if (!/"level":"(?:warn|error)"/.test(line)) continue
      if (line.includes('"fault":')) this.faults++
      if (this.told.length < MOST_TOLD && !line.includes('"policy warning"')) this.told.push(line)
    }
  }
}

function attempt<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    return null // the process is gone
  }
}
