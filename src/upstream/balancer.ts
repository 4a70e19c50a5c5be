/** Which address of an upstream a request goes to. */
import type { AddressHealth } from './address-health.js'

/** What is known of an address when the choice is made. */
export interface Candidate {
  readonly health: AddressHealth
  /** Exchanges under way. */
  readonly inFlight: number
}

/** What is known of a request when the choice is made. */
export interface Choice<A> {
  /** Where it has been already, in vain. */
  readonly tried: ReadonlySet<A>
  /** It does no harm when the request fails after it has arrived. */
  readonly isRepeatable: boolean
  /** It may go once more where it has been. */
  readonly mayReturn: boolean
}

/**
 * The addresses of one upstream: the healthy one with the least to do, in turn where several have as little. An address that
 * requests failed at is still better than none; one that fails its checks is not.
 */
export class Balancer<A extends Candidate> {
  readonly #addresses: readonly A[]
  #turn = 0

  constructor(addresses: readonly A[]) {
    this.#addresses = addresses
  }

  /** null: no address is left that could be asked. `now` is milliseconds of the clock of the addresses. */
  choose(now: number, { tried, isRepeatable, mayReturn }: Choice<A>): A | null {
    if (this.#addresses.length === 1) {
      const only = this.#addresses[0] as A // whether it is ejected or not
      return only.health.isDown || (tried.has(only) && !mayReturn) ? null : only
    }
    const up = this.#addresses.filter(({ health }) => !health.isDown)
    const left = up.filter(address => !tried.has(address))
    const healthy = ({ health }: A): boolean => health.isHealthy
    const trial = left.find(({ health }) => health.trialIsDue(now, isRepeatable))
    const again = mayReturn ? up : []
    return (
      trial ??
      this.#leastBusy(left.filter(healthy)) ??
      this.#leastBusy(again.filter(healthy)) ??
      this.#leastBusy(left) ??
      this.#leastBusy(again)
    )
  }

  /** No other address is healthy. */
  isLast(address: A): boolean {
    return !this.#addresses.some(other => other !== address && other.health.isHealthy)
  }

  #leastBusy(some: readonly A[]): A | null {
    if (some.length === 0) return null
    const first = this.#turn++
    let best: A | null = null
    for (let i = 0; i < some.length; i++) {
      const address = some[(first + i) % some.length] as A
      if (best === null || address.inFlight < best.inFlight) best = address
    }
    return best
  }
}
