import { Denial } from '../decision/denials.js'
import { excerpt } from '../policy/excerpt.js'
import { claimAt } from '../policy/flow-rules.js'
import type { IssuerRules } from '../policy/issuer.js'
import type { CompactJws, JwsHeader } from './compact-jws.js'

/** JWTs that serve other purposes and never open an API, whatever a policy lists (RFC 8725 section 3.11). */
const OTHER_KINDS = [
  'dpop+jwt',
  'logout+jwt',
  'secevent+jwt',
  'token-introspection+jwt',
  'oauth-authz-req+jwt',
]
/** Whether a JWT serves another purpose by its typ, so that no issuer need be asked about it. Pure. */
export function isOtherKind({ typ }: JwsHeader): boolean {
  return typ !== null && OTHER_KINDS.includes(bareTyp(typ))
}

function bareTyp(typ: string): string {
  return typ.toLowerCase().replace(/^application\//, '')
}

/** Claims that only ID tokens have (OpenID Connect Core sections 2 and 3.3.2.11). */
const ID_TOKEN_CLAIMS = ['nonce', 'at_hash', 'c_hash']

/**
 * Whether a JWT is an access token (RFC 9068 section 4): its typ is one that the issuer's rules accept; and when that typ says
 * less than `at+jwt`, the JWT is not an ID token by its claims. `token_type_wrong` or null. Pure.
 */
export function tokenKindProblem({ header, claims }: CompactJws, rules: IssuerRules): Denial | null {
  const typ = header.typ === null ? null : bareTyp(header.typ)
  if (typ === 'none' || (typ !== null && OTHER_KINDS.includes(typ)) || !rules.typ.includes(typ ?? 'none'))
    return wrong(header.typ === null ? 'no typ' : `typ is ${excerpt(header.typ)}`)
  if (typ === 'at+jwt') return null
  const telling = ID_TOKEN_CLAIMS.find(claim => Object.hasOwn(claims, claim))
  if (telling !== undefined) return wrong(`an ID token: it has ${telling}`)
  const clientId = rules.claims.clientId.map(name => claimAt(claims, name)).find(id => typeof id === 'string')
  const audience = Array.isArray(claims.aud) ? claims.aud : [claims.aud]
  if (clientId !== undefined && audience.length > 0 && audience.every(value => value === clientId))
    return wrong('an ID token: its audience is the client')
  return null
}

function wrong(detail: string): Denial {
  return new Denial('token_type_wrong', detail)
}
