import { type Budget, type BudgetSize, type OpenBudget, openMemoryBudget } from '../../sources/budget.js'
import { SILENCE } from './channel.js'

/** The primary does nothing that takes long; a client should not wait for one that hangs. Milliseconds. */
const DEADLINE_MS = 2_000

/** What a worker asks of a budget that the primary keeps. */
export interface BudgetQuestion extends BudgetSize {
  readonly id: string
  readonly name: string
  readonly action: 'spend' | 'wait'
}

type AskPrimary = (question: BudgetQuestion, deadlineMs: number) => Promise<number | null | typeof SILENCE>

/**
 * Budgets of the primary, so that all workers count together. While it is silent each worker counts alone: a limit that nobody
 * keeps would be an invitation to silence the primary, and one that refuses everybody an outage.
 */
export function askedBudgets(ask: AskPrimary): OpenBudget {
  return (id, size) => {
    const own = openMemoryBudget(id, size)
    const count = async (action: BudgetQuestion['action'], name: string): Promise<number | null> => {
      const answer = await ask({ id, name, action, ...size }, DEADLINE_MS)
      return answer === SILENCE ? own[action](name) : answer
    }
    return {
      spend: name => count('spend', name),
      wait: name => count('wait', name),
      close: () => own.close(),
    }
  }
}

/** The budgets that the workers share, in the primary. */
export class SharedBudgets {
  readonly #budgets = new Map<string, Budget>()

  answer({ id, name, action, ...size }: BudgetQuestion): Promise<number | null> {
    const budget = this.#budgets.get(id) ?? openMemoryBudget(id, size)
    this.#budgets.set(id, budget)
    return budget[action](name)
  }

  /** Forgets the budgets of rules that the policy does not have any more. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const [id, budget] of this.#budgets)
      if (!ids.has(id)) {
        budget.close()
        this.#budgets.delete(id)
      }
  }
}
