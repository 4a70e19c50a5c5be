import { z } from 'zod'
import { CERTIFICATE_FIELDS, type CertificateField } from '../policy/certificate-patterns.js'
import type { ClaimRule, ClaimTest, MemberTest, Operand } from '../policy/claim-rules.js'
import { didYouMean } from './nearest-word.js'
import { FLOWS } from './schema-flow.js'
import { oneOrMany, text, words } from './schema-values.js'
import type { Path } from './source-tree.js'

/** A rule, and where it stands below `claims`. */
export interface WrittenClaimRule {
  readonly rule: ClaimRule
  readonly path: Path
}

const plain = z.union([z.string(), z.number(), z.boolean()], {
  error: words('must be text, a number, true or false', 'a claim is compared with plain values'),
})

const OPERAND_HINT =
  'a value, path.<parameter>, certificate.<part>, client.id, or { value: … } for text that looks so'

const operand = z
  .union([plain, z.strictObject({ value: plain.describe('The value to the letter.') })], {
    error: words('must be something to compare with', OPERAND_HINT),
  })
  .meta({
    id: 'Operand',
    description: `What a claim is compared with: ${OPERAND_HINT}.`,
  })
  .transform((written, ctx): Operand => {
    if (typeof written === 'object') return { from: 'policy', value: written.value }
    const [, source, name = ''] =
      (typeof written === 'string' && /^(path|certificate|client)\.(.*)$/s.exec(written)) || []
    if (source === 'path' && /^[A-Za-z][A-Za-z0-9_]*$/.test(name)) return { from: 'path', parameter: name }
    if (source === 'certificate' && CERTIFICATE_FIELDS.includes(name as CertificateField))
      return { from: 'certificate', field: name as CertificateField }
    if (source === 'client' && name === 'id') return { from: 'client' }
    if (source === undefined) return { from: 'policy', value: written }
    ctx.addIssue({
      code: 'custom',
      message: words(
        `must name a fact of the request after "${source}."`,
        didYouMean(name, NAMES[source] ?? [], KNOWN[source] ?? ''),
      ),
    })
    return z.NEVER
  })

const NAMES: Readonly<Record<string, readonly string[]>> = {
  path: [],
  certificate: CERTIFICATE_FIELDS,
  client: ['id'],
}
const KNOWN: Readonly<Record<string, string>> = {
  path: 'a parameter of the path template; for the text itself write { value: … }',
  certificate: `one of ${CERTIFICATE_FIELDS.join(', ')}; for the text itself write { value: … }`,
  client: 'client.id; for the text itself write { value: … }',
}

const tests = {
  equals: operand.optional().describe(`The claim is this: ${OPERAND_HINT}.`),
  in: z
    .array(operand)
    .min(1, { error: words('has no entries', 'name at least one value') })
    .optional()
    .describe('The claim is one of these.'),
  includes: operand.optional().describe('The claim is a list, and this is one of its entries.'),
  exists: z
    .boolean({ error: words('must be true or false', 'without quotes') })
    .optional()
    .describe('The claim is there (true) or absent (false).'),
  get some(): z.ZodOptional<typeof members> {
    return members.optional().describe('The claim is a list, and one entry of it passes all these tests.')
  },
  type: text('a type of authorization details')
    .optional()
    .describe('The claim is a list of authorization details (RFC 9396), and one is of this type.'),
  get where(): z.ZodOptional<typeof members> {
    return members.optional().describe('With type: what that very entry must say besides.')
  },
}

const test = z
  .strictObject(tests)
  .meta({ id: 'ClaimTest', description: 'What one member of an entry must be: exactly one question.' })

const members = z.record(text('the name of a member'), test, {
  error: words('must be a map of members and what they must be', 'such as { type: { equals: account } }'),
})

type TestInput = z.output<typeof test>

