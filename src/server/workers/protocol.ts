import type { ConfigurationData } from '../../config/configuration-data.js'
import type { Address, ListenerSettings } from '../../config/settings.js'
import type { Snapshot } from '../../observe/metrics.js'
import type { Condition } from '../admin.js'
import type { Seed } from '../house.js'
import type { BudgetQuestion } from './asked-budgets.js'

/** What a worker begins with. It comes over the pipe between the two processes alone: there are secrets in it. */
export interface Beginning {
  /** Number in the log: 1, 2, 3 and so on; that of a worker that ended goes to its replacement. */
  readonly worker: number
  readonly version: string
  readonly seed: Seed
  /** As at the start of the sidecar, whatever a later policy says: the port is open. */
  readonly listen: Address
  readonly fixed: ListenerSettings
  readonly policy: ConfigurationData
}

/** Why something could not be done, as far as `postern serve` tells it; null: it was done. */
export type Failure = { readonly message: string; readonly code: string | null } | null

/** What the primary asks of a worker. */
export type OfWorker = {
  /** Makes the gate. */
  begin: (beginning: Beginning) => Failure
  /** Opens the port, or has its part of the connections from now on. */
  open: () => Failure | Promise<Failure>
  /** Makes another gate and keeps it ready. */
  prepare: (policy: ConfigurationData) => Failure
  /** Swaps to the gate that is ready. */
  commit: () => true
  /** Lets go of the gate that is ready. */
  cancel: () => true
  /** Conditions of readiness. */
  state: () => readonly Condition[]
  /** Where it listens. */
  address: () => Address
  metrics: () => Promise<Snapshot>
  /** The end is near: answers end their connections. */
  drain: () => true
  /** The notice is over: ends what is idle, and itself when all has ended. */
  finish: () => true
}

/** What the workers have in common, kept by the primary. */
export type Shared = Pick<OfPrimary, 'takeOnce' | 'budget'>

/** What a worker asks of the primary. */
export type OfPrimary = {
  /** Says that it hears questions. */
  hello: () => true
  /** As `ReplayStore.takeOnce`; a text says why the store is unavailable. */
  takeOnce: (once: { readonly key: string; readonly seconds: number }) => Promise<boolean | string>
  /** As `Budget.spend` or `Budget.wait`. */
  budget: (question: BudgetQuestion) => Promise<number | null>
}
