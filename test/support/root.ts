import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the package, seen from build/test/support. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')
