import { Denial, type Verdict } from '../decision/denials.js'

/**
 * Remembers what may be used once. `takeOnce` is true for the first call with a key within `seconds`, false for the others, and
 * `store_unavailable` when it cannot know: what may have been used must not pass. Asking and remembering are one step, so that of
 * two requests at the same time one loses. A store that several processes share answers with a promise, and never rejects.
 */
export interface ReplayStore {
  readonly takeOnce: (key: string, seconds: number) => Verdict<boolean> | Promise<Verdict<boolean>>
}

/**
 * A store in the memory of this process. Nothing is forgotten before its time: when it is full, it is unavailable until the
 * oldest keys expire.
 * @param now seconds since the epoch, on the clock by which proofs are judged: when that is set back, proofs that had become
 * too old are good again, and their keys are still here
 * @param maxKeys about 150 bytes each. One process verifies some 5000 signatures a second and core, and remembers each for 75 s
 * unless the policy says otherwise: a million is more than it can use up
 */
export function createMemoryReplayStore(now: () => number, maxKeys: number): ReplayStore {
  // By lifetime: within one, keys expire in the order in which they came, which is the order of a Map. There are as many
  // lifetimes as different settings of routes.
  const lifetimes = new Map<number, Map<string, number>>()
  let size = 0

  function forgetExpired(time: number): void {
    for (const [seconds, keys] of lifetimes) {
      for (const [key, until] of keys) {
        if (until >= time) break
        keys.delete(key)
        size--
      }
      if (keys.size === 0) lifetimes.delete(seconds)
    }
  }

  return {
    takeOnce(key, seconds) {
      const time = now()
      forgetExpired(time)
      for (const keys of lifetimes.values())
        if ((keys.get(key) ?? Number.NEGATIVE_INFINITY) >= time) return false
      if (size >= maxKeys) return new Denial('store_unavailable', `${maxKeys} used proofs are remembered`)
      const keys = lifetimes.get(seconds) ?? new Map<string, number>()
      if (keys.delete(key)) size--
      lifetimes.set(seconds, keys.set(key, time + seconds))
      size++
      return true
    },
  }
}
