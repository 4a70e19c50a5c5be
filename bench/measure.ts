/**
 * The method: all targets are up at once and are loaded in turn, in short slices, so that all see the same weather. The figure
 * of record is the lower quartile of processor time per request over the slices that nobody disturbed.
 */
import type { Instance } from './instances.js'
import type { LoadResult } from './load.js'
import { quietMoment } from './machine.js'

/** A quarter of a second taken by others in a second of one core is noise; less hardly shows. */
const FOREIGN_SHARE = 0.12
const STOLEN_SHARE = 0.03
/** Fewer quiet slices than this say nothing certain. */
export const ENOUGH_QUIET = 3

export interface Slice {
  /** Processor time of all processes of the target, for one request. */
  readonly cpuUs: number
  readonly requestsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  /** Share of the time that the hypervisor took from the cores of target and load, and that others used on the target's. */
  readonly stolen: number
  readonly foreign: number
  readonly isQuiet: boolean
  /** How busy the cores of upstream and load were; near 1 the rate is that of the load. */
  readonly loadBusy: number
  readonly peakMiB: number
  /** Anything but 2xx. */
  readonly problems: readonly string[]
}

/** @param bodyBytes large bodies are counted by bytes, since few whole ones fit into a slice */
export function sliceOf(result: LoadResult, bodyBytes: number | null): Slice {
  const { seconds, targetCpuUs, busyMs, stolenMs, loadStolenMs } = result
  const moved = Math.max(result.bytesIn, result.bytesOut)
  const requests = bodyBytes === null ? result.requests : moved / bodyBytes
  const ms = seconds * 1000
  const stolen = (stolenMs + loadStolenMs) / ms
  const foreign = Math.max(0, busyMs - targetCpuUs / 1000) / ms
  return {
    cpuUs: targetCpuUs / requests,
    requestsPerSecond: requests / seconds,
    p50Us: result.p50Us,
    p99Us: result.p99Us,
    stolen,
    foreign,
    isQuiet: stolen <= STOLEN_SHARE && foreign <= FOREIGN_SHARE,
    loadBusy: result.loadBusyMs / ms,
    peakMiB: result.peakKb / 1024,
    problems: problemsOf(result),
  }
}

function problemsOf({ statuses, errors }: LoadResult): string[] {
  const wrong = Object.entries(statuses).filter(([status]) => !status.startsWith('2'))
  const failed = Object.entries(errors).filter(([, count]) => count > 0)
  return [
    ...wrong.map(([status, count]) => `${count} answers ${status}`),
    ...failed.map(([kind, count]) => `${count} errors (${kind})`),
  ]
}

export interface Summary {
  /** Lower quartile, in microseconds of processor time for one request. */
  readonly cpuUs: number
  readonly medianUs: number
  readonly requestsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly peakMiB: number
  readonly quiet: number
  readonly slices: number
  readonly stolen: number
  readonly foreign: number
  readonly loadBusy: number
  readonly problems: readonly string[]
}

/** Of the quiet slices; of the three least disturbed ones where there are too few, which `quiet` then tells. */
export function summarise(slices: readonly Slice[]): Summary {
  const useful = slices.filter(({ cpuUs }) => Number.isFinite(cpuUs) && cpuUs > 0)
  const quiet = useful.filter(({ isQuiet }) => isQuiet)
  const disturbance = (slice: Slice) => slice.stolen + slice.foreign
  const used =
    quiet.length >= ENOUGH_QUIET
      ? quiet
      : [...useful].sort((a, b) => disturbance(a) - disturbance(b)).slice(0, ENOUGH_QUIET)
  const of = (read: (slice: Slice) => number, share: number) => quantile(used.map(read), share)
  return {
    cpuUs: of(slice => slice.cpuUs, 0.25),
    medianUs: of(slice => slice.cpuUs, 0.5),
    requestsPerSecond: of(slice => slice.requestsPerSecond, 0.75),
    p50Us: of(slice => slice.p50Us, 0.5),
    p99Us: of(slice => slice.p99Us, 0.5),
    peakMiB: Math.max(0, ...slices.map(slice => slice.peakMiB)),
    quiet: quiet.length,
    slices: slices.length,
    stolen: quantile(
      slices.map(slice => slice.stolen),
      0.5,
    ),
    foreign: quantile(
      slices.map(slice => slice.foreign),
      0.5,
    ),
    loadBusy: of(slice => slice.loadBusy, 0.5),
    problems: [...new Set(slices.flatMap(slice => slice.problems))],
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export interface Rounds {
  readonly slices: number
  readonly quietSeconds: number
}

/**
 * Loads the instances in turn, forwards and backwards, one slice each; up to twice as many rounds while somebody has too few
 * quiet slices. `slice` returns null when it has nothing left to send.
 */
export async function interleave(
  instances: readonly Instance[],
  { slices, quietSeconds }: Rounds,
  slice: (instance: Instance) => Promise<Slice | null>,
  progress: (text: string) => void,
): Promise<ReadonlyMap<Instance, readonly Slice[]>> {
  const all = new Map<Instance, Slice[]>(instances.map(instance => [instance, []]))
  const isEnough = () =>
    [...all.values()].every(list => list.filter(({ isQuiet }) => isQuiet).length >= ENOUGH_QUIET)
  for (let round = 0; round < slices || (round < 2 * slices && quietSeconds > 0 && !isEnough()); round++)
    for (const instance of round % 2 === 0 ? instances : [...instances].reverse()) {
      progress(`round ${round + 1}, ${instance.target.name}`)
      await quietMoment(quietSeconds)
      const measured = await slice(instance)
      if (measured !== null) all.get(instance)?.push(measured)
    }
  return all
}
