import { configurationOf, dataOf } from '../../src/config/configuration-data.js'
import { loadConfiguration } from '../../src/config/load.js'
import type { Problem } from '../../src/config/problem.js'
import type { Configuration } from '../../src/config/settings.js'

/** `loadConfiguration`, and what it returns as it arrives in another process: a setting that does not survive that is noticed. */
export async function loadAndSend(
  file: string,
  environment: NodeJS.ProcessEnv,
): Promise<Configuration | readonly Problem[]> {
  const loaded = await loadConfiguration(file, environment)
  return 'settings' in loaded ? configurationOf(structuredClone(dataOf(loaded))) : loaded
}
