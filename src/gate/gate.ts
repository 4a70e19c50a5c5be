import type { TokenFacts } from '../checks/token-facts.js'
import type { ClientTrust } from '../checks/trust.js'
import type { Denial, Verdict } from '../decision/denials.js'
import type { Logger } from '../observe/logger.js'
import type { Metrics } from '../observe/metrics.js'
import type { Recorder } from '../observe/recorder.js'
import type { ErrorFormat } from '../policy/policy.js'
import type { RouteIndex } from '../policy/route-index.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { Credentials } from '../request/credentials.js'
import type { Served } from '../request/request-facts.js'
import type { Dpop } from '../sources/dpop.js'
import type { Admit } from '../sources/token-source.js'
import type { Exchange, Forward } from '../upstream/forwarding.js'
import type { Failures } from './failures.js'
import type { Places } from './places.js'
import type { CountRequest } from './rates.js'

/** The compiled policy with its sources: one immutable value, swapped whole at reload. */
export interface Gate {
  readonly policyHash: string
  readonly served: Served
  readonly routes: RouteIndex
  readonly trust: ClientTrust
  /** Who the client is: the peer of the connection, or whoever a trusted terminator speaks for. */
  readonly clientOf: (arrival: Arrival, now: number) => Verdict<Client>
  readonly countRequest: CountRequest
  /** Token to facts, from one of the named issuers. */
  readonly authenticate: (
    credentials: Credentials,
    issuers: readonly string[],
    now: number,
    admit: Admit,
  ) => Verdict<TokenFacts> | Promise<Verdict<TokenFacts>>
  readonly dpop: Dpop
  readonly forward: Forward
  /** Format of refusals before a route is known. */
  readonly errors: ErrorFormat
}

/** The client's side of a connection. */
export interface Client {
  /** The certificate that it showed, here or to the terminator; not judged yet. */
  readonly certificate: CertificateFacts | null
  /** The peer of the connection is a trusted terminator. */
  readonly isBehindTerminator: boolean
}

/** What the process offers to every request; it outlives gates. */
export interface House {
  readonly log: Logger
  readonly metrics: Metrics
  readonly recorder: Recorder
  /** Seconds since the epoch; only the composition root reads the clock. */
  readonly now: () => number
  /** Seconds on a clock that never goes back. */
  readonly stopwatch: () => number
  readonly isDraining: () => boolean
  readonly failures: Failures
  readonly places: Places
}

/** A request as the listener hands it over, with the certificate of its connection, whoever is at the other end. */
export interface Arrival extends Omit<Exchange, 'nextNonce' | 'onAttempt' | 'isOutdated'> {
  readonly certificate: CertificateFacts | null
  /** By which requests are judged now: another one once the policy has changed. */
  readonly gateInUse: () => Gate
  /** Why the rest of the request could not be read, once that is so; the client has been told. */
  readonly malformed: () => Denial | null
}
