import { type TokenFacts, tokenFacts } from '../checks/token-facts.js'
import { Denial, type Verdict } from '../decision/denials.js'
import { KEY_KIND_OF_ALGORITHM } from '../policy/algorithms.js'
import { excerpt } from '../policy/excerpt.js'
import type { IssuerRules } from '../policy/issuer.js'
import { type CompactJws, readCompactJws } from './compact-jws.js'
import { deepFreeze } from './deep-freeze.js'
import type { KeySource } from './keys.js'
import { createTokenCache } from './token-cache.js'
import { tokenKindProblem } from './token-kind.js'
import type { Admit, SourceMeter, TokenSource } from './token-source.js'
import { KnownKeys } from './verify-signature.js'

export interface JwtSourceOptions {
  readonly rules: IssuerRules
  /** Of this issuer alone (RFC 8725 section 3.8); closed together with the source. */
  readonly keys: KeySource
  readonly meter: Pick<SourceMeter, 'tokenCache'>
  /** Bound of the token cache, in estimated bytes. Default 64 MiB: some 48 000 tokens of 600 characters. */
  readonly cacheBytes?: number
}

/**
 * JWT access tokens of one issuer (RFC 9068 section 4): form, algorithm, type, issuer and signature, in this order. Facts of
 * verified tokens are cached and then had without a promise; they go when the keys change. Refuses with `token_malformed`,
 * `token_algorithm_not_allowed`, `token_type_wrong`, `token_issuer_unknown`, `token_signature_invalid` and
 * `issuer_unavailable`.
 */
export function createJwtSource(options: JwtSourceOptions): TokenSource {
  const { rules, keys, meter, cacheBytes = 64 * 1024 * 1024 } = options
  const cache = createTokenCache(rules, cacheBytes)
  const knownKeys = new KnownKeys()
  let keyGeneration = 0
  keys.onChange(() => {
    keyGeneration++
    cache.clear()
  })

  async function verify(
    token: string,
    name: string,
    now: number,
    admit: Admit,
  ): Promise<Verdict<TokenFacts>> {
    const unwelcome = await admit()
    if (unwelcome !== null) return unwelcome
    const jws = readCompactJws(token)
    if (jws instanceof Denial) return jws
    const problem = problemBeforeKeys(jws, rules)
    if (problem !== null) return problem
    const generation = keyGeneration
    const candidates = await keys.keysFor(jws.header)
    if (candidates instanceof Denial) return candidates
    const refusal = await knownKeys.problem(token, jws.header.alg, candidates)
    if (refusal !== null) return refusal
    const facts = Object.freeze(tokenFacts(deepFreeze(jws.claims), rules))
    // Keys that went while the signature was checked must not leave facts behind.
    if (generation === keyGeneration) cache.set(name, facts, token.length, now)
    return facts
  }

  return {
    issuer: rules.issuer,
    takesOpaque: false,
    authenticate({ token }, now, admit) {
      const name = cache.keyOf(token)
      const known = cache.get(name, now)
      meter.tokenCache(known === undefined ? 'miss' : 'hit')
      if (known === undefined) return verify(token, name, now, admit)
      return keys.unavailable() ?? known // keys too old to verify with are too old to have verified with
    },
    isReady: keys.isReady,
    close() {
      keys.close()
      cache.clear()
    },
  }
}

/**
 * What can be refused before a key is looked for: `token_algorithm_not_allowed`, `token_type_wrong`,
 * `token_issuer_unknown`; null when nothing can. Pure.
 */
export function problemBeforeKeys(jws: CompactJws, rules: IssuerRules): Denial | null {
  const { alg } = jws.header
  if (!rules.algorithms.includes(alg) || !KEY_KIND_OF_ALGORITHM.has(alg))
    return new Denial('token_algorithm_not_allowed', `alg is ${excerpt(alg)}`)
  const wrongKind = tokenKindProblem(jws, rules)
  if (wrongKind !== null) return wrongKind
  const { iss } = jws.claims
  if (iss !== rules.issuer)
    return new Denial('token_issuer_unknown', typeof iss === 'string' ? `iss is ${excerpt(iss)}` : 'no iss')
  return null
}
