import type { Clock } from './clock.js'

/** Told how the call that was let through has ended; `indifferent`: in a way that says nothing of the server. */
export type Settle = (outcome: 'succeeded' | 'failed' | 'indifferent') => void

/** Keeps calls from a server that fails, so that requests are refused at once and the server can recover. */
export interface CircuitBreaker {
  /** Lets a call through, which must be settled; null while the circuit is open. */
  readonly begin: () => Settle | null
}

export interface CircuitBreakerOptions {
  /** Failures in a row that open the circuit. */
  readonly failures: number
  /** How long it stays open before one call may try again. */
  readonly cooldownMs: number
  readonly clock: Clock
}

/** A circuit that is closed at first. */
export function createCircuitBreaker({ failures, cooldownMs, clock }: CircuitBreakerOptions): CircuitBreaker {
  let inARow = 0
  let openSince: number | null = null
  let probing = false
  /** Changes when the circuit opens: what began before says nothing of the state after, and while it is open only probes begin. */
  let era = 0

  return {
    begin() {
      const isProbe = openSince !== null
      if (openSince !== null) {
        if (probing || clock.now() - openSince < cooldownMs) return null
        probing = true
      }
      const begunIn = era
      return outcome => {
        if (isProbe) probing = false
        if (begunIn !== era || outcome === 'indifferent') return
        if (outcome === 'succeeded') {
          inARow = 0
          openSince = null
          return
        }
        // A probe that fails is one more in the row that opened the circuit.
        if (++inARow < failures) return
        era++
        openSince = clock.now()
      }
    },
  }
}
