import { type Caller, nameToCountBy } from '../checks/caller.js'
import { answerOf, Denial, type DenialCode } from '../decision/denials.js'
import type { Budget } from '../sources/budget.js'

/**
 * Failed authentications, by trusted certificate or else by address. Within the budget they cost nothing but the refusal.
 * Beyond it a connection that has failed gets no more work done (`rate_limited`, and its end), while one that has
 * not failed is served as ever: a neighbour behind the same address is not locked out, and whoever guesses pays with a handshake
 * for each guess (docs/decisions/0019).
 */
export interface Failures {
  /** Asked before a signature is verified or an issuer is asked; what is known already needs no admission. */
  readonly admit: (caller: Caller, connection: object) => Promise<Denial | null>
  readonly note: (denial: Denial, caller: Caller, connection: object) => void
}

/** What well-behaved clients are told in the course of things; it costs no more than any other answer. */
const INVITATIONS: ReadonlySet<DenialCode> = new Set([
  'credentials_missing',
  'certificate_missing',
  'proof_missing',
  'proof_nonce_required',
  'stepup_required',
])

/**
 * @param budget of the process; outlives gates
 * @param perSeconds its window
 * @param stopwatch seconds on a clock that never goes back
 */
export function createFailures(budget: Budget, perSeconds: number, stopwatch: () => number): Failures {
  /** When a connection failed last; gone with the connection. */
  const failedAt = new WeakMap<object, number>()
  return {
    async admit(caller, connection) {
      const last = failedAt.get(connection)
      if (last === undefined || stopwatch() - last >= perSeconds) return null
      const wait = await budget.wait(nameToCountBy('certificate', caller, null))
      return wait === null
        ? null
        : new Denial('rate_limited', 'too many failed authentications', {
            retryAfterSeconds: wait,
            endsConnection: true,
          })
    },
    note(denial, caller, connection) {
      if (answerOf(denial).status !== 401 || INVITATIONS.has(denial.code)) return
      // A terminator's address and connections are those of all its clients: they would pay for one another.
      if (caller.isBehindTerminator && caller.thumbprint === null) return
      failedAt.set(connection, stopwatch())
      void budget.spend(nameToCountBy('certificate', caller, null))
    },
  }
}
