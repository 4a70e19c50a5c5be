import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Seen from build/test/support/. */
const FOLDER = fileURLToPath(new URL('../../../test/vectors', import.meta.url))

/** The path of a file or folder of test/vectors/, wherever the tests are started. */
export function vectors(name: string): string {
  return join(FOLDER, name)
}
