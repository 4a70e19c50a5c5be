/** The one door of the package `http-proxy` 1.18.1, with all of it switched off that is unsafe or done elsewhere. */
import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import { createRequire } from 'node:module'
import type { Duplex } from 'node:stream'
import util from 'node:util'
import type HttpProxy from 'http-proxy'
import type { Upstream } from '../policy/upstream.js'
import type { RawHeaders } from '../request/headers.js'
import type { AnswerHead } from './response-headers.js'
import {
  type Answer,
  MOST_INTERIM_ANSWERS,
  type Outgoing,
  type Sending,
  type SendingEvents,
  type Transport,
} from './transport.js'
import { onceAllIsRead } from './turn.js'
import { createAgent, type Origin } from './upstream-agent.js'
import { isReset, MalformedAnswer } from './upstream-failure.js'

/** Requests through a hardened http-proxy, ordinary ones and upgrades. */
export function createHttpProxyTransport(origin: Origin, upstream: Upstream): Transport {
  const proxy = hardenedProxy()
  const kept = createAgent(origin, upstream, true)
  const fresh = createAgent(origin, upstream, false)
  return {
    send: (outgoing, events, isFresh) =>
      new ProxiedRequest(proxy, origin, isFresh ? fresh : kept, outgoing, events),
    close: () => {
      kept.maxFreeSockets = 0
      for (const sockets of Object.values(kept.freeSockets))
        for (const socket of sockets ?? []) socket.destroy()
    },
  }
}

/** Answers of node:http in the words of the seam. */
class ProxiedRequest implements Sending {
  readonly #proxy: HttpProxy
  readonly #origin: Origin
  readonly #agent: Agent
  readonly #outgoing: Outgoing
  readonly #events: SendingEvents
  #request: ClientRequest | null = null
  #answer: IncomingMessage | null = null
  #bytesReadBefore = 0
  #interimAnswers = 0
  /** All of the answer has come; it is told when this turn has read what follows it. */
  #isWhole = false
  #isOver = false

  constructor(proxy: HttpProxy, origin: Origin, agent: Agent, outgoing: Outgoing, events: SendingEvents) {
    this.#proxy = proxy
    this.#origin = origin
    this.#agent = agent
    this.#outgoing = outgoing
    this.#events = events
  }

