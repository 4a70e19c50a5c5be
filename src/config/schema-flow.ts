import { z } from 'zod'
import { EXPERIMENTAL_PRESETS, FLOW_PRESETS, type FlowPreset, USER_EVIDENCE } from '../policy/flow-presets.js'
import type { ClaimCondition, FlowRule } from '../policy/flow-rules.js'
import type { FlowClassifier } from '../policy/issuer.js'
import type { Flow } from '../policy/policy.js'
import { text, words } from './schema-values.js'

export const FLOWS = ['authorization_code', 'client_credentials'] as const satisfies readonly Flow[]

const PRESETS = Object.keys(FLOW_PRESETS) as FlowPreset[]

const claimValue = z.union([z.string(), z.number(), z.boolean()], {
  error: words('must be text, a number, true or false', 'a claim is compared with one plain value'),
})

const condition = z
  .strictObject({
    claim: text('the name of a claim')
      .optional()
      .describe('Name of a claim of the token; `a.b` is the member b of the claim a.'),
    exists: z
      .boolean({ error: words('must be true or false', 'without quotes') })
      .optional()
      .describe('The claim is there (true) or absent (false).'),
    equals: claimValue.optional().describe('The claim is this very value.'),
    equalsClaim: text('the name of a claim')
      .optional()
      .describe('The claim is the same text as another one, such as client_id.'),
    in: z
      .array(claimValue)
      .min(1, { error: words('has no entries', 'name at least one value') })
      .optional()
      .describe('The claim is one of these values.'),
    prefix: text().optional().describe('The claim is text that begins so.'),
    suffix: text().optional().describe('The claim is text that ends so.'),
    get all(): z.ZodOptional<z.ZodArray<typeof condition>> {
      return conditions('Every one of these conditions holds.')
    },
    get any(): z.ZodOptional<z.ZodArray<typeof condition>> {
      return conditions('At least one of these conditions holds.')
    },
    get not(): z.ZodOptional<typeof condition> {
      return condition.optional().describe('The condition does not hold.')
    },
  })
  .meta({ id: 'ClaimCondition', description: 'One question about a claim, or a combination of questions.' })

function conditions(description: string): z.ZodOptional<z.ZodArray<typeof condition>> {
  return (
    z
      .array(condition)
      // An empty `all` would hold for every token.
      .min(1, { error: words('has no entries', 'name at least one condition') })
      .optional()
      .describe(description)
  )
}

type ConditionInput = z.output<typeof condition>

const rule = z
  .strictObject({
    when: condition.describe('A question about the claims of the token.'),
    is: z.enum(FLOWS).describe('The flow of tokens that satisfy the condition.'),
  })
  .meta({ id: 'FlowRule', description: 'The flow of the tokens for which a condition holds.' })

const rules = z.array(rule).min(1, { error: words('has no rules', 'write at least one, or name a preset') })

/** How an issuer marks the flow: rules, a preset, or rules that come before those of a preset. */
export const issuerFlow = z
  .union(
    [
      z.strictObject({
        preset: z
          .enum(PRESETS)
          .optional()
          .describe(
            `How a known authorization server marks the flow. Experimental, known from sample tokens only: ${[...EXPERIMENTAL_PRESETS].join(', ')}.`,
          ),
        rules: rules
          .optional()
          .describe('The first rule that matches decides; they come before those of the preset.'),
      }),
      rules,
    ],
    { error: words('must be a preset or a list of rules', 'such as { preset: rfc9068 }') },
  )
  .transform((written, ctx): FlowClassifier => {
    const isList = Array.isArray(written)
    const own = compileRules(isList ? written : (written.rules ?? []), isList ? [] : ['rules'], ctx)
    const preset = isList ? undefined : written.preset
    if (preset !== undefined) {
      const known: FlowClassifier = FLOW_PRESETS[preset]
      return own.length === 0
        ? known
        : { ...known, name: `rules before ${preset}`, rules: [...own, ...known.rules] }
    }
    if (own.length === 0)
      ctx.addIssue({
        code: 'custom',
        message: words('has neither preset nor rules', 'such as { preset: rfc9068 }'),
      })
    return { name: 'rules', rules: own, userEvidence: USER_EVIDENCE }
  })

type Context = z.RefinementCtx

function compileRules(
  written: readonly z.output<typeof rule>[],
  path: (string | number)[],
  ctx: Context,
): FlowRule[] {
  return written.map((one, index) => ({
    when: compileCondition(one.when, [...path, index, 'when'], ctx),
    is: one.is,
  }))
}

const OPERATORS = ['exists', 'equals', 'equalsClaim', 'in', 'prefix', 'suffix'] as const
const COMBINATIONS = ['all', 'any', 'not'] as const

/** The schema says which members there may be; here they must make exactly one question. */
function compileCondition(written: ConditionInput, path: (string | number)[], ctx: Context): ClaimCondition {
  const combinations = COMBINATIONS.filter(name => written[name] !== undefined)
  const operators = OPERATORS.filter(name => written[name] !== undefined)
  const questions = combinations.length + (written.claim === undefined ? 0 : 1)
  if (
    questions !== 1 ||
    (combinations.length === 1 && operators.length > 0) ||
    (written.claim !== undefined && operators.length !== 1)
  )
    ctx.addIssue({
      code: 'custom',
      path,
      message: words(
        'must ask exactly one thing',
        `a claim with one of ${OPERATORS.join(', ')}; or one of ${COMBINATIONS.join(', ')}`,
      ),
    })
  const { all, any, not, claim = '', exists, equals, equalsClaim, prefix, suffix } = written
  if (all !== undefined)
    return { all: all.map((part, index) => compileCondition(part, [...path, 'all', index], ctx)) }
  if (any !== undefined)
    return { any: any.map((part, index) => compileCondition(part, [...path, 'any', index], ctx)) }
  if (not !== undefined) return { not: compileCondition(not, [...path, 'not'], ctx) }
  if (exists !== undefined) return { claim, exists }
  if (equals !== undefined) return { claim, equals }
  if (equalsClaim !== undefined) return { claim, equalsClaim }
  if (written.in !== undefined) return { claim, in: written.in }
  if (prefix !== undefined) return { claim, prefix }
  return { claim, suffix: suffix ?? '' }
}
