import { type Claims, claimAt, conditionHolds } from '../policy/flow-rules.js'
import type { IssuerRules } from '../policy/issuer.js'
import type { Flow } from '../policy/policy.js'

/** What `cnf` says of the key that the client must hold (RFC 7800 section 3). */
export interface Confirmation {
  /** RFC 8705 section 3.1; null when absent. As it stands in the token, perhaps malformed. */
  readonly x5tS256: unknown
  /** RFC 9449 section 6; null when absent. */
  readonly jkt: unknown
}

/**
 * What is known of an authentic token, whatever its format. Facts are cached; nothing here says yes or no.
 * Times are seconds since the epoch as the token states them, null when absent or not a number.
 */
export interface TokenFacts {
  readonly rules: IssuerRules
  readonly claims: Claims
  readonly audience: readonly string[]
  readonly expiresAt: number | null
  readonly notBefore: number | null
  readonly issuedAt: number | null
  readonly clientId: string | null
  readonly subject: string | null
  /** Who acts for the subject after a token exchange: sub of the act claim (RFC 8693 section 4.1), or null. */
  readonly actor: string | null
  readonly scopes: ReadonlySet<string>
  /** null when the token has no cnf. */
  readonly confirmation: Confirmation | null
  readonly flow: Flow | 'unknown'
  /** Why the flow is what it is, for log and explain. */
  readonly flowReason: string
}

/** Derives the facts of a token from its claims, by the rules of its issuer. Pure. */
export function tokenFacts(claims: Claims, rules: IssuerRules): TokenFacts {
  const clientId = rules.claims.clientId.map(name => claimAt(claims, name)).find(isString) ?? null
  const actor = claimAt(claims, 'act.sub')
  const resolved: Claims = clientId === null ? claims : { ...claims, client_id: clientId }
  return {
    rules,
    claims,
    audience: stringsOf(claims.aud),
    expiresAt: numberOf(claims.exp),
    notBefore: numberOf(claims.nbf),
    issuedAt: numberOf(claims.iat),
    clientId,
    subject: isString(claims.sub) ? claims.sub : null,
    actor: isString(actor) ? actor : null,
    scopes: new Set(scopesOf(claimAt(claims, rules.claims.scope))),
    confirmation: confirmationOf(claims.cnf),
    ...flowOf(resolved, rules),
  }
}

function flowOf(claims: Claims, rules: IssuerRules): Pick<TokenFacts, 'flow' | 'flowReason'> {
  const { name, userEvidence } = rules.flow
  const index = rules.flow.rules.findIndex(rule => conditionHolds(rule.when, claims))
  const rule = rules.flow.rules[index]
  if (rule === undefined) return { flow: 'unknown', flowReason: `no rule of ${name} matches` }
  const says = `rule ${index + 1} of ${name}`
  const objection = objectionTo(rule.is, claims, userEvidence)
  if (objection !== null) return { flow: 'unknown', flowReason: `${says} says ${rule.is}, but ${objection}` }
  return { flow: rule.is, flowReason: says }
}

/** What in a token speaks against the flow that a rule sees in it: somebody's mistake or attack, and neither flow is granted. */
function objectionTo(flow: Flow, claims: Claims, userEvidence: readonly string[]): string | null {
  if (flow === 'client_credentials') {
    const evidence = userEvidence.find(claim => claimAt(claims, claim) !== undefined)
    return evidence === undefined ? null : `${evidence} shows a user`
  }
  // A claim that is there and names nobody would make the token a person's without a person.
  return claims.sub === undefined || isString(claims.sub) ? null : 'sub names nobody'
}

function confirmationOf(cnf: unknown): Confirmation | null {
  if (cnf === undefined) return null
  if (typeof cnf !== 'object' || cnf === null) return { x5tS256: null, jkt: null }
  return {
    x5tS256: Object.hasOwn(cnf, 'x5t#S256') ? (cnf as Claims)['x5t#S256'] : null,
    jkt: Object.hasOwn(cnf, 'jkt') ? (cnf as Claims).jkt : null,
  }
}

/** RFC 6749 section 3.3: separated by single spaces; some issuers send an array instead. */
function scopesOf(value: unknown): string[] {
  return isString(value) ? value.split(' ').filter(scope => scope !== '') : stringsOf(value)
}

function stringsOf(value: unknown): string[] {
  if (isString(value)) return [value]
  return Array.isArray(value) ? value.filter(isString) : []
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

function isString(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