const rule = z
  .strictObject(
    {
      ...tests,
      get some(): z.ZodOptional<typeof members> {
        return tests.some
      },
      get where(): z.ZodOptional<typeof members> {
        return tests.where
      },
      appliesTo: oneOrMany(z.enum(FLOWS), 'authorization_code or client_credentials')
        .optional()
        .describe('The flows whose tokens the rule concerns. Default: every flow of the route.'),
      otherwise: z
        .literal([403, 404], {
          error: words('must be 403 or 404', '404 answers as if there were no such path'),
        })
        .optional()
        .describe('Status when it does not hold: 403, or 404 as if there were no such path. Default 403.'),
    },
    {
      error: words('must say what the claim has to be', 'such as { equals: path.consentId, otherwise: 404 }'),
    },
  )
  .meta({
    id: 'ClaimRule',
    description: 'What a claim must be: exactly one question, whom it concerns and what follows.',
  })

type Context = z.RefinementCtx

/** Setting of routes, APIs and `defaults`. */
export const claims = z
  .union(
    [
      z.literal('none'),
      z.record(text('the name of a claim'), oneOrMany(rule, 'a rule'), {
        error: words('must be none, or rules by claim', 'such as { tenant: { equals: acme } }'),
      }),
    ],
    { error: words('must be none, or rules by claim', 'such as { tenant: { equals: acme } }') },
  )
  .transform((written, ctx): readonly WrittenClaimRule[] => {
    if (written === 'none') return []
    const rules = Object.entries(written).flatMap(([claim, ones]) =>
      ones.map((one, index): WrittenClaimRule => {
        const path = ones.length === 1 ? [claim] : [claim, index]
        const { appliesTo = null, otherwise = 403 } = one
        return { rule: { claim, test: compileTest(one, path, ctx), appliesTo, otherwise }, path }
      }),
    )
    if (rules.length === 0)
      ctx.addIssue({
        code: 'custom',
        message: words('asks for nothing', 'name a claim, or write claims: none'),
      })
    return rules
  })
  .describe(
    'What claims of the token must be, by name or nested path (a.b): every rule must hold. Replaces the rules of the API or of defaults. none: nothing.',
  )

const QUESTIONS = ['equals', 'in', 'includes', 'exists', 'some', 'type'] as const

/** The schema says which members there may be; here they must make exactly one question. */
function compileTest(written: TestInput, path: (string | number)[], ctx: Context): ClaimTest {
  const asked = QUESTIONS.filter(name => written[name] !== undefined)
  if (asked.length !== 1)
    ctx.addIssue({
      code: 'custom',
      path,
      message: words('must ask exactly one thing', `one of ${QUESTIONS.join(', ')}`),
    })
  if (written.where !== undefined && written.type === undefined)
    ctx.addIssue({
      code: 'custom',
      path: [...path, 'where'],
      message: words('belongs to type', 'for a list of anything else write some'),
    })
  const { equals, includes, exists, some, type, where } = written
  if (equals !== undefined) return { equals }
  if (written.in !== undefined) return { in: written.in }
  if (includes !== undefined) return { includes }
  if (exists !== undefined) return { exists }
  if (some !== undefined) return { some: compileMembers(some, [...path, 'some'], ctx) }
  const isOfType: MemberTest = { member: 'type', test: { equals: { from: 'policy', value: type ?? '' } } }
  return { some: [isOfType, ...compileMembers(where ?? {}, [...path, 'where'], ctx, where === undefined)] }
}

function compileMembers(
  written: Readonly<Record<string, TestInput>>,
  path: (string | number)[],
  ctx: Context,
  mayBeEmpty = false,
): readonly MemberTest[] {
  const entries = Object.entries(written)
  // Nothing asked would be granted by any entry at all.
  if (entries.length === 0 && !mayBeEmpty)
    ctx.addIssue({ code: 'custom', path, message: words('asks for nothing', 'name at least one member') })
  return entries.map(([member, test]) => ({ member, test: compileTest(test, [...path, member], ctx) }))
}
