/** Asks one address of an upstream whether it can serve, again and again. */
import http, { type Agent, type ClientRequest } from 'node:http'
import https from 'node:https'
import type { HealthRule, Upstream } from '../policy/upstream.js'
import { createAgent, type Origin, originOf } from './upstream-agent.js'
import { codeOf } from './upstream-failure.js'

/** An address that is out is asked so often at least: what counts then is to see it come back. Milliseconds. */
const HURRIED_MS = 1000
/** Part of the interval by which checks come sooner or later, so that several instances do not ask in step. */
const JITTER = 0.2

const HEADERS = { 'User-Agent': 'postern', Connection: 'close' }

export interface HealthCheckOptions {
  readonly upstream: Upstream
  readonly rule: HealthRule
  /** Whether the address is out. */
  readonly isOut: () => boolean
  /** Told of every check: null when the answer was good, else what was wrong. */
  readonly onChecked: (problem: string | null) => void
}

/** The requests are those of Postern alone: no token, no header and no connection of a client is in them. */
export class HealthCheck {
  readonly #options: HealthCheckOptions
  readonly #origin: Origin
  readonly #agent: Agent
  #timer: NodeJS.Timeout | undefined
  #request: ClientRequest | null = null
  #isStopped = false

  constructor(options: HealthCheckOptions) {
    this.#options = options
    this.#origin = originOf(options.upstream.url)
    this.#agent = createAgent(this.#origin, options.upstream, false)
  }

  start(): void {
    this.#askIn(Math.min(this.#options.rule.intervalMs, HURRIED_MS) * Math.random())
  }

  /** Nothing is asked or told any more. */
  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
    this.#request?.destroy()
  }

  #askIn(ms: number): void {
    this.#timer = setTimeout(() => this.#ask(), ms)
    this.#timer.unref() // it is no reason to stay alive
  }

  async #ask(): Promise<void> {
    const problem = await this.#answer()
    if (this.#isStopped) return
    const { rule, isOut, onChecked } = this.#options
    onChecked(problem)
    const intervalMs = isOut() ? Math.min(rule.intervalMs, HURRIED_MS) : rule.intervalMs
    this.#askIn(intervalMs * (1 - JITTER + 2 * JITTER * Math.random()))
  }

  /** One check. Nothing but the status is read: it is good from 200 to 299, redirects are not followed. */
  #answer(): Promise<string | null> {
    const { rule } = this.#options
    const { protocol, host, port } = this.#origin
    return new Promise(resolve => {
      const options = { host, port, path: rule.path, agent: this.#agent, headers: HEADERS }
      const request = protocol === 'https:' ? https.get(options) : http.get(options)
      this.#request = request
      const timer = setTimeout(() => end(`no answer within ${rule.timeoutMs} ms`), rule.timeoutMs)
      const end = (problem: string | null): void => {
        clearTimeout(timer)
        request.destroy()
        resolve(problem)
      }
      request.on('error', error => end(codeOf(error)))
      request.once('close', () => end('closed without an answer'))
      request.once('response', answer => {
        answer.on('error', () => {}) // nobody reads on
        const { statusCode: status = 0 } = answer
        end(status >= 200 && status <= 299 ? null : `status ${status}`)
      })
    })
  }
}
