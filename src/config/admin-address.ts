import { resolve } from 'node:path'
import { parseDocument } from 'yaml'
import { Findings } from './findings.js'
import { interpolate } from './interpolate.js'
import { readBounded, Unreadable } from './named-files.js'
import { address } from './schema-values.js'
import type { Address } from './settings.js'
import { boundOf, MAX_YAML_BYTES } from './yaml-bounds.js'

/** Of `admin.listen` in the schema. */
const DEFAULT: Address = { host: '127.0.0.1', port: 9464 }

/**
 * `admin.listen` of a policy file, whatever else is wrong with the file: the process that is asked for its health may
 * serve with the policy before. Reads no other file. The default where nothing better can be read. Never rejects.
 */
export async function readAdminAddress(file: string, environment: NodeJS.ProcessEnv): Promise<Address> {
  const bytes = await readBounded(resolve(file), MAX_YAML_BYTES)
  if (bytes instanceof Unreadable) return DEFAULT
  const written = writtenIn(bytes.toString('utf8'))
  if (typeof written !== 'string') return DEFAULT
  const place = { file, line: 1, column: 1 }
  const scalar = { kind: 'scalar', place, value: written, plain: false, origin: 'file' } as const
  const { tree } = interpolate(scalar, environment, new Findings())
  const read = address().safeParse(tree.kind === 'scalar' ? tree.value : null)
  return read.success ? read.data : DEFAULT
}

/** A document with syntax errors still has the parts that could be read. */
function writtenIn(text: string): unknown {
  if (boundOf(text) !== null) return null
  try {
    return parseDocument(text, { uniqueKeys: false, logLevel: 'silent' }).getIn(['admin', 'listen'])
  } catch {
    return null
  }
}
