import { availableParallelism } from 'node:os'
import { loadConfiguration } from '../config/load.js'
import type { Problem } from '../config/problem.js'
import type { Address, Configuration } from '../config/settings.js'
import type { Logger } from '../observe/logger.js'
import { startAlone } from './alone.js'
import { loadBeside } from './load-beside.js'
import type { Reload } from './reload.js'
import { type FileWatch, watchFiles } from './watch-files.js'
import { startPrimary } from './workers/primary.js'

/** The sidecar at work. */
export interface Server {
  readonly address: Address
  readonly admin: Address
  readonly log: Logger
  readonly reload: Reload
  /** Drains and ends everything. Resolves when nothing is left. */
  readonly stop: () => Promise<void>
}

/** What a sidecar starts from, whether it is one process or several. */
export interface Beginning {
  readonly configuration: Configuration
  /** Reads everything again. */
  readonly load: () => Promise<Configuration | readonly Problem[]>
  readonly watch: FileWatch
  readonly version: string
}

/**
 * Loads the policy and starts the sidecar. Returns the problems instead when the policy has any; rejects when a port
 * cannot be had or OpenSSL refuses a certificate.
 */
export async function startServer(
  file: string,
  environment: NodeJS.ProcessEnv,
  version: string,
): Promise<Server | readonly Problem[]> {
  // The first one may take its time here: there is nobody to serve yet.
  const configuration = await loadConfiguration(file, environment)
  if (!('settings' in configuration)) return configuration
  const watch = watchFiles()
  let { files } = configuration
  watch.read(files)
  const load = async () => {
    const paths = files.map(({ path }) => path)
    const loaded = await loadBeside(file, environment, paths)
    if ('settings' in loaded) {
      files = loaded.files
      watch.read(files)
    }
    return loaded
  }
  const beginning: Beginning = { configuration, load, watch, version }
  const { workers } = configuration.settings.server
  const count = workers === 'auto' ? availableParallelism() : workers
  return count === 1 ? startAlone(beginning) : startPrimary(beginning, count)
}
