import type { TokenFacts } from '../checks/token-facts.js'
import type { ClientTrust } from '../checks/trust.js'
import type { Denial, Verdict } from '../decision/denials.js'
import type { Logger } from '../observe/logger.js'
import type { Metrics } from '../observe/metrics.js'
import type { ErrorFormat } from '../policy/policy.js'
import type { RouteIndex } from '../policy/route-index.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { Credentials } from '../request/credentials.js'
import type { Served } from '../request/request-facts.js'
import type { Dpop } from '../sources/dpop.js'
import type { Exchange, Forward } from '../upstream/forwarding.js'

/** The compiled policy with its sources: one immutable value, swapped whole at reload. */
export interface Gate {
  readonly policyHash: string
  readonly served: Served
  readonly routes: RouteIndex
  readonly trust: ClientTrust
  /** The certificate that the client showed: on this connection, or to a trusted terminator that passes it on. */
  readonly clientCertificate: (arrival: Arrival, now: number) => Verdict<CertificateFacts | null>
  /** Token to facts, from one of the named issuers. */
  readonly authenticate: (
    credentials: Credentials,
    issuers: readonly string[],
    now: number,
  ) => Verdict<TokenFacts> | Promise<Verdict<TokenFacts>>
  readonly dpop: Dpop
  readonly forward: Forward
  /** Format of refusals before a route is known. */
  readonly errors: ErrorFormat
}

/** What the process offers to every request; it outlives gates. */
export interface House {
  readonly log: Logger
  readonly metrics: Metrics
  /** Seconds since the epoch; only the composition root reads the clock. */
  readonly now: () => number
  /** Seconds on a clock that never goes back. */
  readonly stopwatch: () => number
  readonly isDraining: () => boolean
}

/** A request as the listener hands it over, with the certificate of its connection, whoever is at the other end. */
export interface Arrival extends Omit<Exchange, 'nextNonce' | 'onAttempt'> {
  readonly certificate: CertificateFacts | null
  /** Why the rest of the request could not be read, once that is so; the client has been told. */
  readonly malformed: () => Denial | null
}
