import { opensslVersion } from './load.js'
import { type Machine, machine } from './machine.js'
import type { Options } from './options.js'
import { versionOf } from './processes.js'
import { secondsSoFar } from './progress.js'
import type { Results } from './results.js'
import type { Target } from './targets/target.js'

/** Under what conditions figures were measured. */
export interface Conditions {
  /** Day of the run. */
  readonly date: string
  readonly minutes: number
  readonly machine: Machine
  readonly versions: Readonly<Record<string, string>>
  readonly algorithm: string
  readonly serverKey: string
  readonly cores: string
  readonly loadCores: string
  readonly slices: number
  readonly sliceSeconds: number
  /** Median share of time that the hypervisor took, and that others used on the cores of the targets. */
  readonly stolen: number
  readonly foreign: number
  readonly quietSlices: number
  readonly allSlices: number
}

export function conditionsOf(
  options: Options,
  targets: readonly Target[],
  { rows, rates }: Results,
): Conditions {
  const summaries = [...rows, ...rates].map(({ summary }) => summary)
  const median = (values: readonly number[]) =>
    [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
  return {
    date: new Date().toISOString().slice(0, 10),
    minutes: Math.round(secondsSoFar() / 60),
    machine: machine(),
    versions: {
      ...Object.fromEntries(targets.map(({ name, version }) => [name, version() ?? 'not installed'])),
      upstream: versionOf('nginx', '-v') ?? '',
      'load generator': opensslVersion(),
    },
    algorithm: options.algorithm,
    serverKey: options.serverKey,
    cores: options.cores,
    loadCores: options.loadCores,
    slices: options.slices,
    sliceSeconds: options.sliceSeconds,
    stolen: median(summaries.map(({ stolen }) => stolen)),
    foreign: median(summaries.map(({ foreign }) => foreign)),
    quietSlices: sum(summaries.map(({ quiet }) => quiet)),
    allSlices: sum(summaries.map(({ slices }) => slices)),
  }
}
