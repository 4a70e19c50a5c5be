import { LRUCache } from 'lru-cache'
import { RateLimiterMemory } from 'rate-limiter-flexible'

/** Counts what happens under a name, in a window of time that begins with the first. Never rejects. */
export interface Budget {
  /** Counts one. Resolves with the seconds until the window ends when that is one too many, else with null. */
  readonly spend: (name: string) => Promise<number | null>
  /** Counts nothing. Resolves with the seconds until the window ends when nothing is left, else with null. */
  readonly wait: (name: string) => Promise<number | null>
  /** Forgets everything. */
  readonly close: () => void
}

/** The size of a budget, for each name. */
export interface BudgetSize {
  readonly count: number
  readonly perSeconds: number
}

/**
 * Makes a budget. The one thing to replace when several processes count together.
 * @param id of the budget, among all of this policy
 */
export type OpenBudget = (id: string, size: BudgetSize) => Budget

/**
 * Names of one budget: some 28 MiB. Whoever has so many networks that the oldest of them is forgotten within its window has as many
 * budgets anyway.
 */
const MOST_NAMES = 50_000

/** A budget in the memory of this process. */
export const openMemoryBudget: OpenBudget = (id, { count, perSeconds }) =>
  createMemoryBudget(id, { count, perSeconds }, MOST_NAMES)

/** @param mostNames the name that was used least recently gives way, and begins anew when it comes back */
export function createMemoryBudget(id: string, { count, perSeconds }: BudgetSize, mostNames: number): Budget {
  const limiter = new RateLimiterMemory({ keyPrefix: id, points: count, duration: perSeconds })
  // The package keeps a name and a timer for whatever anybody sends, without a bound of its own.
  const names = new LRUCache<string, true>({
    max: mostNames,
    noDisposeOnSet: true,
    dispose: (_, name) => void limiter.delete(name),
  })
  return {
    async spend(name) {
      names.set(name, true)
      const { consumedPoints, msBeforeNext } = await limiter.penalty(name)
      return consumedPoints > count ? seconds(msBeforeNext) : null
    },
    async wait(name) {
      const spent = await limiter.get(name)
      // Its timer may be late.
      return spent !== null && spent.consumedPoints >= count && spent.msBeforeNext > 0
        ? seconds(spent.msBeforeNext)
        : null
    },
    close: () => names.clear(),
  }
}

/** Retry-After counts whole seconds (RFC 9110 section 10.2.3); 0 would mean at once. */
function seconds(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 1000))
}
