import { DENIALS, type DenialCode } from './catalogue.js'
import type { DenialSpec } from './denial-spec.js'

export { DENIALS, type DenialCode } from './catalogue.js'
export type { Challenge, Step } from './denial-spec.js'

/** Values for the headers of one answer that the catalogue cannot know. */
export interface DenialParameters {
  /** Scopes for the challenge of RFC 6750 section 3.1, from the policy, never from the request. */
  readonly scope?: string
  /** Methods for Allow (RFC 9110 section 15.5.6), from the policy. */
  readonly allow?: string
  /** acr_values of the challenge (RFC 9470 section 3), with spaces between them, from the policy. */
  readonly acrValues?: string
  /** max_age of the challenge (RFC 9470 section 3), in seconds, from the policy. */
  readonly maxAge?: number
  /** Retry-After (RFC 9110 section 10.2.3), in seconds. */
  readonly retryAfterSeconds?: number
  /** The client reads the answer of this code instead, to the byte: it must not learn that there was anything to refuse. */
  readonly answeredAs?: 'route_unknown'
  /** The client has to connect again: nothing that comes on this connection will be answered otherwise. */
  readonly endsConnection?: boolean
}

/** A refusal. A value that is returned, not an Error: nothing is exceptional about refusing. */
export class Denial {
  readonly code: DenialCode
  /** For the operator's log only. May name facts of the request, never a token or a secret. */
  readonly detail: string
  readonly parameters: DenialParameters

  constructor(code: DenialCode, detail: string, parameters: DenialParameters = {}) {
    this.code = code
    this.detail = detail
    this.parameters = parameters
  }
}

/** The entry of the catalogue that the client reads. The code of the denial itself goes to log and metrics. */
export function answerOf({ code, parameters }: Denial): DenialSpec {
  return DENIALS[parameters.answeredAs ?? code]
}

/** What a step proved, or the refusal. `instanceof Denial` narrows it. */
export type Verdict<T> = T | Denial
