import type { IssuerSettings } from '../config/settings.js'
import { Denial } from '../decision/denials.js'
import type { IssuerRules } from '../policy/issuer.js'
import { unverifiedIssuer } from '../sources/compact-jws.js'

/** What `explain` says in place of an answer of the issuer. */
export const NOT_INTROSPECTED =
  'not checked: introspection needs the network, which explain does not use; --claims takes the answer of the issuer'

/** The issuer of the route that would be asked about this token; null when the token would be verified as a JWT. */
export function introspectingIssuer(
  issuers: readonly IssuerSettings[],
  token: string,
): IssuerSettings | null {
  const iss = unverifiedIssuer(token)
  const named = issuers.find(({ rules }) => rules.issuer === iss)
  const chosen = named ?? issuers.find(({ tokens }) => tokens !== 'jwt')
  if (chosen === undefined || chosen.tokens === 'jwt') return null
  return chosen.tokens === 'auto' && chosen === named ? null : chosen
}

/**
 * The rules for claims that are taken as authentic: those of the issuer that they name. Claims with `active`, or without iss,
 * are an answer of the issuer that is introspected, if the route has one.
 */
export function rulesForClaims(
  issuers: readonly IssuerSettings[],
  claims: Readonly<Record<string, unknown>>,
): IssuerRules | null {
  const named = issuers.find(({ rules }) => rules.issuer === claims.iss)
  const asked = claims.iss === undefined ? issuers.find(({ tokens }) => tokens !== 'jwt') : named
  const isAnswer = asked?.tokens === 'opaque' || (asked?.tokens === 'auto' && claims.active !== undefined)
  return (isAnswer || claims.iss === undefined ? asked?.introspection?.rules : named?.rules) ?? null
}

/** Claims that are an answer of the issuer and say that the token is not active. */
export function inactive({ active }: Readonly<Record<string, unknown>>): Denial | null {
  return active === undefined || active === true ? null : new Denial('token_inactive', 'active is not true')
}
