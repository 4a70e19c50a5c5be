import type { Summary } from './measure.js'

/** A target in one of the scenarios of bench/scenarios.ts. */
export interface Row {
  readonly scenario: string
  readonly target: string
  readonly summary: Summary
}

/** A target at a fixed rate. */
export interface RateRow {
  readonly target: string
  /** own: 70 % of what this target can do. same: 70 % of what the slower one can. */
  readonly kind: 'own' | 'same'
  /** Requests a second that were sent. */
  readonly offered: number
  readonly summary: Summary
}

/** Memory of a target with so many open connections. */
export interface ConnectionsRow {
  readonly target: string
  readonly connections: number
  /** How many of them are open at the end. */
  readonly open: number
  readonly memoryMiB: number
}

/** Postern with so many routes, tokens or workers. */
export interface SizeRow {
  readonly kind: 'routes' | 'tokens' | 'workers'
  readonly size: number
  readonly summary: Summary
}

/** Everything that a run found out. */
export interface Results {
  readonly rows: Row[]
  readonly rates: RateRow[]
  readonly connections: ConnectionsRow[]
  readonly sizes: SizeRow[]
  /** What was left out, and why. */
  readonly skipped: string[]
}
