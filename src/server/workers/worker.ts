import cluster from 'node:cluster'
import { configurationOf } from '../../config/configuration-data.js'
import { type Logger, openLog } from '../../observe/logger.js'
import { Metrics } from '../../observe/metrics.js'
import type { Recorder } from '../../observe/recorder.js'
import { createDpop } from '../../sources/dpop.js'
import { serveOnAfterFaults } from '../faults.js'
import { createHouse } from '../house.js'
import { createService, type Service } from '../service.js'
import { askedBudgets } from './asked-budgets.js'
import { askedReplayStore } from './asked-replay-store.js'
import { Channel } from './channel.js'
import type { Beginning, Failure, OfPrimary, OfWorker } from './protocol.js'

/**
 * Questions to the primary at a time: used proofs that wait for their verdict, and requests for being counted. Proofs beyond
 * get `store_unavailable`; what is counted beyond is counted here.
 */
const MOST_OPEN = 10_000
/** Longest wait for the primary to hear that we are here. Milliseconds. */
const HELLO_MS = 10_000

/** What a worker has once it knows its policy. */
interface Work {
  readonly beginning: Beginning
  readonly log: Logger
  readonly metrics: Metrics
  readonly recorder: Recorder
  readonly service: Service
}

/** Serves requests with what the primary process sends, until that says otherwise or is gone. */
export function serveAsWorker(): void {
  let work: Work | null = null
  let swap: (() => void) | null = null
  let draining = false
  let finishing = false

  const present = (): Work => {
    if (work === null) throw new Error('asked before the beginning')
    return work
  }

  const channel = new Channel<OfPrimary, OfWorker>(
    (message, failed) => process.send?.(message, undefined, undefined, error => error && failed()),
    {
      begin: beginning =>
        attempt(() => {
          work = begin(beginning, channel, () => draining)
        }),
      open: async () => {
        const { service, beginning } = present()
        try {
          await service.listen(beginning.listen)
          return null
        } catch (error) {
          return failureOf(error)
        }
      },
      prepare: policy =>
        attempt(() => {
          const { service, log, metrics, recorder } = present()
          const next = configurationOf(policy)
          const commit = service.prepare(next)
          swap = () => {
            commit()
            recorder.flush()
            log.setLevel(next.settings.log.level)
            metrics.policyInUse(service.parts(), null)
          }
        }),
      commit: () => {
        swap?.()
        swap = null
        return true
      },
      cancel: () => {
        swap = null
        return true
      },
      state: () => present().service.conditions(),
      address: () => present().service.address(),
      metrics: () => {
        const { metrics, recorder } = present()
        recorder.flush()
        return metrics.snapshot()
      },
      drain: () => {
        draining = true
        present().service.announceEnd()
        return true
      },
      finish: () => {
        void finish()
        return true
      },
    },
    MOST_OPEN,
  )

  /** What is in flight ends, then the process. */
  async function finish(): Promise<void> {
    if (finishing) return
    finishing = true
    draining = true
    work?.service.announceEnd()
    await work?.service.finish()
    work?.recorder.flush()
    await work?.log.flush()
    process.exit()
  }

  process.on('message', message => channel.hear(message as Parameters<typeof channel.hear>[0]))
  process.on('disconnect', () => {
    channel.close()
    void finish()
  })
  // Node would end a worker at once when its primary is gone, and what is in flight with it.
  if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
  void channel.ask('hello', undefined, HELLO_MS)
}

function begin(
  beginning: Beginning,
  primary: Pick<Channel<OfPrimary, OfWorker>, 'ask'>,
  isDraining: () => boolean,
): Work {
  const { worker, version, seed, fixed } = beginning
  const configuration = configurationOf(beginning.policy)
  const log = openLog(configuration.settings.log.level, { worker })
  serveOnAfterFaults(log)
  const metrics = new Metrics(version)
  const openBudget = askedBudgets((question, deadlineMs) => primary.ask('budget', question, deadlineMs))
  const house = createHouse(log, metrics, isDraining, fixed.limits, openBudget)
  const replays = askedReplayStore((once, deadlineMs) => primary.ask('takeOnce', once, deadlineMs))
  const dpop = createDpop(replays, seed.nonceSecret)
  const service = createService(configuration, fixed, house, { via: seed.via, dpop, openBudget })
  service.start()
  metrics.policyInUse(service.parts(), null)
  return { beginning, log, metrics, recorder: house.recorder, service }
}

function attempt(action: () => void): Failure {
  try {
    action()
    return null
  } catch (error) {
    return failureOf(error)
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { message: 'unknown fault', code: null }
  const { code } = error as NodeJS.ErrnoException
  return { message: error.message, code: code ?? null }
}
