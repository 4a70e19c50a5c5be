import { setTimeout as sleep } from 'node:timers/promises'
import { type ConfigurationData, dataOf } from '../../config/configuration-data.js'
import type { Address, Configuration } from '../../config/settings.js'
import type { Logger } from '../../observe/logger.js'
import type { Snapshot } from '../../observe/metrics.js'
import type { Condition } from '../admin.js'
import { DEADLINE_MS, NOTICE_MS } from '../shutdown.js'
import { SILENCE } from './channel.js'
import type { Beginning, Failure, Shared } from './protocol.js'
import { shareOf } from './share.js'
import { hangs } from './vigil.js'
import { startWorker, type WorkerProcess } from './worker-process.js'

/** To load the code and say so; to make a gate, also of a large policy while the machine is busy. Milliseconds. */
const MAKE_MS = 30_000
/** To swap a gate that is ready, or to open the port. Milliseconds. */
const SWAP_MS = 10_000
/** For what operators ask; they get the rest without it. Milliseconds. */
const LOOK_MS = 1_000
/** How long a replacement may fetch keys before it gets connections all the same. Milliseconds. */
const READY_MS = 10_000
const READY_AGAIN_MS = 100
/** A worker that ends before this age may do so again at once. Milliseconds. */
const YOUNG_MS = 10_000
/** Waits after the first early end, the second and so on; doubled each time up to the last. Milliseconds. */
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 30_000
/** What a worker may take to end beyond its own deadline. Milliseconds. */
const GRACE_MS = 1_500

export interface FleetOptions {
  readonly workers: number
  readonly configuration: Configuration
  readonly common: Pick<Beginning, 'version' | 'seed'>
  readonly shared: Shared
  readonly log: Logger
  readonly writeLog: (lines: string) => void
  /** A worker has ended unasked, and its replacement is on its way. */
  readonly onEnd: (worker: WorkerProcess) => void
}

/** One worker process in its place. */
interface Member {
  readonly place: number
  readonly process: WorkerProcess
  /** It has its part of the connections. */
  isOpen: boolean
}

/** A worker that did not answer. It is ended, and replaced like any that ends. */
class Silent extends Error {}

/** The worker processes: started, replaced when they end, of one mind about the policy. */
export class Fleet {
  readonly #options: FleetOptions
  readonly #atStart: Pick<Beginning, 'listen' | 'fixed'>
  readonly #members = new Set<Member>()
  /** What every worker has, but for the moments of `adopt`. */
  #policy: ConfigurationData
  /** Number of the policy. */
  #generation = 0
  #adopting: Promise<void> | null = null
  #isStarted = false
  #isEnding = false

  constructor(options: FleetOptions) {
    const { workers, configuration } = options
    const share = shareOf(configuration, workers)
    const { listen, limits, http2 } = share.settings.server
    this.#options = options
    this.#atStart = { listen, fixed: { limits, http2 } }
    this.#policy = dataOf(share)
  }

