import type { TokenFacts } from '../checks/token-facts.js'
import { Denial, type Verdict } from '../decision/denials.js'
import { excerpt } from '../policy/excerpt.js'
import type { Credentials } from '../request/credentials.js'
import { readCompactJws, unverifiedIssuer } from './compact-jws.js'
import type { Admit, TokenSource } from './token-source.js'

/**
 * Asks the issuer of a token what it says. `issuerNames` are those that the route accepts, by their names in the policy;
 * `now` is seconds since the epoch; `admit` is asked before anything is done for a token that is not known yet.
 */
export type Authenticator = (
  credentials: Credentials,
  issuerNames: readonly string[],
  now: number,
  admit: Admit,
) => Verdict<TokenFacts> | Promise<Verdict<TokenFacts>>

/**
 * With one issuer that one is asked. With several the `iss` of the token chooses, unverified: the source that is chosen
 * checks it. A token whose `iss` chooses none goes to the one issuer of them that takes opaque tokens, and to no other: trying
 * one after the other would show every issuer the tokens of all. `token_issuer_unknown` when there is none
 * (`token_malformed` when the token cannot be read); else what the source says. Throws for a name without a source,
 * which a checked policy cannot have.
 */
export function createAuthenticator(sources: ReadonlyMap<string, TokenSource>): Authenticator {
  const sourceOf = (name: string): TokenSource => {
    const source = sources.get(name)
    if (source === undefined) throw new Error(`no source for issuer ${name}`)
    return source
  }
  return (credentials, issuerNames, now, admit) => {
    const [only, ...others] = issuerNames
    if (only !== undefined && others.length === 0) return sourceOf(only).authenticate(credentials, now, admit)
    const candidates = issuerNames.map(sourceOf)
    const iss = unverifiedIssuer(credentials.token)
    const source =
      candidates.find(({ issuer }) => issuer === iss) ?? candidates.find(({ takesOpaque }) => takesOpaque)
    return source?.authenticate(credentials, now, admit) ?? withoutIssuer(credentials.token, iss)
  }
}

function withoutIssuer(token: string, iss: string | null): Denial {
  if (iss !== null) return new Denial('token_issuer_unknown', `iss is ${excerpt(iss)}`)
  const jws = readCompactJws(token)
  return jws instanceof Denial ? jws : new Denial('token_issuer_unknown', 'no iss to choose the issuer by')
}
