import { z } from 'zod'
import { COUNTED_BY } from '../policy/rate.js'
import { count, duration, oneOrMany, words } from './schema-values.js'

const EXAMPLE = 'such as { requests: 600, per: 1m, by: client }'

const rule = z.strictObject({
  requests: count(1, 1_000_000_000).describe('Most requests in the time of per.'),
  per: duration('1s', '1d').describe('Time that begins with the first request that is counted.'),
  by: z
    .enum(COUNTED_BY)
    .describe(
      'What is counted apart: each address (IPv6 by /64) or trusted client certificate, before the token is looked at; each client of the token, or each subject of each client, once it is granted. Without a trusted certificate, certificate counts by address.',
    ),
})

/** Setting of routes, APIs and `defaults`. */
export const rate = z
  .union([z.literal('none'), oneOrMany(rule, 'a rate')], {
    error: words('must be none, or a rate, or a list of them', EXAMPLE),
  })
  .transform((written, ctx): readonly WrittenRate[] => {
    if (written === 'none') return []
    const kinds = written.map(({ by, per }) => `${by} ${per}`)
    if (new Set(kinds).size < kinds.length)
      ctx.addIssue({
        code: 'custom',
        message: words('counts the same twice', 'of two rates with the same by and per keep the lower one'),
      })
    return written
  })
  .describe(
    'How often it may be called; beyond that 429 with Retry-After. All routes that take the rate from the same place share it. Several rates bound peaks as well: [{ requests: 20, per: 1s, by: client }, { requests: 600, per: 1m, by: client }].',
  )

/** `per` in milliseconds. */
export type WrittenRate = z.output<typeof rule>
