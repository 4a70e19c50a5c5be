import { policyJsonSchema } from '../config/json-schema.js'
import { EXIT, print } from './output.js'

/** `postern schema`: JSON Schema draft 7, the newest that editors' YAML support understands everywhere. */
export async function schema(): Promise<number> {
  print(JSON.stringify(policyJsonSchema(), null, 2))
  return EXIT.ok
}
