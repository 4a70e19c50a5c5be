import type { RateRule } from '../policy/rate.js'
import type { Budget, OpenBudget } from '../sources/budget.js'

/** The budgets of a gate, by the ids of the rules. */
export type RateBudgets = ReadonlyMap<string, Budget>

/** Makes the budgets of all rules; one whose rule is the same as before goes on counting. */
export function rateBudgets(rules: readonly RateRule[], before: RateBudgets, open: OpenBudget): RateBudgets {
  const budgets = new Map<string, Budget>()
  for (const { id, requests, perSeconds } of rules)
    budgets.set(id, budgets.get(id) ?? before.get(id) ?? open(id, { count: requests, perSeconds }))
  return budgets
}

/** Forgets what was counted by rules that are gone. */
export function closeReplacedBudgets(budgets: RateBudgets, before: RateBudgets): void {
  for (const [id, budget] of before) if (!budgets.has(id)) budget.close()
}
