/** How exchanges end: answers whose request is still arriving, and answers that break off. */
import { hasOwnStream, type IncomingRequest, type OutgoingAnswer } from './client-message.js'

/** The rest of the request is read, and thrown away, for so many milliseconds. */
const LINGER_MS = 2000

/**
 * Ends a response whose content is written once the request has been read, or has had its time. Bytes that nobody has
 * read when the connection closes turn that into a reset, and the client loses the answer (RFC 9112 section 9.6).
 */
export function endWhenRead(response: OutgoingAnswer, request: IncomingRequest): void {
  // A stream ends on its own: the rest of the request cannot reset its answer (RFC 9113 section 8.1).
  if (hasOwnStream(request)) {
    response.end()
    return
  }
  const end = (): void => {
    clearTimeout(timer)
    response.end()
  }
  const timer = setTimeout(end, LINGER_MS)
  request.once('end', end)
  response.once('close', () => clearTimeout(timer))
  request.unpipe().resume()
}

/** node:http holds back what is written until the end of the step; without it the client could not tell that it has been answered at all. */
export function breakOff(response: OutgoingAnswer): void {
  response.flushHeaders()
  process.nextTick(() => response.destroy())
}
