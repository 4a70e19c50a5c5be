/** What a scenario is: a fault, what it may cost, and how it is brought about. */
import type { PolicyParts } from '../test/support/postern.js'
import type { Client } from './client.js'
import type { Incident } from './exchange.js'
import type { Ground } from './ground.js'
import type { Kind } from './kinds.js'
import type { Ledger } from './ledger.js'
import type { Seat } from './load.js'
import type { Sidecar } from './sidecar.js'

export interface Scenario {
  readonly name: string
  /** For people: what is done to it. */
  readonly fault: string
  /** For people: exactly what the fault may cost. `explains` of the drill is the same in code. */
  readonly allowance: string
  /** Files beside the usual ones are written here, before the sidecar starts. */
  readonly prepare: (ground: Ground) => Promise<Drill>
}

/** A scenario on its ground. */
export interface Drill {
  readonly policy: Partial<PolicyParts>
  /** Of the usual clients. */
  readonly kinds: readonly Kind[]
  /** Clients of another sort: each has a place for every ten others. */
  readonly guests?: (place: number) => Seat
  /** Whether the fault accounts for a request that got no answer, or a 5xx. */
  readonly explains: (incident: Incident) => boolean
  /** Does the harm, again and again until the stage is over, and leaves all as it should be. */
  readonly disturb: (stage: Stage) => Promise<void>
}

/** What a scenario can see and do while the load is on. */
export interface Stage {
  readonly ground: Ground
  readonly ledger: Ledger
  readonly isOver: () => boolean
  /** Waits, but not beyond the end of the stage. */
  readonly pause: (ms: number) => Promise<void>
  /** Waits for something that has to come about in time; counts it as wrong when it does not. */
  readonly expect: (words: string, holds: () => Promise<boolean>, deadlineMs?: number) => Promise<void>
  /** The one that gets the connections. */
  sidecar: Sidecar
  /** Starts another one on the same policy file. */
  readonly startAnother: () => Promise<Sidecar>
  /** A connection beside those of the load; null when there is none to be had. */
  readonly connect: () => Promise<Client | null>
}

/** A change of a file is noticed within this time, also by a process that is busy. Milliseconds. */
export const NOTICE_MS = 3000
