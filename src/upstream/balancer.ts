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
}

/** The addresses of one upstream: the healthy one with the least to do, in turn where several have as little. */
export class Balancer<A extends Candidate> {
  readonly #addresses: readonly A[]
  #turn = 0

  constructor(addresses: readonly A[]) {
    this.#addresses = addresses
  }

  /** null: no address is left that could be asked now. `now` is milliseconds of the clock of the addresses. */
  choose(now: number, { tried, isRepeatable }: Choice<A>): A | null {
    const left = this.#addresses.filter(address => !tried.has(address))
    const healthy = left.filter(({ health }) => health.isHealthy)
    const isLastResort = healthy.length === 0
    const trial = left.find(({ health }) => health.trialIsDue(now, { isLastResort, isRepeatable }))
    return trial ?? this.#leastBusy(healthy)
  }

  #leastBusy(healthy: readonly A[]): A | null {
    const first = this.#turn++
    let best: A | null = null
    for (let i = 0; i < healthy.length; i++) {
      const address = healthy[(first + i) % healthy.length] as A
      if (best === null || address.inFlight < best.inFlight) best = address
    }
    return best
  }
}
