import type { CertificateField } from './certificate-patterns.js'
import { type Claims, claimAt } from './flow-rules.js'
import type { Flow } from './policy.js'

/** One plain value of JSON. */
export type Plain = string | number | boolean

/** What a claim is compared with: a value of the policy, or a fact of this request. */
export type Operand =
  | { readonly from: 'policy'; readonly value: Plain }
  /** A path parameter, percent-decoded exactly once (RFC 3986 section 2.4), never case-folded or normalised. */
  | { readonly from: 'path'; readonly parameter: string }
  /** A part of the client certificate; of several values one must do. */
  | { readonly from: 'certificate'; readonly field: CertificateField }
  /** The client id of the token, whichever claim has it. */
  | { readonly from: 'client' }

/** One question about a value. */
export type ClaimTest =
  | { readonly equals: Operand }
  | { readonly in: readonly Operand[] }
  /** The value is a list, and this is one of its entries. */
  | { readonly includes: Operand }
  | { readonly exists: boolean }
  /**
   * The value is a list of objects, and one and the same of them passes every test. RFC 9396 authorization_details are
   * asked so: a type that the policy does not name grants nothing.
   */
  | { readonly some: readonly MemberTest[] }

export interface MemberTest {
  /** Name of a member, or a nested path. */
  readonly member: string
  readonly test: ClaimTest
}

/** What a token must say to be let through. */
export interface ClaimRule {
  /** Name of a claim, or a nested path. */
  readonly claim: string
  readonly test: ClaimTest
  /** The flows whose tokens it concerns; null: all. */
  readonly appliesTo: readonly Flow[] | null
  /** 404: the answer is that of a path that does not exist, so that nothing is learnt of what others have. */
  readonly otherwise: 403 | 404
}

/** The values that an operand stands for in one request; empty when the request has no such fact. */
export type Resolve = (operand: Operand) => readonly Plain[]

/** Whether the claims pass the test of a rule. Nothing equals an absent fact. */
export function ruleHolds(rule: ClaimRule, claims: Claims, resolve: Resolve): boolean {
  return holds(rule.test, claimAt(claims, rule.claim), resolve)
}

function holds(test: ClaimTest, value: unknown, resolve: Resolve): boolean {
  // Types count: the number 5 is not the text "5".
  const isOneOf = (candidate: unknown, operand: Operand) =>
    resolve(operand).some(wanted => wanted === candidate)
  if ('equals' in test) return isOneOf(value, test.equals)
  if ('in' in test) return test.in.some(operand => isOneOf(value, operand))
  if ('includes' in test) return Array.isArray(value) && value.some(entry => isOneOf(entry, test.includes))
  if ('exists' in test) return (value !== undefined && value !== null) === test.exists
  return (
    Array.isArray(value) &&
    value.some(
      entry =>
        typeof entry === 'object' &&
        entry !== null &&
        test.some.every(({ member, test }) => holds(test, claimAt(entry as Claims, member), resolve)),
    )
  )
}

/** The rule in words, for the log and `explain`; names no value of the request. */
export function ruleInWords({ claim, test }: ClaimRule): string {
  return testInWords(claim, test)
}

function testInWords(name: string, test: ClaimTest): string {
  if ('equals' in test) return `${name} equals ${operandInWords(test.equals)}`
  if ('in' in test) return `${name} is one of ${test.in.map(operandInWords).join(', ')}`
  if ('includes' in test) return `${name} includes ${operandInWords(test.includes)}`
  if ('exists' in test) return `${name} ${test.exists ? 'exists' : 'is absent'}`
  return `${name} has an entry in which ${test.some.map(({ member, test }) => testInWords(member, test)).join(' and ')}`
}

function operandInWords(operand: Operand): string {
  switch (operand.from) {
    case 'policy':
      return JSON.stringify(operand.value)
    case 'path':
      return `path.${operand.parameter}`
    case 'certificate':
      return `certificate.${operand.field}`
    case 'client':
      return 'client.id'
  }
}

/** Every operand of a test, at any depth. */
export function operandsOf(test: ClaimTest): readonly Operand[] {
  if ('equals' in test) return [test.equals]
  if ('in' in test) return test.in
  if ('includes' in test) return [test.includes]
  if ('exists' in test) return []
  return test.some.flatMap(({ test }) => operandsOf(test))
}
