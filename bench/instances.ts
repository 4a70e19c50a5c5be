/** Targets at work, each verified before anybody measures it. */
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../test/support/free-port.js'
import type { Material } from './material.js'
import { listening, type Started, start } from './processes.js'
import type { Place, Target } from './targets/target.js'
import { verifyTarget } from './verify.js'

export interface Instance {
  readonly target: Target
  readonly port: number
  readonly started: Started
  /** Output of the target, with Postern a line for each request: emptied between scenarios. */
  readonly emptyLog: () => void
}

export interface Surroundings {
  readonly work: string
  readonly cores: string
  readonly upstreamPort: number
  readonly material: Material
}

export async function placeOf(target: Pick<Target, 'name'>, around: Surroundings): Promise<Place> {
  const directory = join(around.work, `run-${target.name}`)
  mkdirSync(directory, { recursive: true })
  return {
    port: await freePort(),
    upstreamPort: around.upstreamPort,
    directory,
    material: around.material,
  }
}

/** Starts a target and puts it to the test; rejects when it does not enforce the policy. */
export async function startInstance(target: Target, around: Surroundings): Promise<Instance> {
  const place = await placeOf(target, around)
  // Not beside the policy: Postern watches that directory, and would look at its files for each line.
  const log = join(around.work, `run-${target.name}.log`)
  writeFileSync(log, '')
  const started = start({ ...target.prepare(place), cores: around.cores, log })
  try {
    await listening(place.port, started, log)
    const misses = await verifyTarget(place.port, around.material, target.judgesTokens)
    const unknown = misses.filter(({ question }) => target.gaps?.[question] === undefined)
    if (unknown.length > 0)
      throw new Error(
        `it does not enforce the policy: ${unknown.map(({ question, answer }) => `${question}: ${answer}`).join('; ')}`,
      )
  } catch (problem) {
    await started.stop()
    throw problem
  }
  return { target, port: place.port, started, emptyLog: () => truncateSync(log) }
}