  /** Starts all workers. Resolves with where they listen; rejects when one says that it cannot. */
  async start(): Promise<Address> {
    const places = Array.from({ length: this.#options.workers }, (_, index) => index + 1)
    await Promise.all(
      places.map(place => new Promise<void>((up, failed) => void this.#keep(place, up, failed))),
    )
    this.#isStarted = true
    for (const { process } of this.#open()) {
      const address = await process.ask('address', undefined, LOOK_MS)
      if (address !== SILENCE) return address
    }
    throw new Error('no worker says where it listens')
  }

  /**
   * Gives all workers another policy, or none. First each makes its gate of it; when all could, all swap. New connections are
   * distributed over the same pipe after the order to swap, so none that comes later meets the old policy. Rejects when the
   * policy cannot be used; then the one before serves on.
   */
  adopt(configuration: Configuration): Promise<void> {
    const adopting = this.#adopt(configuration).finally(() => {
      this.#adopting = null
    })
    this.#adopting = adopting.catch(() => {})
    return adopting
  }

  async #adopt(configuration: Configuration): Promise<void> {
    const policy = dataOf(shareOf(configuration, this.#options.workers))
    const answers = await this.#askEach(process => process.ask('prepare', policy, MAKE_MS))
    const willing = answers.filter(({ said }) => said === null).map(({ member }) => member)
    const refusal = answers.map(({ said }) => said).find(said => said !== null && said !== SILENCE)
    if (refusal !== undefined || willing.length === 0) {
      for (const { process } of willing) void process.ask('cancel', undefined, SWAP_MS)
      throw refusal === undefined ? new Silent('no worker could try the policy') : errorOf(refusal)
    }
    this.#policy = policy
    this.#generation += 1
    // All in one turn: no connection is handed to anybody in between.
    const swapped = await this.#askEach(process => process.ask('commit', undefined, SWAP_MS), willing)
    const silent = [...answers, ...swapped].filter(({ said }) => said === SILENCE)
    // They may have the old policy, which may allow what the new one does not.
    for (const { member } of silent) this.#end(member, 'does not answer to a new policy')
  }

  /** Readiness: that all workers are there and answer, and what they say of themselves. */
  async conditions(): Promise<readonly Condition[]> {
    const { workers } = this.#options
    const asked = await this.#askEach(process => process.ask('state', undefined, LOOK_MS))
    const answered = asked.map(({ said }) => said).filter(said => said !== SILENCE)
    const all = {
      name: 'workers',
      ok: answered.length === workers,
      detail: `${answered.length} of ${workers} serve`,
    }
    return [all, ...worstOf(answered)]
  }

  /** Asks all workers for their metrics. Resolves when they have answered, or had their time. */
  async metrics(
    heard: (id: number, snapshot: Snapshot) => void,
  ): Promise<{ readonly asked: number; readonly silent: number }> {
    const asked = await this.#askEach(async process => {
      const snapshot = await process.ask('metrics', undefined, LOOK_MS)
      // At once: of a worker that has ended since, nothing more may be heard.
      if (snapshot !== SILENCE) heard(process.id, snapshot)
      return snapshot
    })
    return { asked: asked.length, silent: asked.filter(({ said }) => said === SILENCE).length }
  }

  /** Unready by now, all workers get the notice; then they stop accepting, finish and end. Resolves when all have ended. */
  async drain(): Promise<void> {
    this.#isEnding = true
    for (const member of this.#members)
      if (member.isOpen) void member.process.ask('drain', undefined, SWAP_MS)
      else member.process.kill()
    await sleep(NOTICE_MS)
    // In one turn, and `leave` before `finish`: a connection is either given to a worker that still takes it, or to nobody.
    for (const { process } of this.#members) {
      process.leave()
      void process.ask('finish', undefined, SWAP_MS)
    }
    const ended = Promise.all([...this.#members].map(({ process }) => process.ended))
    await Promise.race([ended, sleep(DEADLINE_MS + GRACE_MS, undefined, { ref: false })])
    this.kill()
    await ended
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#isEnding = true
    for (const { process } of this.#members) process.kill()
  }

  #open(): readonly Member[] {
    return [...this.#members].filter(({ isOpen }) => isOpen)
  }

  #askEach<T>(
    question: (process: WorkerProcess) => Promise<T>,
    members = this.#open(),
  ): Promise<readonly { readonly member: Member; readonly said: T }[]> {
    return Promise.all(members.map(async member => ({ member, said: await question(member.process) })))
  }

  /** Keeps one place filled until the end. `up` and `failed` hear of the first worker that takes it. */
  async #keep(place: number, up: () => void, failed: (fault: Error) => void): Promise<void> {
    const { shared, writeLog, log, onEnd } = this.#options
    let early = 0
    while (!this.#isEnding) {
      const born = performance.now()
      const member: Member = { place, process: startWorker(shared, writeLog), isOpen: false }
      const { process } = member
      this.#members.add(member)
      this.#bringUp(member).then(up, (fault: Error) => {
        if (!(fault instanceof Silent)) failed(fault)
        this.#end(member, fault.message)
      })
      const how = await process.ended
      this.#members.delete(member)
      if (this.#isEnding) return
      log.error({ worker: place, pid: process.pid, how }, 'a worker ended; it is replaced')
      onEnd(process)
      early = performance.now() - born < YOUNG_MS ? early + 1 : 0
      const wait = early === 0 ? 0 : FIRST_WAIT_MS * 2 ** (early - 1)
      await sleep(Math.min(LONGEST_WAIT_MS, wait), undefined, { ref: false })
    }
  }

  /** From a process that starts to one that serves what all others serve. */
  async #bringUp(member: Member): Promise<void> {
    const { place, process } = member
    await Promise.race([process.hears, process.ended, sleep(MAKE_MS, undefined, { ref: false })])
    let generation = this.#generation
    const beginning = { ...this.#options.common, ...this.#atStart, worker: place, policy: this.#policy }
    done(await process.ask('begin', beginning, MAKE_MS))
    const born = performance.now()
    for (;;) {
      const waits = await this.#mayWait(process, born)
      if (this.#adopting !== null) await this.#adopting
      else if (generation !== this.#generation) {
        generation = this.#generation
        done(await process.ask('prepare', this.#policy, MAKE_MS))
        await process.ask('commit', undefined, SWAP_MS)
      } else if (waits) await sleep(READY_AGAIN_MS)
      else break
    }
    // In the same turn as the question whether it has the policy of the others: from here on it is asked like them.
    member.isOpen = true
    done(await process.ask('open', undefined, SWAP_MS))
    this.#options.log.info({ worker: place, pid: process.pid }, 'a worker serves')
    void hangs(process, () => !this.#members.has(member)).then(isHung => {
      if (isHung) this.#end(member, 'a worker hangs')
    })
  }

  /** A replacement without keys would refuse what the others serve: it waits for them, as long as there are others. */
  async #mayWait(process: WorkerProcess, born: number): Promise<boolean> {
    if (!this.#isStarted || this.#open().length === 0 || performance.now() - born > READY_MS) return false
    const said = await process.ask('state', undefined, LOOK_MS)
    return said === SILENCE || said.some(({ ok, forInformation }) => !ok && forInformation !== true)
  }

  #end({ place, process }: Member, reason: string): void {
    if (!this.#isEnding)
      this.#options.log.error({ worker: place, pid: process.pid, reason }, 'a worker is ended')
    process.kill()
  }
}

function done(answer: Failure | typeof SILENCE): void {
  if (answer === SILENCE) throw new Silent('a worker does not answer')
  if (answer !== null) throw errorOf(answer)
}

function errorOf({ message, code }: NonNullable<Failure>): Error {
  return Object.assign(new Error(message), code === null ? {} : { code })
}

/** Of each condition one, which holds when it does for all. */
function worstOf(said: readonly (readonly Condition[])[]): readonly Condition[] {
  const worst = new Map<string, Condition>()
  for (const condition of said.flat())
    if (worst.get(condition.name)?.ok !== false) worst.set(condition.name, condition)
  return [...worst.values()]
}
