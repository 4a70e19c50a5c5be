/** One run: what it was asked for, where it works, what it has found out. */
import { mkdirSync } from 'node:fs'
import { type Instance, type Surroundings, startInstance } from './instances.js'
import { buildLoadGenerator, type LoadArguments, type LoadResult, load } from './load.js'
import { type Material, makeMaterial } from './material.js'
import { interleave, type Slice, type Summary, sliceOf, summarise } from './measure.js'
import type { Options } from './options.js'
import { versionOf } from './processes.js'
import { doing, say } from './progress.js'
import type { Results } from './results.js'
import type { Target } from './targets/target.js'
import { startUpstream } from './upstream.js'

/** What a connection needs before its first counted request. */
const WARM_UP_SECONDS = 0.3

export interface Session {
  readonly options: Options
  readonly material: Material
  readonly around: Surroundings
  readonly results: Results
  /** One slice of the counted kind. */
  readonly load: (instance: Instance, args: LoadArguments) => Promise<LoadResult>
  /** Starts a target; null, and a line in `skipped`, when that fails. */
  readonly start: (target: Target) => Promise<Instance | null>
}

export async function openSession(options: Options, tokenCount: number): Promise<Session> {
  if (versionOf('taskset', '--version') === null)
    throw new Error('processes are bound to cores with `taskset`: apt-get install util-linux')
  mkdirSync(options.work, { recursive: true })
  const binary = buildLoadGenerator(options.work)
  const material = await makeMaterial(options.work, options.algorithm, options.serverKey, tokenCount, say)
  const upstream = await startUpstream(options.work, options.loadCores)
  const around = { work: options.work, cores: options.cores, upstreamPort: upstream.port, material }
  const results: Results = { rows: [], rates: [], connections: [], sizes: [], skipped: [] }
  const cores = { target: options.cores, load: options.loadCores }
  return {
    options,
    material,
    around,
    results,
    load: ({ port, started }, args) => {
      if (started.hasEnded()) throw new Error('the target has ended')
      const usual = { warmup: WARM_UP_SECONDS, seconds: options.sliceSeconds }
      return load(binary, { port, pids: started.pids() }, material, cores, { ...usual, ...args })
    },
    start: async target => {
      doing(`starting and verifying ${target.name}`)
      if (target.version() === null) {
        skip(results, `${target.title} is not installed: ${target.howToGet}`)
        return null
      }
      try {
        return await startInstance(target, around)
      } catch (problem) {
        skip(results, `${target.title}: ${problem instanceof Error ? problem.message : String(problem)}`)
        return null
      }
    },
  }
}

export function skip(results: Results, reason: string): void {
  results.skipped.push(reason)
  say(`skipped: ${reason}`)
}

/** Slices of several instances in turn, and what they come to. */
export async function measureAll(
  session: Session,
  label: string,
  instances: readonly Instance[],
  argumentsFor: (instance: Instance) => LoadArguments | null,
  {
    bodyBytes = null,
    heard,
  }: { bodyBytes?: number | null; heard?: (i: Instance, r: LoadResult) => void } = {},
): Promise<ReadonlyMap<Instance, Summary>> {
  const slice = async (instance: Instance): Promise<Slice | null> => {
    const args = argumentsFor(instance)
    if (args === null) return null
    const result = await session.load(instance, args)
    heard?.(instance, result)
    return sliceOf(result, bodyBytes)
  }
  const measured = await interleave(instances, session.options, slice, text => doing(`${label}: ${text}`))
  for (const { emptyLog } of instances) emptyLog()
  return new Map([...measured].map(([instance, slices]) => [instance, summarise(slices)]))
}
