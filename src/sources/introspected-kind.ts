import { Denial } from '../decision/denials.js'
import { excerpt } from '../policy/excerpt.js'
import type { Claims } from '../policy/flow-rules.js'

/** What access tokens are called, in lower case: RFC 7662 section 2.2, RFC 8693 section 3, and servers that have words of their own. */
const ACCESS_TOKEN_TYPES = ['bearer', 'dpop', 'access_token', 'urn:ietf:params:oauth:token-type:access_token']
/** `token_use` of Ory Hydra and Amazon Cognito. */
const ACCESS_TOKEN_USES = ['access_token', 'access']
/** `typ` of Keycloak for what is no access token. */
const OTHER_TYPES = ['refresh', 'offline', 'id', 'logout']

/**
 * Whether an active token is an access token. The endpoint says active of refresh tokens as well, and token_type_hint is only a
 * hint (RFC 7662 section 2.1): what shows no access token by its type or by an audience is none. `token_type_wrong` or null. Pure.
 */
export function introspectedKindProblem(claims: Claims): Denial | null {
  const { token_type: type, token_use: use, typ } = claims
  if (type === undefined && claims.aud === undefined) return wrong('neither token_type nor aud')
  if (type !== undefined && !isOneOf(type, ACCESS_TOKEN_TYPES)) return wrong(`token_type is ${shown(type)}`)
  if (use !== undefined && !isOneOf(use, ACCESS_TOKEN_USES)) return wrong(`token_use is ${shown(use)}`)
  return isOneOf(typ, OTHER_TYPES) ? wrong(`typ is ${shown(typ)}`) : null
}

function isOneOf(value: unknown, known: readonly string[]): boolean {
  return typeof value === 'string' && known.includes(value.toLowerCase())
}

function shown(value: unknown): string {
  return typeof value === 'string' ? excerpt(value) : 'no text'
}

function wrong(detail: string): Denial {
  return new Denial('token_type_wrong', detail)
}
