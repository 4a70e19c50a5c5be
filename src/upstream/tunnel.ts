/** Two sockets that were joined after a 101: who closes, and what becomes of the other. */
import type { Duplex } from 'node:stream'
import type { Grant } from '../checks/authorise.js'
import { endOfValidity } from '../request/certificate-facts.js'
import { valuesOf } from '../request/headers.js'
import type { Forwarded } from './forwarding.js'

/** Milliseconds that one side may go on after the other has ended. */
const HALF_OPEN_MS = 5000

/** The longest that a timer of Node can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

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
  /** The open ones: how to end each, and what it was granted under. */
  readonly #open = new Map<() => void, Grant>()
  #isPermitted: (grant: Grant) => boolean = () => true
  #closed = false

  constructor(limit: number) {
    this.#limit = limit
  }

  get takesMore(): boolean {
    return !this.#closed && this.#open.size < this.#limit
  }

  /**
   * `onEnd` is called once, when both sockets are gone. Nobody judges what flows in a tunnel, so it does not outlive the
   * token, the certificate and the rules that opened it.
   */
  add(
    client: Duplex,
    upstream: Duplex,
    grant: Grant,
    join: () => void,
    onEnd: (end: Forwarded['end']) => void,
  ): void {
    const end = watchTunnel(client, upstream, how => {
      cancel()
      this.#open.delete(end)
      onEnd(how)
    })
    const validUntil = endOf(grant)
    const cancel = callAt(validUntil, end)
    this.#open.set(end, grant)
    join()
    // While the upstream thought about the handshake. In the same step: nothing of what was sent since has passed yet.
    if (!this.#isPermitted(grant) || validUntil * 1000 <= Date.now()) end()
  }

  /** Ends those whose grants are not permitted, and from now on such ones as soon as they open. */
  permit(isPermitted: (grant: Grant) => boolean): void {
    this.#isPermitted = isPermitted
    for (const [end, grant] of this.#open) if (!isPermitted(grant)) end()
  }

  /** Ends them all, and takes no more. */
  close(): void {
    this.#closed = true
    for (const end of this.#open.keys()) end()
  }
}

/** When the token expires, or the certificate where the route or the token asks for one. Seconds since the epoch. */
function endOf({ match, token, certificate }: Grant): number {
  const isCertificateAsked = match.route.mtls || (token?.confirmation?.x5tS256 ?? null) !== null
  const certificateEnd =
    isCertificateAsked && certificate !== null ? endOfValidity(certificate, Date.now() / 1000) : Infinity
  return Math.min(token?.expiresAt ?? Infinity, certificateEnd)
}

/** Calls at a time that may be years away, or never come. Returns how to cancel that. */
function callAt(seconds: number, call: () => void): () => void {
  let timer: NodeJS.Timeout
  const wait = (): void => {
    const left = seconds * 1000 - Date.now()
    timer = setTimeout(left > LONGEST_TIMER_MS ? wait : call, Math.min(left, LONGEST_TIMER_MS))
  }
  wait()
  return () => clearTimeout(timer)
}

/** Watches a tunnel; `onEnd` is called once, when both sockets are gone. Returns how to end it from here. */
function watchTunnel(client: Duplex, upstream: Duplex, onEnd: (end: Forwarded['end']) => void): () => void {
  let end: Forwarded['end'] | null = null
  let isEnding = false
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
    if (isEnding) return
    isEnding = true
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

/** Whether a request asks for the one protocol that its route may be upgraded to. */
export function asksForWebSocket({ request, match }: Grant): boolean {
  const protocols = valuesOf(request.headers, 'upgrade')
  const [protocol] = protocols
  return (
    match.route.upgrade === 'websocket' &&
    request.method === 'GET' &&
    protocols.length === 1 &&
    protocol?.toLowerCase() === 'websocket'
  )
}
