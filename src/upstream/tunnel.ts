/** Two sockets that were joined after a 101: who closes, and what becomes of the other. */
import type { Duplex } from 'node:stream'
import type { Route } from '../policy/policy.js'
import type { Forwarded } from './forwarding.js'

/** Milliseconds that one side may go on after the other has ended. */
const HALF_OPEN_MS = 5000

/** RFC 6455 section 7.4.1: the endpoint is going away. */
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9])
/** What a client sends is masked (section 5.3); the mask of zeroes changes nothing. */
const GOING_AWAY_MASKED = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9])

/**
 * The upgraded connections to one upstream. They last as long as both sides please, so they hold no place of the pool,
 * where ordinary requests would wait for them; instead they have a bound of their own.
 */
export class Tunnels {
  readonly #limit: number
  /** The open ones: how to end each, and the route that allowed it. */
  readonly #open = new Map<() => void, Route>()
  #isPermitted: (route: Route) => boolean = () => true
  #closed = false

  constructor(limit: number) {
    this.#limit = limit
  }

  get takesMore(): boolean {
    return !this.#closed && this.#open.size < this.#limit
  }

  /**
   * `onEnd` is called once, when both sockets are gone. Nobody judges what flows in a tunnel, so it does not outlive the
   * token and the rules that opened it.
   * @param expiresAt of that token, in seconds since the epoch; null: nothing expires
   */
  add(
    client: Duplex,
    upstream: Duplex,
    expiresAt: number | null,
    route: Route,
    onEnd: (end: Forwarded['end']) => void,
  ): void {
    const expiry = expiresAt === null ? undefined : setTimeout(() => end(), millisecondsUntil(expiresAt))
    const end = watchTunnel(client, upstream, how => {
      clearTimeout(expiry)
      this.#open.delete(end)
      onEnd(how)
    })
    this.#open.set(end, route)
    // The policy changed while the upstream thought about the handshake; the 101 is written after this.
    if (!this.#isPermitted(route)) queueMicrotask(end)
  }

  /** Ends those of routes that are not permitted, and from now on such ones as soon as they open. */
  permit(isPermitted: (route: Route) => boolean): void {
    this.#isPermitted = isPermitted
    for (const [end, route] of this.#open) if (!isPermitted(route)) end()
  }

  /** Ends them all, and takes no more. */
  close(): void {
    this.#closed = true
    for (const end of this.#open.keys()) end()
  }
}

/** For a timer, which cannot wait for longer than 2^31 - 1 ms. */
function millisecondsUntil(seconds: number): number {
  return Math.min(Math.max(seconds * 1000 - Date.now(), 0), 2 ** 31 - 1)
}

/** Watches a tunnel; `onEnd` is called once, when both sockets are gone. Returns how to end it from here. */
function watchTunnel(client: Duplex, upstream: Duplex, onEnd: (end: Forwarded['end']) => void): () => void {
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
    // In the middle of a frame they are read as a part of it, and the connection ends all the same.
    client.end(GOING_AWAY)
    upstream.end(GOING_AWAY_MASKED)
    // What they say to that has no way to the other side any more; unread, it would hide their own end.
    client.unpipe().resume()
    upstream.unpipe().resume()
    onOneEnded()
  }
}

function ignore(): void {}
