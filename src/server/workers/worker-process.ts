import cluster from 'node:cluster'
import { fileURLToPath } from 'node:url'
import { Channel, type Send } from './channel.js'
import { endConnectionsUnderWay } from './connections-under-way.js'
import type { OfPrimary, OfWorker, Shared } from './protocol.js'
import { wholeLines } from './whole-lines.js'

/** Questions to one worker at a time; one that hangs is ended long before. */
const MOST_OPEN = 1_000

const MAIN = fileURLToPath(new URL('./worker-main.js', import.meta.url))

/** A process that serves requests, as the primary sees it. */
export interface WorkerProcess {
  /** Different for every process that there ever was. */
  readonly id: number
  readonly pid: number
  readonly ask: Channel<OfWorker, OfPrimary>['ask']
  /** Resolves when it hears questions. */
  readonly hears: Promise<void>
  /** Resolves with how it ended, after the last line of its log. */
  readonly ended: Promise<string>
  /** Gets no connection any more; those that it was given are its own. In the same turn as other calls of this kind. */
  readonly leave: () => void
  /** Ends it at once. */
  readonly kill: () => void
}

/**
 * Starts a worker process. Its environment is that of this process, which never changes; everything else that it must know
 * comes over the pipe between the two.
 * @param shared answers for what the workers have in common
 * @param writeLog gets whole lines
 */
export function startWorker(shared: Shared, writeLog: (lines: string) => void): WorkerProcess {
  cluster.schedulingPolicy = cluster.SCHED_RR
  cluster.setupPrimary({
    exec: MAIN,
    args: [],
    serialization: 'advanced',
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const worker = cluster.fork()
  const child = worker.process
  endConnectionsUnderWay(child)
  const send: Send = (message, failed) => child.send(message as object, error => error !== null && failed())
  let hears = () => {}
  const heard = new Promise<void>(resolve => {
    hears = resolve
  })
  const hello = (): true => {
    hears()
    return true
  }
  const channel = new Channel<OfWorker, OfPrimary>(send, { ...shared, hello }, MOST_OPEN)
  child.stdout?.setEncoding('utf8').on('data', wholeLines(writeLog))
  worker.on('message', message => channel.hear(message))
  for (const event of ['disconnect', 'exit']) child.once(event, () => channel.close())
  const ended = new Promise<string>(resolve => {
    // A process that could not be started never closes. Other faults, such as those of a pipe to one that has just died, come before its end.
    worker.on('error', error => child.pid === undefined && resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
  return {
    id: worker.id,
    pid: child.pid ?? 0,
    ask: (kind, body, deadlineMs) => channel.ask(kind, body, deadlineMs),
    hears: heard,
    ended,
    leave: () => worker.disconnect(),
    kill: () => child.kill('SIGKILL'),
  }
}
