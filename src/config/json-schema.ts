import { z } from 'zod'
import { policySchema } from './schema.js'
import { CLIENT_KEY } from './schema-certificates.js'
import { ROUTE_KEY } from './schema-route.js'
import { NAME } from './schema-values.js'

/** Keys are taken as they stand. */
const KEYS: readonly unknown[] = [ROUTE_KEY, NAME, CLIENT_KEY]

const VARIABLE = '\\$\\{'

/** Draft 7, which is what the YAML language servers of editors read. */
export function policyJsonSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(policySchema, {
    target: 'draft-7',
    io: 'input',
    override: ({ zodSchema, jsonSchema }) => {
      if (KEYS.includes(zodSchema)) return
      // Any value may be written ${NAME} as well, which an editor must not underline.
      if (jsonSchema.type === 'string' && jsonSchema.pattern?.endsWith(VARIABLE) === false)
        jsonSchema.pattern = `(?:${jsonSchema.pattern})|${VARIABLE}`
      if ((jsonSchema.type === 'string' && jsonSchema.enum !== undefined) || jsonSchema.type === 'integer') {
        const { description, default: standard, ...rest } = jsonSchema
        for (const key of Object.keys(jsonSchema)) delete jsonSchema[key]
        Object.assign(jsonSchema, {
          ...(description === undefined ? {} : { description }),
          ...(standard === undefined ? {} : { default: standard }),
          anyOf: [rest, { type: 'string', pattern: VARIABLE }],
        })
      }
    },
  })
  return { $schema, title: 'Postern policy', ...schema }
}