  start(): void {
    const { upgrade, target } = this.#outgoing
    const sight = asRequest(new ProxySight(this.#outgoing))
    const { agent, captured } = capturing(this.#agent, target)
    const options = { target: this.#origin, agent }
    // Errors are heard on the captured request; a callback keeps http-proxy from throwing them.
    if (upgrade === null) this.#proxy.web(sight, UNUSED_RESPONSE, options, ignore)
    // Without the head: http-proxy puts it back at once, and at a second attempt it would be there twice.
    else this.#proxy.ws(sight, upgrade.socket, NOTHING, options, ignore)
    const request = captured()
    this.#request = request
    this.#listen(request, upgrade === null ? null : takeOverUpgrade(request))
  }

  #listen(request: ClientRequest, switchProtocols: SwitchProtocols | null): void {
    request.on('error', error => this.#fail(error))
    // At each of these node:http has written nothing yet.
    request.once('socket', socket => {
      this.#bytesReadBefore = socket.bytesRead
      const { secureConnecting } = socket as { secureConnecting?: boolean }
      if (secureConnecting === true) socket.once('secureConnect', this.#onConnected)
      else if (socket.connecting) socket.once('connect', this.#onConnected)
      else this.#onConnected()
    })
    request.on('drain', () => {
      if (!this.#isOver) this.#events.drained()
    })
    request.once('response', answer => this.#onAnswer(answer))
    request.on('information', ({ statusCode }) => {
      // After a 101 both sides would speak something else.
      if (statusCode === 101) this.#fail(new MalformedAnswer('101 without an upgrade'))
      else if (++this.#interimAnswers > MOST_INTERIM_ANSWERS)
        this.#fail(new MalformedAnswer('a flood of interim answers'))
    })
    request.once('upgrade', (answer, socket, head) => this.#onUpgrade(switchProtocols, answer, socket, head))
    request.once('close', () => this.#fail(new Error('closed without an answer')))
  }

  readonly #onConnected = (): void => {
    if (this.#isOver || !this.#events.stillGranted()) return
    // With a body the head would wait for its first part, and when that comes is the client's to say.
    if (this.#outgoing.bodyBytes !== 0) this.#request?.flushHeaders()
    this.#events.connected()
  }

  #onAnswer(answer: IncomingMessage): void {
    answer.on('error', error => this.#fail(error))
    if (this.#isOver) return
    this.#answer = answer
    this.#events.answered(answerOf(answer), false)
    answer.on('data', (chunk: Buffer) => {
      if (!this.#isOver) this.#events.data(chunk, false)
    })
    answer.once('end', () => {
      this.#isWhole = true
      // Else the rest of a body that nobody wants would keep the connection.
      if (this.#request?.writableFinished !== true) this.#request?.destroy()
      // Who waits for a connection gets this one, and asks at once: what the upstream has sent behind the answer, unasked, would be the
      // answer to that (response queue poisoning, CWE-444). While the connection is idle, node:http drops it.
      onceAllIsRead(() => {
        if (this.#isOver) return
        this.#isOver = true
        this.#events.data(NOTHING, true)
      })
    })
    answer.once('close', () => this.#fail(new Error('the answer is not complete')))
  }

  #onUpgrade(
    switchProtocols: SwitchProtocols | null,
    answer: IncomingMessage,
    socket: Duplex,
    head: Buffer,
  ): void {
    const expected = answer.headers.upgrade?.toLowerCase() === 'websocket'
    if (this.#isOver || switchProtocols === null || !expected) {
      socket.destroy()
      this.#fail(new MalformedAnswer('101 to another protocol than was asked for'))
      return
    }
    this.#isOver = true
    const join = (headers: RawHeaders): void => {
      answer.headers = dictionaryOf(headers) as IncomingMessage['headers']
      const { upgrade } = this.#outgoing
      if (upgrade !== null && upgrade.head.length > 0) upgrade.socket.unshift(upgrade.head)
      switchProtocols(answer, socket, head)
    }
    this.#events.switched({ answer: headOf(answer), socket, join })
  }

  #fail(error: Error): void {
    if (this.#isOver || this.#isWhole) return
    this.#isOver = true
    const request = this.#request
    const isStale =
      request?.reusedSocket === true && isReset(error) && request.socket?.bytesRead === this.#bytesReadBefore
    request?.destroy()
    this.#events.failed(error, isStale)
  }

  write(chunk: Buffer): boolean {
    return this.#isOver || this.#request?.write(chunk) === true
  }

  end(): void {
    if (!this.#isOver) this.#request?.end()
  }

  pause(): void {
    this.#answer?.pause()
  }

  resume(): void {
    this.#answer?.resume()
  }

  abort(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#request?.destroy()
  }
}

/** All that http-proxy asks of the response, which it never writes. */
const UNUSED_RESPONSE = { headersSent: false, finished: false } as unknown as Parameters<HttpProxy['web']>[1]

const NOTHING = Buffer.alloc(0)

/** http-proxy's own handler of a 101: writes the answer with the header in it, and joins both sockets. */
type SwitchProtocols = (answer: IncomingMessage, upstream: Duplex, head: Buffer) => void

function headOf(answer: IncomingMessage): AnswerHead {
  return { status: answer.statusCode as number, headers: answer.rawHeaders }
}

function answerOf(answer: IncomingMessage): Answer {
  const closes = answer.httpVersion === '1.0' || /\bclose\b/i.test(answer.headers.connection ?? '')
  return { ...headOf(answer), reason: answer.statusMessage ?? '', closes }
}

function dictionaryOf(headers: RawHeaders): NodeJS.Dict<string[]> {
  // Without a prototype: an upstream may well name a field `__proto__`.
  const dictionary: NodeJS.Dict<string[]> = Object.create(null)
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string
    const values = dictionary[name] ?? []
    values.push(headers[i + 1] as string)
    dictionary[name] = values
  }
  return dictionary
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
  readonly #hasBody: boolean

  constructor({ method, headers, bodyBytes }: Outgoing) {
    this.method = method
    this.headers = groupedByName(headers)
    this.#hasBody = bodyBytes !== 0
  }

  /** Called with the request to the upstream, as a stream would be. */
  pipe(request: ClientRequest): void {
    if (!this.#hasBody) request.end()
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
function capturing(agent: Agent, target: string) {
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
