import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Grant } from '../checks/authorise.js'
import type { Verdict } from '../decision/denials.js'

/** The client's side of one request, as the listener hands it over. */
export interface Exchange {
  readonly request: IncomingMessage
  /** Not used when `upgrade` is there and succeeds. */
  readonly response: ServerResponse
  /** The raw connection of a request that asks for an upgrade; null for ordinary requests. */
  readonly upgrade: { readonly socket: Duplex; readonly head: Buffer } | null
  /** Address of the peer of the socket; never from a header. */
  readonly clientAddress: string
  readonly interactionId: string
  /** A DPoP nonce that the client should use from now on, for answers that succeed (RFC 9449 section 8.2). */
  readonly nextNonce?: string | null
}

/** How an exchange with the upstream ended once its answer had begun. */
export interface Forwarded {
  readonly status: number
  /** `complete`; `truncated` by the upstream (the client's connection was destroyed so that it sees it); `aborted` by the client. */
  readonly end: 'complete' | 'truncated' | 'aborted'
  /** Milliseconds from sending to the head of the answer. */
  readonly upstreamMs: number
}

/**
 * Forwards what is granted. A Denial means that nothing was written to the client yet and the refusal is still to be
 * sent. Never rejects. `null`: the client left before an answer began.
 */
export type Forward = (grant: Grant, exchange: Exchange) => Promise<Verdict<Forwarded> | null>

/** One way to speak to upstreams; all of them pass the same wire tests. */
export interface ForwardingEngine {
  readonly forward: Forward
  /** Ends idle connections, and tunnels with a close frame; running exchanges finish. */
  readonly close: () => void
}
