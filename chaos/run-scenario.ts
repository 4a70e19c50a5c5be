/** Runs one scenario: the sidecar, the load, the fault, and afterwards the counting. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { EchoUpstream } from './echo-upstream.js'
import { type Ground, prepareGround } from './ground.js'
import { leftOver, settledDescriptors } from './leaks.js'
import { Ledger } from './ledger.js'
import { Dialler, Load, type Seat } from './load.js'
import type { Drill, Scenario, Stage } from './scenario.js'
import { Sidecar } from './sidecar.js'
import { lastHalf, MIB, mib, type Sample, slope } from './trend.js'
import { Wallet } from './wallet.js'

const EXPECT_MS = 10_000
/** Below this the trend of RSS says nothing. Seconds. */
const LEAST_FOR_TREND = 60
/**
 * What the live heap may grow by from half time to the end: caches that still fill took up to 0.7 MiB, and of the 20,000 requests
 * and more of half a minute this is 200 bytes each, less than anything that keeps one. Bytes.
 */
const MOST_GROWTH = 4 * MIB

export interface RunOptions {
  readonly seconds: number
  readonly connections: number
  /** Called every second, with words for people. */
  readonly onProgress?: (words: string) => void
  /** How long connections may take to end when the load has ended. */
  readonly leakMs?: number
  /** Makes the upstream lie, for tests of the harness itself. */
  readonly sabotage?: (upstream: EchoUpstream) => void
}

/** Heap of the first process after a full collection, in bytes: with the load at half time and at its end, and when it is over. */
export interface LiveHeap {
  readonly half: number
  readonly end: number
  readonly after: number
}

export interface Result {
  readonly name: string
  readonly requests: number
  readonly wrong: number
  readonly lost: number
  readonly explained: number
  readonly retried: number
  /** Milliseconds. */
  readonly slowest: number
  readonly leaked: number
  /** MiB a minute in the last half; null where it says nothing. */
  readonly rssGrowth: number | null
  /** null where another process took over. */
  readonly heap: LiveHeap | null
  readonly verdict: 'passed' | 'failed'
  readonly notes: readonly string[]
}

export async function runScenario(scenario: Scenario, options: RunOptions): Promise<Result> {
  const ground = await prepareGround()
  try {
    return await perform(scenario, ground, options)
  } finally {
    await ground.close()
  }
}

/** The result of a scenario that could not be run to its end. */
export function brokenOff({ name }: Scenario, fault: Error): Result {
  const none = { requests: 0, wrong: 0, lost: 0, explained: 0, retried: 0, slowest: 0, leaked: 0 }
  return { name, ...none, rssGrowth: null, heap: null, verdict: 'failed', notes: [fault.message] }
}

async function perform(scenario: Scenario, ground: Ground, options: RunOptions): Promise<Result> {
  const drill = await scenario.prepare(ground)
  const ledger = new Ledger(drill.explains)
  ground.upstream.onArrival = (path, nonce) => ledger.arrived(path, nonce)
  options.sabotage?.(ground.upstream)
  const policyFile = ground.world.write('policies.yaml', ground.policy(drill.policy))
  const first = await Sidecar.start(policyFile)
  const sidecars = [first]
  try {
    const before = await settledDescriptors(first)
    const end = performance.now() + options.seconds * 1000
    const stage: Stage = {
      ground,
      ledger,
      sidecar: first,
      isOver: () => performance.now() > end,
      pause: ms => sleep(Math.max(0, Math.min(ms, end - performance.now()))),
      expect: async (words, holds, deadlineMs = EXPECT_MS) => {
        const deadline = performance.now() + deadlineMs
        while (!(await holds())) {
          if (performance.now() > deadline) return ledger.fault(words)
          await sleep(50)
        }
      },
      startAnother: async () => {
        const next = await Sidecar.start(policyFile)
        sidecars.push(next)
        return next
      },
      connect: () => dialler.dial(ground.identities[0] as Seat['identity']),
    }
    const loadOptions = {
      serverCaPem: ground.world.serverCa.certificatePem,
      target: () => stage.sidecar.port,
      ledger,
    }
    const dialler = new Dialler(loadOptions)
    const load = new Load(seatsOf(ground, drill, options.connections), loadOptions)
    const memory = sampleMemory(stage, scenario.name, options)
    await drill.disturb(stage)
    const { rss, half } = await memory
    const last = stage.sidecar
    // A process that was replaced on the way has no trend.
    const isSame = last === first
    const atEnd = isSame ? await heapOf(first) : null
    await load.stop()
    const after = isSame ? await heapOf(first) : null
    const leaked = await leftOver(last, isSame ? before : null, ground.upstream, options.leakMs)
    for (const { faults } of sidecars)
      if (faults > 0) ledger.fault(`${faults} faults of the code, see the log`)
    if (last.hasEnded) ledger.fault('the process ended')
    const heap = half === null || atEnd === null || after === null ? null : { half, end: atEnd, after }
    if (isSame && heap === null) ledger.fault('the process does not say what its heap is')
    if (heap !== null && heap.end - heap.half > MOST_GROWTH)
      ledger.fault(`the live heap grew from ${mib(heap.half)} to ${mib(heap.end)} MiB`)
    const hasTrend = isSame && options.seconds >= LEAST_FOR_TREND
    const isGood = ledger.requests > 0 && ledger.wrong + ledger.lost === 0 && leaked === 0
    const { requests, wrong, lost, explained, retried, slowest, notes } = ledger
    return {
      ...{ name: scenario.name, requests, wrong, lost, explained, retried, slowest, leaked, heap },
      rssGrowth: hasTrend ? (slope(lastHalf(rss)) * 60) / MIB : null,
      verdict: isGood ? 'passed' : 'failed',
      notes: isGood ? notes : [...notes, ...sidecars.flatMap(({ told }) => told.slice(0, 5))],
    }
  } finally {
    for (const sidecar of sidecars) sidecar.kill()
  }
}

/** Each connection has an owner of its own, so that an answer to a neighbour is seen. */
function seatsOf(ground: Ground, { kinds, guests }: Drill, count: number): readonly Seat[] {
  const { identities, world } = ground
  return Array.from({ length: count }, (_, place) => {
    if (guests !== undefined && place % 10 === 9) return guests(place)
    const identity = identities[place % identities.length] as Seat['identity']
    const wallet = new Wallet(world.issuer, `user-${place}`, identity, world.otherClient)
    const opaque = `opaque-token-of-place-${place}`
    ground.admitOpaque(opaque, wallet.subject, identity)
    return { identity, wallet, opaque, kinds }
  })
}

/** Heap after a full collection, in bytes; null when the process is gone. */
function heapOf(sidecar: Sidecar): Promise<number | null> {
  return sidecar.live().then(
    ({ heap }) => heap,
    () => null,
  )
}

/** Looks every second until the stage is over. */
async function sampleMemory(stage: Stage, name: string, { seconds, onProgress }: RunOptions) {
  const { sidecar: first } = stage
  const start = performance.now()
  const rss: Sample[] = []
  let half: number | null = null
  let isHalf = false
  while (!stage.isOver()) {
    await stage.pause(Math.min(1000, (seconds * 1000) / 4))
    const at = (performance.now() - start) / 1000
    rss.push({ at, value: stage.sidecar.rss() })
    if (!isHalf && at >= seconds / 2) {
      isHalf = true
      half = await heapOf(first)
    }
    const { requests, wrong, lost } = stage.ledger
    onProgress?.(`${name} ${at.toFixed(0)}/${seconds} s  ${requests} requests, ${wrong} wrong, ${lost} lost`)
  }
  return { rss, half }
}
