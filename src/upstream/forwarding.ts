import type { Duplex } from 'node:stream'
import type { Grant } from '../checks/authorise.js'
import type { Denial, Verdict } from '../decision/denials.js'
import type { IncomingRequest, OutgoingAnswer } from './client-message.js'

/** The client's side of one request, as the listener hands it over. */
export interface Exchange {
  readonly request: IncomingRequest
  /** Not used when `upgrade` is there and succeeds. */
  readonly response: OutgoingAnswer
  /** The raw connection of a request that asks for an upgrade; null for ordinary requests. */
  readonly upgrade: { readonly socket: Duplex; readonly head: Buffer } | null
  /** Address of the peer of the socket; never from a header. */
  readonly clientAddress: string
  readonly interactionId: string
  /** A DPoP nonce that the client should use from now on, for answers that succeed (RFC 9449 section 8.2). */
  readonly nextNonce?: string | null
  /** Called at every attempt with the origin that it goes to. */
  readonly onAttempt?: (address: string) => void
  /** Whether the policy by which it was granted is one of the past. */
  readonly isOutdated?: () => boolean
}

/** The policy has changed while a request waited, and it can be judged anew: nothing of its body was read. */
export const OUTDATED = Symbol('outdated')

/** How an exchange with the upstream ended once its answer had begun. */
export interface Forwarded {
  readonly status: number
  /** `complete`; `truncated` by the upstream (the client's connection was destroyed so that it sees it); `aborted` by the client. */
  readonly end: 'complete' | 'truncated' | 'aborted'
  /** Milliseconds from sending to the head of the answer. */
  readonly upstreamMs: number
}

/** How an attempt ended of whose answer nothing was written to the client. */
export interface Failed {
  /** What the client reads unless another attempt succeeds. */
  readonly denial: Denial
  /** Whether any byte of the request may have arrived. */
  readonly sent: boolean
  /** The address is at fault, not the client and not a limit of our own. */
  readonly blame: boolean
}

/** What one attempt at an address has to keep to. */
export interface AttemptTerms {
  /** The longest request body in bytes. */
  readonly bodyBytes: number
  /** How long a client may take nothing of an answer that waits for it. Milliseconds. */
  readonly clientStallMs: number
  /** The reading of `performance.now()` at which the answer must have begun, if that is sooner than the timeouts say. */
  readonly answerBy: number
  /** Called at the head of an answer that will be passed on; tunnels and long answers end much later. */
  readonly onAnswer: () => void
}

/**
 * Forwards what is granted. A Denial means that nothing was written to the client yet and the refusal is still to be
 * sent. Never rejects. `null`: the client left before an answer began.
 */
export type Forward = (
  grant: Grant,
  exchange: Exchange,
) => Promise<Verdict<Forwarded> | typeof OUTDATED | null>

/** One way to speak to one address of an upstream; all of them pass the same wire tests. */
export interface ForwardingEngine {
  /**
   * Sends a request and relays its answer. Never rejects. The same exchange may be tried again after a failure, at another
   * address too, as long as nothing of its body was read.
   */
  readonly attempt: (
    grant: Grant,
    exchange: Exchange,
    terms: AttemptTerms,
  ) => Promise<Forwarded | Failed | typeof OUTDATED | null>
  /** Ends the tunnels whose grants are not permitted, now and when they open. */
  readonly permitTunnels: (isPermitted: (grant: Grant) => boolean) => void
  /** Ends idle connections, and tunnels with a close frame; running exchanges finish. */
  readonly close: () => void
}
