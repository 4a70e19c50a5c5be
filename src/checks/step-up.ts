import { Denial } from '../decision/denials.js'
import type { StepUp } from '../policy/policy.js'
import type { Case, Check } from './case.js'

/**
 * The user authenticated strongly and recently enough (RFC 9470 section 3). What the token does not say did not happen:
 * an absent acr or auth_time is challenged like a weak one.
 */
function authenticationIsSufficient({ rule, token, now }: Case): Denial | null {
  const { stepUp } = rule
  if (stepUp === null) return null
  const lacking = [
    acrProblem(stepUp, token.claims.acr),
    ageProblem(stepUp, token.claims.auth_time, now, token.rules.clockSkewSeconds),
  ].filter(problem => problem !== null)
  if (lacking.length === 0) return null
  // Both demands are named even when one is met: the new token has to meet both.
  return new Denial('stepup_required', lacking.join(' and '), {
    ...(stepUp.acr.length === 0 ? {} : { acrValues: stepUp.acr.join(' ') }),
    ...(stepUp.maxAuthAgeSeconds === null ? {} : { maxAge: stepUp.maxAuthAgeSeconds }),
  })
}

function acrProblem({ acr }: StepUp, claim: unknown): string | null {
  if (acr.length === 0 || (typeof claim === 'string' && acr.includes(claim))) return null
  return claim === undefined ? 'acr is absent' : `acr is none of ${acr.join(', ')}`
}

function ageProblem(
  { maxAuthAgeSeconds }: StepUp,
  claim: unknown,
  now: number,
  skewSeconds: number,
): string | null {
  if (maxAuthAgeSeconds === null) return null
  if (typeof claim !== 'number' || !Number.isFinite(claim)) return 'auth_time is absent or no number'
  const age = now - claim
  if (age < -skewSeconds) return 'auth_time is in the future'
  return age > maxAuthAgeSeconds + skewSeconds
    ? `the user authenticated ${Math.round(age)} s ago, more than ${maxAuthAgeSeconds} s`
    : null
}

export const stepUp: Check = {
  name: 'step-up',
  judge: authenticationIsSufficient,
  fact: ({ rule, token }) =>
    rule.stepUp === null
      ? 'not asked for'
      : `acr ${JSON.stringify(token.claims.acr ?? null)}, auth_time ${JSON.stringify(token.claims.auth_time ?? null)}`,
}
