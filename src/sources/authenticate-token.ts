import type { TokenFacts } from '../checks/token-facts.js'
import { Denial, type Verdict } from '../decision/denials.js'
import type { Credentials } from '../request/credentials.js'
import { readCompactJws, unverifiedIssuer } from './compact-jws.js'
import { excerpt } from './excerpt.js'
import type { TokenSource } from './token-source.js'

/**
 * Asks the issuer of a token what it says. `issuerNames` are those that the route accepts, by their names in the policy;
 * `now` is seconds since the epoch.
 */
export type Authenticator = (
  credentials: Credentials,
  issuerNames: readonly string[],
  now: number,
) => Verdict<TokenFacts> | Promise<Verdict<TokenFacts>>

/**
 * With one issuer that one is asked. With several the `iss` of the token chooses, unverified: the source that is chosen
 * checks it. `token_issuer_unknown` when it chooses none (`token_malformed` when it cannot be read); else what the source says. Throws for a name without a source,
 * which a checked policy cannot have.
 */
export function createAuthenticator(sources: ReadonlyMap<string, TokenSource>): Authenticator {
  const sourceOf = (name: string): TokenSource => {
    const source = sources.get(name)
    if (source === undefined) throw new Error(`no source for issuer ${name}`)
    return source
  }
  return (credentials, issuerNames, now) => {
    const [only, ...others] = issuerNames
    if (only !== undefined && others.length === 0) return sourceOf(only).authenticate(credentials, now)
    const iss = unverifiedIssuer(credentials.token)
    if (iss === null) return withoutIssuer(credentials.token)
    const source = issuerNames.map(sourceOf).find(({ issuer }) => issuer === iss)
    if (source === undefined) return new Denial('token_issuer_unknown', `iss is ${excerpt(iss)}`)
    return source.authenticate(credentials, now)
  }
}

function withoutIssuer(token: string): Denial {
  const jws = readCompactJws(token)
  return jws instanceof Denial ? jws : new Denial('token_issuer_unknown', 'no iss to choose the issuer by')
}
