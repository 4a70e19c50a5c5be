import { type TokenFacts, tokenFacts } from '../checks/token-facts.js'
import { Denial, type Verdict } from '../decision/denials.js'
import { excerpt } from '../policy/excerpt.js'
import type { Claims } from '../policy/flow-rules.js'
import type { IntrospectionSettings } from '../policy/introspection.js'
import { type Clock, systemClock, timeFrom } from './clock.js'
import { readCompactJws } from './compact-jws.js'
import { deepFreeze } from './deep-freeze.js'
import { introspectedKindProblem } from './introspected-kind.js'
import { createIntrospectionCache } from './introspection-cache.js'
import {
  createIntrospectionClient,
  type Introspection,
  type IntrospectionClient,
  IntrospectionFailure,
} from './introspection-client.js'
import type { KeySource } from './keys.js'
import { isOtherKind } from './token-kind.js'
import type { Admit, SourceMeter, TokenSource } from './token-source.js'

/** A question under way. */
interface Asking {
  readonly answer: Promise<Verdict<TokenFacts>>
  /** Milliseconds of the clock. */
  readonly askedAt: number
}

export interface IntrospectionSourceOptions {
  readonly settings: IntrospectionSettings
  /** Of the issuer; null when replies are not signed. Closed together with the source. */
  readonly keys: KeySource | null
  readonly meter: Pick<SourceMeter, 'tokenCache' | 'introspection'>
  /** Bound of the cache, in estimated bytes. Default 32 MiB. */
  readonly cacheBytes?: number
  readonly clock?: Clock
  /** For tests; default: calls over the network. */
  readonly client?: IntrospectionClient
}

/**
 * Tokens of which the issuer itself says what they are (RFC 7662). Facts are cached for a short while and then had without a
 * promise; requests with the same token share one call while its answer could still be cached. Refuses with `token_inactive`, `token_type_wrong`,
 * `token_issuer_unknown` and `issuer_unavailable`.
 */
export function createIntrospectionSource(options: IntrospectionSourceOptions): TokenSource {
  const { settings, keys, meter, cacheBytes = 32 * 1024 * 1024, clock = systemClock } = options
  const { rules } = settings
  const client = options.client ?? createIntrospectionClient({ settings, keys, meter, clock })
  const cache = createIntrospectionCache(settings, cacheBytes, clock)
  const underWay = new Map<string, Asking>()
  let keyGeneration = 0
  keys?.onChange(() => {
    keyGeneration++
    cache.clear()
  })

  async function ask(token: string, name: string, now: number): Promise<Verdict<TokenFacts>> {
    const generation = keyGeneration
    // Lifetimes count from the question: when the issuer made up its mind after it, nobody knows.
    const askedAt = clock.now()
    const answer = await client.introspect(token, now)
    if (answer instanceof IntrospectionFailure) return new Denial('issuer_unavailable', answer.detail)
    const found = factsOf(answer, settings)
    if (generation === keyGeneration) cache.set(name, found, answer.bytes, askedAt, now)
    return found
  }

  /**
   * Without a cache every request wants an answer that is younger than itself, and shares none. With one it shares a question that
   * is younger than `cache`: what an issuer that takes longer says may be older than an answer ever counts.
   */
  function askOnce(token: string, name: string, now: number): Promise<Verdict<TokenFacts>> {
    const present = underWay.get(name)
    if (present !== undefined && clock.now() - present.askedAt < settings.cacheMs) return present.answer
    const askedAt = clock.now()
    const answer = ask(token, name, now).finally(() => {
      // A later question may have taken its place.
      if (underWay.get(name) === asking) underWay.delete(name)
    })
    const asking: Asking = { answer, askedAt }
    underWay.set(name, asking)
    return answer
  }

  /** Whoever is not admitted does not share a call either: the refusal is his alone. */
  async function askIfAdmitted(
    token: string,
    name: string,
    now: number,
    admit: Admit,
  ): Promise<Verdict<TokenFacts>> {
    const time = timeFrom(now, clock)
    return (await admit()) ?? askOnce(token, name, time())
  }

  return {
    issuer: rules.issuer,
    takesOpaque: true,
    authenticate({ token }, now, admit) {
      const name = cache.keyOf(token)
      const known = cache.get(name)
      meter.tokenCache(known === undefined ? 'miss' : 'hit')
      if (known !== undefined) return keys?.unavailable() ?? known // as in jwt.ts
      return jwtOfOtherKind(token) ?? askIfAdmitted(token, name, now, admit)
    },
    isReady: () => keys?.isReady() ?? true,
    close() {
      keys?.close()
      client.close()
      cache.clear()
    },
  }
}

/** A JWT that says itself that it is no access token, such as a signed introspection reply (RFC 9701 section 8). */
function jwtOfOtherKind(token: string): Denial | null {
  if (!token.includes('.')) return null
  const jws = readCompactJws(token)
  return jws instanceof Denial || !isOtherKind(jws.header)
    ? null
    : new Denial('token_type_wrong', `typ is ${excerpt(String(jws.header.typ))}`)
}

/** The facts that an answer about a token states, or why it states none. Pure. */
function factsOf({ claims }: Introspection, { rules }: IntrospectionSettings): Verdict<TokenFacts> {
  // RFC 7662 section 2.2: a boolean; "true" in quotes is somebody's mistake, and no yes.
  if (claims.active !== true)
    return new Denial('token_inactive', `${rules.name} says that the token is not active`)
  const problem = issuerProblem(claims, rules.issuer) ?? introspectedKindProblem(claims)
  return problem ?? Object.freeze(tokenFacts(deepFreeze(claims), rules))
}

function issuerProblem({ iss }: Claims, issuer: string): Denial | null {
  if (iss === undefined || iss === issuer) return null
  return new Denial(
    'token_issuer_unknown',
    typeof iss === 'string' ? `iss is ${excerpt(iss)}` : 'iss is no text',
  )
}
