/** The body of an answer on its way to the client, as fast as the client reads. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Forwarded } from './forwarding.js'
import { endWhenRead } from './linger.js'

/** How long one side may do nothing while the other waits for it. Milliseconds. */
export interface Patience {
  /** With the upstream, for its next bytes. */
  readonly upstreamMs: number
  /** With the client, to take what is written. */
  readonly clientMs: number
}

/**
 * The head of `response` is written already. `unread` is the request if it was still arriving then, and the head said
 * that the connection closes. Calls `onEnd` once, when nothing more will be written.
 */
export function relayBody(
  answer: IncomingMessage,
  response: ServerResponse,
  unread: IncomingMessage | null,
  { upstreamMs, clientMs }: Patience,
  onEnd: (end: Forwarded['end']) => void,
): void {
  let ended = false
  let stall: NodeJS.Timeout | undefined
  const finish = (end: Forwarded['end']): void => {
    if (ended) return
    ended = true
    clearTimeout(idle)
    clearTimeout(stall)
    onEnd(end)
    // What was promised will not come. Only a broken connection tells the client so.
    if (end !== 'complete') response.destroy()
  }
  const idle = setTimeout(() => {
    if (response.writableNeedDrain)
      idle.refresh() // then the client is the slow one
    else finish('truncated')
  }, upstreamMs)
  // A client that never reads would keep a place of the upstream for ever, and a few of them all of its places.
  const awaitClient = (): void => {
    clearTimeout(stall)
    stall = ended ? undefined : setTimeout(() => finish('aborted'), clientMs)
  }
  response.once('finish', () => finish('complete'))
  response.once('close', () => finish('aborted'))
  answer.on('error', () => finish('truncated'))
  answer.once('close', () => {
    if (!answer.complete) finish('truncated')
  })
  answer.on('data', () => idle.refresh())
  answer.once('end', () => {
    clearTimeout(idle)
    if (unread === null || unread.complete) response.end()
    else endWhenRead(response, unread)
    awaitClient()
  })
  response.on('drain', () => {
    if (answer.readableEnded) awaitClient()
    else clearTimeout(stall)
  })
  answer.pipe(response, { end: false })
  // After the pipe has written them.
  answer.on('data', () => {
    if (response.writableNeedDrain) awaitClient()
  })
}
