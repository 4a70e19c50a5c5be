/** Failures of an upstream before its answer began, in the words of the catalogue. */
import { Denial } from '../decision/denials.js'

/** An answer that has no single reading. The message is ours: it tells nothing of the answer's content. */
export class MalformedAnswer extends Error {}

/** The refusal for an error of node:http, node:net or node:tls. Only its code is told: messages may carry content. */
export function upstreamFailure(upstream: string, error: unknown): Denial {
  if (error instanceof MalformedAnswer)
    return new Denial('upstream_malformed', `${upstream}: ${error.message}`)
  const code = codeOf(error)
  const detail = `${upstream}: ${code}`
  if (code.startsWith('HPE_') || code === 'ERR_INVALID_CHAR' || code === 'ERR_INVALID_HTTP_TOKEN')
    return new Denial('upstream_malformed', detail)
  return new Denial(code === 'ETIMEDOUT' ? 'upstream_timeout' : 'upstream_unavailable', detail)
}

/** Whether a connection ended under a request, as an idle one does that the upstream closes at that moment. */
export function isReset(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ECONNRESET' || code === 'EPIPE'
}

/** The code of an error, or its name; its message may carry content. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error'
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}
