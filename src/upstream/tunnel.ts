/** Two sockets that were joined after a 101: who closes, and what becomes of the other. */
import type { Duplex } from 'node:stream'
import type { Forwarded } from './forwarding.js'

/** Milliseconds that one side may go on after the other has ended. */
const HALF_OPEN_MS = 5000

/** Watches a tunnel; `onEnd` is called once, when both sockets are gone. Returns how to end it from here. */
export function watchTunnel(
  client: Duplex,
  upstream: Duplex,
  onEnd: (end: Forwarded['end']) => void,
): () => void {
  let end: Forwarded['end'] | null = null
  let halfOpen: NodeJS.Timeout | null = null
  const onOneEnded = (): void => {
    halfOpen ??= setTimeout(() => {
      client.destroy()
      upstream.destroy()
    }, HALF_OPEN_MS)
  }
  const onClosed = (): void => {
    if (!client.destroyed || !upstream.destroyed) return
    if (halfOpen !== null) clearTimeout(halfOpen)
    onEnd(end ?? 'complete')
  }
  client.on('error', ignore)
  upstream.on('error', ignore)
  client.once('end', onOneEnded)
  upstream.once('end', onOneEnded)
  client.once('close', () => {
    end ??= client.readableEnded ? 'complete' : 'aborted'
    upstream.destroy()
    onClosed()
  })
  upstream.once('close', () => {
    end ??= upstream.readableEnded ? 'complete' : 'truncated'
    // What the upstream sent last may still be on its way to the client.
    client.end(() => client.destroy())
    onOneEnded()
    onClosed()
  })
  return () => {
    end ??= 'complete'
    client.end()
    upstream.end()
    onOneEnded()
  }
}

function ignore(): void {}
