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
  /**
   * Asked before a signature is verified or an issuer is asked; what is known already needs no admission. Beyond the budget the
   * attempts of a connection wait for each other: a hundred streams at once would be a hundred guesses for one handshake.
   */
  readonly admit: (caller: Caller, connection: object, attempt: object) => Promise<Denial | null>
  /** Resolves when it is counted, for all workers; only then is the client told, or his next guess could run ahead of the count. */
  readonly note: (denial: Denial, caller: Caller, connection: object) => Promise<void>
  /** What came of an attempt is known, and noted; the next one of its connection is admitted, or not. */
  readonly judged: (connection: object, attempt: object) => void
}

/** The one attempt of a connection that is being judged. */
interface Turn {
  readonly attempt: object
  readonly over: Promise<void>
  readonly end: () => void
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
  const turns = new WeakMap<object, Turn>()
  return {
    async admit(caller, connection, attempt) {
      for (;;) {
        const turn = turns.get(connection)
        const last = failedAt.get(connection)
        const hasFailed = last !== undefined && stopwatch() - last < perSeconds
        // Its own: a proof is looked at after the token.
        if (!hasFailed && (turn === undefined || turn.attempt === attempt)) {
          if (turn === undefined) turns.set(connection, newTurn(attempt))
          return null
        }
        const wait = await budget.wait(nameToCountBy('certificate', caller, null))
        if (wait === null) return null
        if (hasFailed)
          return new Denial('rate_limited', 'too many failed authentications', {
            retryAfterSeconds: wait,
            endsConnection: true,
          })
        await turn?.over
      }
    },
    async note(denial, caller, connection) {
      if (answerOf(denial).status !== 401 || INVITATIONS.has(denial.code)) return
      // A terminator's address and connections are those of all its clients: they would pay for one another.
      if (caller.isBehindTerminator && caller.thumbprint === null) return
      failedAt.set(connection, stopwatch())
      await budget.spend(nameToCountBy('certificate', caller, null))
    },
    judged(connection, attempt) {
      const turn = turns.get(connection)
      if (turn?.attempt !== attempt) return
      turns.delete(connection)
      turn.end()
    },
  }
}

function newTurn(attempt: object): Turn {
  let end = (): void => {}
  const over = new Promise<void>(resolve => {
    end = resolve
  })
  return { attempt, over, end }
}
