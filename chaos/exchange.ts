/** One request as it is planned, and what came of it. Times are those of `performance.now()`. */

/** A request with everything that the policy says about it. */
export interface Plan {
  /** Name of its kind, for the report. */
  readonly kind: string
  /** The bytes to be sent. */
  readonly request: string
  /** Its x-fapi-interaction-id, which every answer has to carry. */
  readonly nonce: string
  /** The body of a granted answer, to the letter. */
  readonly echo: string
  /** The statuses that are right for a request of this time; more than one only around a change. */
  readonly statuses: (sentAt: number, endedAt: number) => ReadonlySet<number>
}

/** What a client got. */
export type Reply =
  | {
      readonly is: 'answer'
      readonly status: number
      readonly body: string
      readonly nonce: string
      /** The answer says that it is the last of its connection. */
      readonly closes: boolean
    }
  | { readonly is: 'nothing'; readonly how: Silence; readonly bytes: number }

/** The connection ended in order, or by an error; nothing came in time; there was none to be had. */
export type Silence = 'ended' | 'reset' | 'late' | 'unconnected'

/** A request that got no answer, or a 5xx which the policy does not explain. */
export interface Incident {
  readonly kind: string
  readonly sentAt: number
  readonly endedAt: number
  readonly reply: Reply
}

/** Marks the paths of requests that must never get through: the upstream itself knows that it should not see them. */
export const FORBIDDEN = 'forbidden-'

/** What the upstream says of a request: everything by which an answer could be told to be somebody else's. */
export function echoOf(parts: {
  readonly path: string
  readonly nonce: string
  /** As the sidecar has proved it; '' on public routes. */
  readonly subject: string
  /** The value of Authorization, or ''. */
  readonly credentials: string
  readonly body: string
}): string {
  // The end of a token is of its signature, and so of nobody else.
  return [parts.path, parts.nonce, parts.subject, parts.credentials.slice(-16), parts.body].join('\n')
}
