import { Denial } from '../decision/denials.js'
import type { Case, Check } from './case.js'

/** The token's scopes satisfy the route; compared to the letter, in any order (RFC 6749 section 3.3). */
function tokenHasScopes({ token, rule }: Case): Denial | null {
  const { all, any } = rule.scopes
  const lacking = all.filter(scope => !token.scopes.has(scope))
  const lacksAny = any.length > 0 && !any.some(scope => token.scopes.has(scope))
  if (lacking.length === 0 && !lacksAny) return null
  // `scope` of the challenge means all of these (RFC 6750 section 3), so of the alternatives it names the first.
  const needed = [...all, ...any.slice(0, 1)].join(' ')
  const detail = [...lacking, ...(lacksAny ? [`one of ${any.join(', ')}`] : [])].join(' and ')
  return new Denial('scope_insufficient', `lacks ${detail}`, { scope: needed })
}

export const scopes: Check = {
  name: 'scopes',
  judge: tokenHasScopes,
  fact: ({ token }) => `the token has ${[...token.scopes].join(' ') || 'no scope'}`,
}
