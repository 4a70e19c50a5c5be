/** The one door of the package `http-proxy` 1.18.1, with all of it switched off that is unsafe or done elsewhere. */
import type { ClientRequest } from 'node:http'
import { createRequire } from 'node:module'
import util from 'node:util'
import type HttpProxy from 'http-proxy'
import type { RawHeaders } from '../request/headers.js'
import type { Send, Sending, SwitchProtocols } from './round-trip.js'

/** Returns how to start requests through a hardened http-proxy. */
export function createHttpProxySend(): Send {
  const proxy = hardenedProxy()
  return sending => {
    const sight = new ProxySight(sending)
    const { agent, captured } = capturing(sending)
    const options = { target: sending.origin, agent }
    // Errors are heard on the captured request; a callback keeps http-proxy from throwing them.
    if (sending.upgrade === null) proxy.web(asRequest(sight), sending.response, options, ignore)
    else proxy.ws(asRequest(sight), sending.upgrade.socket, sending.upgrade.head, options, ignore)
    const request = captured()
    return { request, switchProtocols: sending.upgrade === null ? null : takeOverUpgrade(request) }
  }
}

function hardenedProxy(): HttpProxy {
  const proxy = loadHttpProxy().createProxyServer({
    xfwd: false, // it would append to what the client sent
    toProxy: true, // the alternative parses the URL with url.parse and drops what it does not understand
    prependPath: false,
    selfHandleResponse: true, // its own writer forwards hop-by-hop fields and hides truncation
  })
  // `deleteLength` turns the body of a chunked DELETE or OPTIONS into a second request (CVE-2026-29057); the other
  // passes trust the client's header or destroy its socket without an answer.
  const { webPasses, wsPasses } = proxy as unknown as Passes
  Object.assign(proxy, { webPasses: webPasses.filter(isStream), wsPasses: wsPasses.filter(isStream) })
  return proxy
}

interface Passes {
  readonly webPasses: readonly { readonly name: string }[]
  readonly wsPasses: readonly { readonly name: string }[]
}

function isStream(pass: { readonly name: string }): boolean {
  return pass.name === 'stream'
}

function loadHttpProxy(): typeof HttpProxy {
  // http-proxy takes util._extend when it is loaded; Node 22 and later warn about that (DEP0060).
  const { _extend } = util as { _extend?: unknown }
  Object.assign(util, { _extend: Object.assign })
  try {
    return createRequire(import.meta.url)('http-proxy') as typeof HttpProxy
  } finally {
    Object.assign(util, { _extend })
  }
}

/**
 * All that http-proxy gets to see of the client's request. Nothing of the real one can be forwarded by accident, and
 * nothing is listened to on it: http-proxy's own handlers for clients that leave do not work since Node 15.
 */
class ProxySight {
  readonly url = '/'
  readonly socket = { destroyed: false }
  readonly method: string
  readonly headers: Record<string, string | string[]>
  readonly #sending: Sending

  constructor(sending: Sending) {
    this.#sending = sending
    this.method = sending.method
    this.headers = groupedByName(sending.headers)
  }

  /** Called with the request to the upstream, as a stream would be. */
  pipe(request: ClientRequest): void {
    if (this.#sending.body === null) request.end()
    else this.#sending.body.pipe(request)
  }

  on(): this {
    return this
  }
}

function asRequest(sight: ProxySight): Parameters<HttpProxy['web']>[0] {
  return sight as unknown as Parameters<HttpProxy['web']>[0]
}

/** The form that http-proxy passes on: a field that occurs several times has an array. */
function groupedByName(headers: RawHeaders): Record<string, string | string[]> {
  const grouped: Record<string, string | string[]> = {}
  const nameOf = new Map<string, string>()
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    const lower = name.toLowerCase()
    const known = nameOf.get(lower)
    // Appended in place: a client can repeat a field thousands of times in one header.
    if (known !== undefined) {
      const before = grouped[known] as string | string[]
      if (Array.isArray(before)) before.push(value)
      else grouped[known] = [before, value]
    }
    // Assigning to `__proto__` sets no property; the field is no loss.
    else if (lower !== '__proto__') {
      nameOf.set(lower, name)
      grouped[name] = value
    }
  }
  return grouped
}

interface RequestTaker {
  addRequest(request: ClientRequest, options: unknown): void
}

/**
 * The agent, seen through a wrapper that node:http hands the new request to before anything is written. That is the
 * earliest handle to abort it by, and the place to set the path: http-proxy joins `//` and rewrites `http:/` inside
 * of it, and what was matched must be what is forwarded.
 */
function capturing({ agent, target }: Sending) {
  let request: ClientRequest | null = null
  const taker = agent as unknown as RequestTaker
  const wrapper: RequestTaker = Object.assign(Object.create(agent) as RequestTaker, {
    addRequest(added: ClientRequest, options: unknown) {
      request = added
      added.path = target
      taker.addRequest(added, options)
    },
  })
  const captured = (): ClientRequest => {
    if (request === null) throw new Error('http-proxy made no request')
    return request
  }
  return { agent: wrapper, captured }
}

/**
 * Leaves of http-proxy's handling of an upgrade what happens after a 101. Its handler for other answers forwards
 * their header as it is, and its handler for errors ends the client's socket before a refusal can be written.
 */
function takeOverUpgrade(request: ClientRequest): SwitchProtocols {
  const [listener] = request.listeners('upgrade')
  for (const event of ['upgrade', 'response', 'error']) request.removeAllListeners(event)
  return listener as SwitchProtocols
}

function ignore(): void {}
