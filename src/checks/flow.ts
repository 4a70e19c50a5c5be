import { Denial } from '../decision/denials.js'
import type { Case, Check } from './case.js'

/** The OAuth flow of the token is one of the route's; an unknown flow never is (REQUIREMENTS FD-01). */
function tokenHasAllowedFlow({ token, rule }: Case): Denial | null {
  if (token.flow === 'unknown') return new Denial('flow_unknown', token.flowReason)
  return rule.flows.includes(token.flow)
    ? null
    : new Denial(
        'flow_not_allowed',
        `${token.flow} (${token.flowReason}), the route wants ${rule.flows.join(' or ')}`,
      )
}

export const flow: Check = {
  name: 'flow',
  judge: tokenHasAllowedFlow,
  fact: ({ token }) =>
    `${token.flow}: ${token.flowReason}${token.actor === null ? '' : `; ${token.actor} acts for the subject`}`,
}
