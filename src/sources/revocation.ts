import type { Confirmation, TokenFacts } from '../checks/token-facts.js'
import { answerOf, Denial, type Verdict } from '../decision/denials.js'
import { type Clock, systemClock, timeFrom } from './clock.js'
import type { TokenSource } from './token-source.js'

/**
 * JWTs whose issuer is also asked whether they still count: a signature says nothing of revocation (FAPI 2.0 section 5.3.4).
 * Only a JWT that verifies is asked about. The facts are those of the JWT; an answer that is not about it, or that says it is
 * not active, is `token_revoked`; none at all is `issuer_unavailable`.
 */
export function createRevocationSource(
  jwts: TokenSource,
  introspection: TokenSource,
  clock: Clock = systemClock,
): TokenSource {
  return {
    ...jwts,
    authenticate(credentials, now, admit) {
      const time = timeFrom(now, clock)
      const decide = (facts: Verdict<TokenFacts>) => {
        if (facts instanceof Denial) return facts
        const verifiedAt = time()
        const past = expired(facts, verifiedAt)
        if (past !== null) return past
        const present = introspection.authenticate(credentials, verifiedAt, admit)
        return present instanceof Promise
          ? present.then(found => unlessRevoked(facts, found))
          : unlessRevoked(facts, present)
      }
      const facts = jwts.authenticate(credentials, now, admit)
      return facts instanceof Promise ? facts.then(decide) : decide(facts)
    },
    close() {
      jwts.close()
      introspection.close()
    },
  }
}

/** Of an expired token nobody need be asked; refused here, so that no check elsewhere has to be relied on. */
function expired({ expiresAt, rules }: TokenFacts, now: number): Denial | null {
  if (expiresAt === null || now < expiresAt + rules.clockSkewSeconds) return null
  return new Denial('token_expired', `exp was ${Math.round(now - expiresAt)} s ago`)
}

function unlessRevoked(facts: TokenFacts, found: Verdict<TokenFacts>): Verdict<TokenFacts> {
  // An outage or a limit says nothing of the token.
  if (found instanceof Denial)
    return answerOf(found).status === 401 ? new Denial('token_revoked', found.detail) : found
  const differing = disagreement(facts, found)
  return differing === null
    ? facts
    : new Denial('token_revoked', `introspection says another ${differing} than the JWT`)
}

/** What both say, and differently; a member that the reply leaves out says nothing. Pure. */
function disagreement(jwt: TokenFacts, reply: TokenFacts): string | null {
  if (reply.clientId !== null && reply.clientId !== jwt.clientId) return 'client'
  if (reply.subject !== null && reply.subject !== jwt.subject) return 'sub'
  return reply.confirmation !== null && !sameKey(jwt.confirmation, reply.confirmation) ? 'cnf' : null
}

function sameKey(one: Confirmation | null, other: Confirmation): boolean {
  return one !== null && one.x5tS256 === other.x5tS256 && one.jkt === other.jkt
}
