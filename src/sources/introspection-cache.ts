import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { TokenFacts } from '../checks/token-facts.js'
import { Denial, type Verdict } from '../decision/denials.js'
import { identityOf } from '../policy/identity.js'
import type { IntrospectionSettings } from '../policy/introspection.js'
import type { Clock } from './clock.js'

/**
 * What the issuer said of tokens a short while ago: facts, or that a token is not active. Neither tokens nor verdicts on routes
 * are in it. An entry ends at its time, however often it is read.
 */
export interface IntrospectionCache {
  readonly get: (key: string) => Verdict<TokenFacts> | undefined
  /** `askedAt` is of the clock; `now` is seconds since the epoch. */
  readonly set: (key: string, found: Verdict<TokenFacts>, bytes: number, askedAt: number, now: number) => void
  /** The name of a token in the cache: issuer, settings and SHA-256 of the token. */
  readonly keyOf: (token: string) => string
  readonly clear: () => void
}

/** The entry itself and its claims as objects, beside the text of the reply. */
const ENTRY_BYTES = 2048
const BYTES_PER_CHARACTER = 3
/** Of their own, so that made-up tokens push out no real ones. */
const MAX_INACTIVE = 10_000

interface Entry<T> {
  readonly value: T
  /** Milliseconds of the clock. */
  readonly until: number
}

/** A cache of at most `maxBytes`, as estimated; the least recently used facts give way. */
export function createIntrospectionCache(
  settings: IntrospectionSettings,
  maxBytes: number,
  clock: Clock,
): IntrospectionCache {
  const { rules, cacheMs, negativeCacheMs } = settings
  const active = new LRUCache<string, Entry<TokenFacts>>({ maxSize: maxBytes })
  const inactive = new LRUCache<string, Entry<Denial>>({ max: MAX_INACTIVE })
  // Who is asked, and how, is part of the name: what one endpoint said is no answer of another.
  const prefix = `${rules.name}:${hash('sha256', identityOf(settings), 'base64url')}:`
  const present = <T>(entries: LRUCache<string, Entry<T>>, key: string): T | undefined => {
    const entry = entries.get(key)
    if (entry === undefined) return undefined
    if (clock.now() < entry.until) return entry.value
    entries.delete(key)
    return undefined
  }
  return {
    get: key => present(active, key) ?? present(inactive, key),
    set(key, found, bytes, askedAt, now) {
      if (found instanceof Denial) {
        const until = askedAt + negativeCacheMs
        if (clock.now() < until) inactive.set(key, { value: found, until })
        return
      }
      const left = found.expiresAt === null ? cacheMs : (found.expiresAt - now) * 1000
      const until = askedAt + Math.min(cacheMs, left)
      if (clock.now() < until)
        active.set(key, { value: found, until }, { size: ENTRY_BYTES + BYTES_PER_CHARACTER * bytes })
    },
    keyOf: token => prefix + hash('sha256', token, 'base64url'),
    clear() {
      active.clear()
      inactive.clear()
    },
  }
}
