import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { TokenFacts } from '../checks/token-facts.js'
import { identityOf } from '../policy/identity.js'
import type { IssuerRules } from '../policy/issuer.js'

/** Facts of verified tokens. Neither tokens nor verdicts are in it. `now` is seconds since the epoch. */
export interface TokenCache {
  readonly get: (key: string, now: number) => TokenFacts | undefined
  readonly set: (key: string, facts: TokenFacts, tokenLength: number, now: number) => void
  /** The name of a token in the cache: issuer, rules and SHA-256 of the token. */
  readonly keyOf: (token: string) => string
  readonly clear: () => void
  /** Estimated bytes in use. */
  readonly bytes: () => number
}

/** Facts outlive exp by the greatest clock skew, so that the answer is still `token_expired` without a verification. */
const AFTER_EXPIRY_SECONDS = 60
/**
 * Heap of one value of the claims beside its text, the entry's own included: 40 to 90 bytes were measured, by its shape. A token of
 * 600 characters with ten claims and two scopes took 1250 bytes, and counts for 1370.
 */
const BYTES_PER_VALUE = 64

interface Entry {
  readonly facts: TokenFacts
  /** Seconds since the epoch. */
  readonly until: number
}

/** A cache of at most `maxBytes`, as estimated; the least recently used facts give way. */
export function createTokenCache(rules: IssuerRules, maxBytes: number): TokenCache {
  const entries = new LRUCache<string, Entry>({ maxSize: maxBytes })
  // Facts depend on the rules as well: under other rules they have another name.
  const prefix = `${rules.name}:${hash('sha256', identityOf(rules), 'base64url')}:`
  return {
    get(key, now) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (now < entry.until) return entry.facts
      entries.delete(key)
      return undefined
    },
    set(key, facts, tokenLength, now) {
      if (facts.expiresAt === null) return
      const until = facts.expiresAt + AFTER_EXPIRY_SECONDS
      const size = tokenLength + BYTES_PER_VALUE * (valuesIn(facts.claims) + facts.scopes.size)
      if (now < until) entries.set(key, { facts, until }, { size })
    },
    keyOf: token => prefix + hash('sha256', token, 'base64url'),
    clear: () => entries.clear(),
    bytes: () => entries.calculatedSize,
  }
}

/** Members and elements at any depth: thousands of empty objects fit into a short token. The reader of the JSON bounds the depth. */
function valuesIn(claims: unknown): number {
  if (typeof claims !== 'object' || claims === null) return 0
  return Object.values(claims).reduce<number>((sum, member) => sum + 1 + valuesIn(member), 0)
}
