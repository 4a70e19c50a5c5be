import { type Caller, nameToCountBy } from '../checks/caller.js'
import type { TokenFacts } from '../checks/token-facts.js'
import { Denial } from '../decision/denials.js'
import { countsTokens, type RateRule } from '../policy/rate.js'
import type { Budget } from '../sources/budget.js'

/**
 * Counts a request on the budgets of its route: with `token: null` on those that need none, before anything that costs is
 * done for it; with its token on the others, once it is granted. `rate_limited` when it is one too many.
 */
export type CountRequest = (
  rules: readonly RateRule[],
  caller: Caller,
  token: TokenFacts | null,
) => Promise<Denial | null> | null

/** @param budgets by the ids of the rules */
export function createRequestCounter(budgets: ReadonlyMap<string, Budget>): CountRequest {
  return (rules, caller, token) => {
    const due = rules.filter(({ by }) => countsTokens(by) === (token !== null))
    return due.length === 0 ? null : count(budgets, due, caller, token)
  }
}

async function count(
  budgets: ReadonlyMap<string, Budget>,
  rules: readonly RateRule[],
  caller: Caller,
  token: TokenFacts | null,
): Promise<Denial | null> {
  for (const { id, requests, perSeconds, by } of rules) {
    const wait = await budgets.get(id)?.spend(nameToCountBy(by, caller, token))
    // Every rule has its budget; one that is missing is a fault, and no reason to let anybody in.
    if (wait === undefined) throw new Error(`no budget ${id}`)
    if (wait !== null)
      return new Denial('rate_limited', `more than ${requests} in ${perSeconds} s by ${by}`, {
        retryAfterSeconds: wait,
      })
  }
  return null
}
