import type { IntrospectionSettings, TokenFormat } from '../policy/introspection.js'
import type { IssuerRules } from '../policy/issuer.js'
import { unverifiedIssuer } from './compact-jws.js'
import { createIntrospectionSource } from './introspection.js'
import { createJwtSource } from './jwt.js'
import type { KeySource } from './keys.js'
import { createRevocationSource } from './revocation.js'
import type { SourceMeter, TokenSource } from './token-source.js'

/** How the tokens of an issuer are judged. */
export interface IssuerSourceOptions {
  readonly tokens: TokenFormat
  readonly revocation: 'none' | 'introspect'
  readonly rules: IssuerRules
  /** null: neither tokens nor replies are signed. */
  readonly keys: KeySource | null
  /** null: nobody is asked. */
  readonly introspection: IntrospectionSettings | null
  readonly meter: SourceMeter
}

/** The source that the settings of one issuer ask for. Throws for settings that need each other, which a checked policy has. */
export function createIssuerSource(options: IssuerSourceOptions): TokenSource {
  const { tokens, revocation, rules, keys, introspection, meter } = options
  const asks = tokens !== 'jwt' || revocation === 'introspect'
  const introspected =
    introspection === null || !asks
      ? null
      : createIntrospectionSource({
          settings: introspection,
          keys: introspection.response === 'jwt' ? keys : null,
          meter,
        })
  if (tokens === 'opaque') return needed(introspected, rules.name)
  const verified = createJwtSource({ rules, keys: needed(keys, rules.name), meter })
  const jwts =
    revocation === 'introspect'
      ? createRevocationSource(verified, needed(introspected, rules.name))
      : verified
  return tokens === 'auto' ? createMixedSource(jwts, needed(introspected, rules.name)) : jwts
}

/**
 * Both kinds of tokens. A JWT that names the issuer is verified and, when that fails, refused: it is never asked about instead, or
 * a forged token would be as good as the attention of the endpoint.
 */
export function createMixedSource(jwts: TokenSource, introspection: TokenSource): TokenSource {
  return {
    issuer: jwts.issuer,
    takesOpaque: true,
    authenticate(credentials, now, admit) {
      const isJwt = unverifiedIssuer(credentials.token) === jwts.issuer
      return (isJwt ? jwts : introspection).authenticate(credentials, now, admit)
    },
    isReady: () => jwts.isReady() && introspection.isReady(),
    close() {
      jwts.close()
      introspection.close()
    },
  }
}

function needed<T>(value: T | null, issuer: string): T {
  if (value === null) throw new Error(`the settings of issuer ${issuer} do not fit together`)
  return value
}
