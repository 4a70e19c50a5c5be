/** The connections to one upstream: how many, which are kept open, who waits for one. */
import type { Agent } from 'node:http'
import type { Upstream } from '../policy/upstream.js'
import { createAgent, type Origin, originOf } from './upstream-agent.js'

/** At most `connections` run at once and as many wait; everyone else is told at once. */
export class ConnectionPool {
  readonly origin: Origin
  /** Keeps connections open between requests. */
  readonly kept: Agent
  /** Opens a connection for one request only. */
  readonly fresh: Agent
  readonly #limit: number
  readonly #waiting = new Set<() => void>()
  #running = 0

  constructor(upstream: Upstream) {
    this.origin = originOf(upstream.url)
    this.#limit = upstream.connections
    this.kept = createAgent(this.origin, upstream, true)
    this.fresh = createAgent(this.origin, upstream, false)
  }

  /** `now`: go ahead. `later`: `start` will be called. `full`: neither. After the first two, `leave` must follow. */
  enter(start: () => void): 'now' | 'later' | 'full' {
    if (this.#running < this.#limit) {
      this.#running++
      return 'now'
    }
    if (this.#waiting.size >= this.#limit) return 'full'
    this.#waiting.add(start)
    return 'later'
  }

  /** Gives the place back, held or waited for; once per `enter`. */
  leave(start: () => void): void {
    if (this.#waiting.delete(start)) return
    const [next] = this.#waiting
    if (next === undefined) {
      this.#running--
      return
    }
    this.#waiting.delete(next)
    next()
  }

  /** Idle connections end now, the others after their exchange. */
  close(): void {
    this.kept.maxFreeSockets = 0
    for (const sockets of Object.values(this.kept.freeSockets))
      for (const socket of sockets ?? []) socket.destroy()
  }
}
