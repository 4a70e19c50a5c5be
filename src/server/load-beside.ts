import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type ConfigurationData, configurationOf } from '../config/configuration-data.js'
import { loadConfiguration } from '../config/load.js'
import type { Problem } from '../config/problem.js'
import type { Configuration } from '../config/settings.js'

/**
 * What is smaller takes less than a tenth of a second to read, and a thread takes half a second of a core to start. Bytes of
 * the policy and the files that it names.
 */
const LARGE = 32 * 1024
/** The worst file of 1 MiB takes four seconds of a slow core. Milliseconds. */
const LONGEST_MS = 60_000

/** What `loadConfiguration` is asked, as the thread gets it. */
export interface LoadOrder {
  readonly file: string
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** What the thread says. */
export type Loaded = { readonly configuration: ConfigurationData } | { readonly problems: readonly Problem[] }

/**
 * `loadConfiguration` for a process that serves requests meanwhile: what is large is read in a thread of its own, for 10,000
 * routes take seconds.
 * @param files those of the policy in use
 */
export async function loadBeside(
  file: string,
  environment: NodeJS.ProcessEnv,
  files: readonly string[],
): Promise<Configuration | readonly Problem[]> {
  const sizes = await Promise.all(
    [...new Set([resolve(file), ...files])].map(path =>
      stat(path).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  )
  const isLarge = sizes.reduce((sum, size) => sum + size, 0) > LARGE
  return isLarge ? loadApart(file, environment) : loadConfiguration(file, environment)
}

/** Whatever a file does to the thread, it ends at most that. Rejects when it ends without an answer or takes too long. */
export async function loadApart(
  file: string,
  environment: NodeJS.ProcessEnv,
): Promise<Configuration | readonly Problem[]> {
  const order: LoadOrder = { file, environment: { ...environment } }
  const thread = new Worker(new URL('./load-thread.js', import.meta.url), { workerData: order })
  try {
    const loaded = await answerOf(thread)
    return 'problems' in loaded ? loaded.problems : configurationOf(loaded.configuration)
  } finally {
    await thread.terminate()
  }
}

function answerOf(thread: Worker): Promise<Loaded> {
  return new Promise((done, reject) => {
    const fail = (words: string) => reject(new Error(`the policy could not be read: ${words}`))
    const deadline = setTimeout(() => fail(`it takes longer than ${LONGEST_MS / 1000} s`), LONGEST_MS)
    thread.once('message', done)
    thread.once('error', fault => fail(fault.message))
    thread.once('exit', () => {
      clearTimeout(deadline)
      fail('the thread that reads it has ended')
    })
  })
}
