import { Denial } from '../decision/denials.js'
import type { TokenRule } from '../policy/policy.js'
import type { Case, Check } from './case.js'
import type { TokenFacts } from './token-facts.js'

/** RFC 9068 section 4: aud names this resource server. */
function tokenIsForThisServer({ token }: Case): Denial | null {
  if (token.claims.aud === undefined && token.rules.mayLack?.includes('aud')) return null
  return token.audience.some(audience => token.rules.audience.includes(audience))
    ? null
    : new Denial('token_audience_wrong', `aud does not name ${token.rules.audience.join(' or ')}`)
}

/** RFC 9068 section 2.2, as far as the issuer's rules demand. */
function tokenHasRequiredClaims({ token }: Case): Denial | null {
  const mayLackExpiry = token.claims.exp === undefined && token.rules.mayLack?.includes('exp') === true
  if (token.expiresAt === null && !mayLackExpiry) return missing('exp')
  for (const claim of ['nbf', 'iat'])
    if (token.claims[claim] !== undefined && typeof token.claims[claim] !== 'number') return missing(claim)
  for (const claim of token.rules.requiredClaims) {
    const found =
      claim === 'client_id' ? token.clientId : claim === 'sub' ? token.subject : token.claims[claim]
    if (found === undefined || found === null) return missing(claim)
  }
  return null
}

/** RFC 9068 section 4 and RFC 7519 section 4.1: exp, nbf and iat against the clock, with the issuer's tolerance. */
function tokenIsCurrent({ token, now }: Case): Denial | null {
  const skew = token.rules.clockSkewSeconds
  if (token.expiresAt !== null && now >= token.expiresAt + skew)
    return new Denial('token_expired', `exp was ${Math.round(now - token.expiresAt)} s ago`)
  const start = Math.max(token.notBefore ?? 0, token.issuedAt ?? 0)
  if (start > now + skew)
    return new Denial('token_not_yet_valid', `nbf or iat is ${Math.round(start - now)} s ahead`)
  return null
}

/** A stolen long-lived token is worth more than a short one; FDX Security Model 5.0 says 900 s. */
function tokenIsShortLived({ token, rule }: Case): Denial | null {
  const limit = longestLifetime(token, rule)
  if (limit === null || token.expiresAt === null) return null
  if (token.issuedAt === null) return missing('iat')
  const lifetime = token.expiresAt - token.issuedAt
  return lifetime > limit
    ? new Denial('token_lifetime_too_long', `exp - iat is ${lifetime} s, more than ${limit} s`)
    : null
}

/** The issuer's own limit, or else the one that the profile of the route brings. */
function longestLifetime(token: TokenFacts, rule: TokenRule): number | null {
  return token.rules.maxLifetimeSeconds ?? rule.maxLifetimeSeconds
}

function missing(claim: string): Denial {
  return new Denial('token_claim_missing', `${claim} is absent or of the wrong type`)
}

export const audience: Check = {
  name: 'audience',
  judge: tokenIsForThisServer,
  fact: ({ token }) => `aud is ${token.audience.join(', ') || 'absent'}`,
}

export const requiredClaims: Check = {
  name: 'claims',
  judge: tokenHasRequiredClaims,
  fact: ({ token }) => `required are exp, ${token.rules.requiredClaims.join(', ')}`,
}

export const current: Check = {
  name: 'time',
  judge: tokenIsCurrent,
  fact: ({ token, now }) =>
    `exp ${token.expiresAt}, nbf ${token.notBefore}, iat ${token.issuedAt}, now ${Math.floor(now)}, clockSkew ${token.rules.clockSkewSeconds} s`,
}

export const lifetime: Check = {
  name: 'lifetime',
  judge: tokenIsShortLived,
  fact: ({ token, rule }) => `exp - iat against maxLifetime ${longestLifetime(token, rule) ?? 'unlimited'}`,
}
