import { join } from 'node:path'
import { ROOT } from './root.js'

/** The path of a file or folder of test/vectors/, wherever the tests are started. */
export function vectors(name: string): string {
  return join(ROOT, 'test', 'vectors', name)
}
