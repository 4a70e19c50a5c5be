/** One granted request and its answer: deadlines, limits, and every way in which either side can leave. */
import type { Agent, ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Grant } from '../checks/authorise.js'
import { Denial, type DenialCode, type Verdict } from '../decision/denials.js'
import type { Upstream } from '../policy/upstream.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'
import { relayBody } from './answer-relay.js'
import type { ConnectionPool } from './connection-pool.js'
import type { Exchange, Forwarded } from './forwarding.js'
import { announcedTooLarge, announcesBody, LimitedBody, tooLarge } from './request-body.js'
import { requestHeaders } from './request-headers.js'
import { type AnswerHead, type AnswerRules, responseHeaders, switchingHeaders } from './response-headers.js'
import type { Tunnels } from './tunnel.js'
import type { Origin } from './upstream-agent.js'
import { isReset, upstreamFailure } from './upstream-failure.js'

/** What is to be sent to an upstream, complete and final. */
export interface Sending {
  readonly origin: Origin
  readonly agent: Agent
  readonly method: string
  /** Path and query, byte for byte. */
  readonly target: string
  readonly headers: RawHeaders
  readonly body: LimitedBody | null
  readonly response: ServerResponse
  /** The client's connection when the answer may be a 101; then `body` is null. */
  readonly upgrade: Exchange['upgrade']
}

/** Writes the 101 answer with the header in `answer.headers`, and joins both sockets. */
export type SwitchProtocols = (answer: IncomingMessage, upstream: Duplex, head: Buffer) => void

/** A request under way. Listeners can still be added before anything happens to it. */
export interface Sent {
  readonly request: ClientRequest
  /** null for ordinary requests. */
  readonly switchProtocols: SwitchProtocols | null
}

/** Starts one request. This is all that an engine is made of; the rest is the same for every one. */
export type Send = (sending: Sending) => Sent

/** One upstream and what forwarding to it needs, as a running engine holds it. */
export interface Destination {
  readonly upstream: Upstream
  readonly pool: ConnectionPool
  readonly via: string
  readonly bodyBytes: number
  readonly send: Send
  readonly clientStallMs: number
  readonly tunnels: Tunnels
}

type Outcome = Verdict<Forwarded> | null

/** Forwards one granted request; see `Forward` for what comes of it. */
export function roundTrip(grant: Grant, exchange: Exchange, destination: Destination): Promise<Outcome> {
  return new Promise(resolve => new RoundTrip(grant, exchange, destination, resolve).start())
}

class RoundTrip {
  readonly #grant: Grant
  readonly #exchange: Exchange
  readonly #to: Destination
  readonly #resolve: (outcome: Outcome) => void
  /** Its 'close' is how a client leaves. */
  readonly #client: Duplex | ServerResponse
  readonly #body: LimitedBody | null
  /** Whether the answer may be a 101; an Upgrade that is not honoured is an ordinary request (RFC 9110 section 7.8). */
  readonly #mayUpgrade: boolean
  readonly #startedAt = performance.now()
  #state: 'waiting' | 'connecting' | 'sent' | 'answering' | 'switched' | 'done' = 'waiting'
  #deadline: NodeJS.Timeout | undefined
  #request: ClientRequest | null = null
  #retried = false
  #inPool = false
  #bytesReadBefore = 0

  constructor(grant: Grant, exchange: Exchange, to: Destination, resolve: (outcome: Outcome) => void) {
    this.#grant = grant
    this.#exchange = exchange
    this.#to = to
    this.#resolve = resolve
    this.#client = exchange.upgrade?.socket ?? exchange.response
    this.#body =
      exchange.upgrade === null && announcesBody(grant.request.headers)
        ? new LimitedBody(to.bodyBytes, this.#onBodyBytes, this.#onBodyTooLarge)
        : null
    this.#mayUpgrade = exchange.upgrade !== null && asksForWebSocket(grant)
  }

  start(): void {
    const { request, upgrade } = this.#exchange
    // A client that resets between two steps would otherwise be an uncaught error, the end of the process.
    upgrade?.socket.on('error', ignore)
    const refusal = this.#refusalOfBody()
    if (this.#client.destroyed || request.socket.destroyed) this.#settle(null)
    else if (refusal !== null) this.#settle(refusal)
    else if (this.#mayUpgrade && !this.#to.tunnels.takesMore) this.#refuseTunnel()
    else this.#enterPool()
  }

  #refusalOfBody(): Denial | null {
    const { headers } = this.#grant.request
    // The parser stops at the head of an upgrade: a body would be frames to one side and a request to the other.
    if (this.#exchange.upgrade !== null && announcesBody(headers))
      return new Denial('request_malformed', 'an upgrade with a body')
    return announcedTooLarge(headers, this.#to.bodyBytes)
  }

  #enterPool(): void {
    const { connections, connectTimeoutMs } = this.#to.upstream
    const admission = this.#to.pool.enter(this.#onAdmitted)
    if (admission === 'full') {
      this.#refuse('upstream_unavailable', `${connections} connections in use, as many requests wait`)
      return
    }
    this.#inPool = true
    this.#client.once('close', this.#onClientGone)
    this.#exchange.upgrade?.socket.once('end', this.#onClientGone)
    this.#deadline = setTimeout(this.#onNoConnection, connectTimeoutMs)
    if (admission === 'now') this.#onAdmitted()
  }

  readonly #onAdmitted = (): void => {
    this.#state = 'connecting'
    this.#send(this.#to.pool.kept)
  }

  #send(agent: Agent): void {
    const { method, target } = this.#grant.request
    const { pool, send, via, upstream } = this.#to
    const { response } = this.#exchange
    const upgrade = this.#mayUpgrade ? this.#exchange.upgrade : null
    const rules = { via, authorization: upstream.authorization, clientCert: upstream.clientCert }
    try {
      const headers = requestHeaders(
        this.#grant,
        this.#exchange,
        rules,
        upgrade === null ? null : 'websocket',
      )
      const { origin } = pool
      this.#listen(send({ origin, agent, method, target, headers, body: this.#body, response, upgrade }))
    } catch (error) {
      this.#refuse('internal_error', error instanceof Error ? error.message : 'fault')
    }
  }

  #listen({ request, switchProtocols }: Sent): void {
    this.#request = request
    request.on('error', error => this.#onError(request, error))
    request.once('socket', socket => {
      this.#bytesReadBefore = socket.bytesRead
      const { secureConnecting } = socket as { secureConnecting?: boolean }
      if (secureConnecting === true) socket.once('secureConnect', this.#onConnected)
      else if (socket.connecting) socket.once('connect', this.#onConnected)
      else this.#onConnected()
    })
    request.once('response', answer => {
      if (this.#state === 'done') answer.on('error', ignore)
      else this.#onAnswer(answer)
    })
    request.on('information', ({ statusCode }) => {
      // Other 1xx are dropped; after this one both sides would speak something else.
      if (statusCode === 101) this.#refuse('upstream_malformed', '101 without an upgrade')
    })
    request.once('upgrade', (answer, socket, head) => this.#onUpgrade(switchProtocols, answer, socket, head))
    request.once('close', () => {
      if (request !== this.#request || this.#state === 'switched') return // retried, or still in use
      this.#leavePool()
      if (this.#state !== 'answering') this.#refuse('upstream_unavailable', 'closed without an answer')
    })
  }

  readonly #onConnected = (): void => {
    if (this.#state !== 'connecting') return
    this.#state = 'sent'
    clearTimeout(this.#deadline)
    this.#deadline = setTimeout(this.#onQuiet, this.#answerMs)
    const { request, response } = this.#exchange
    if (this.#body === null) return
    // Not before: only now is it sure that the body is wanted (RFC 9110 section 10.1.1).
    if (expectsContinue(this.#grant.request.headers)) response.writeContinue()
    request.pipe(this.#body)
  }

  get #answerMs(): number {
    return this.#grant.match.route.responseTimeoutMs ?? this.#to.upstream.responseTimeoutMs
  }

  readonly #onBodyBytes = (): void => {
    if (this.#state === 'sent') this.#deadline?.refresh()
  }

  readonly #onBodyTooLarge = (): void => {
    if (this.#state === 'answering') this.#exchange.response.destroy()
    else this.#settle(tooLarge(this.#to.bodyBytes))
  }

  readonly #onNoConnection = (): void => {
    const { connectTimeoutMs } = this.#to.upstream
    if (this.#state === 'waiting')
      this.#refuse('upstream_unavailable', `no free connection within ${connectTimeoutMs} ms`)
    else this.#refuse('upstream_timeout', `not connected within ${connectTimeoutMs} ms`)
  }

  readonly #onQuiet = (): void => {
    // A client that is slow to send is not the upstream's fault; how slow it may be is the listener's to say.
    if (this.#body !== null && !this.#exchange.request.complete && !this.#request?.writableNeedDrain)
      this.#deadline?.refresh()
    else this.#refuse('upstream_timeout', `no answer within ${this.#answerMs} ms`)
  }

  #onError(request: ClientRequest, error: Error): void {
    if (request !== this.#request || this.#state === 'answering') return // the relay sees how the answer ends
    if (this.#mayRetry(request, error)) {
      this.#retried = true
      this.#state = 'connecting'
      this.#send(this.#to.pool.fresh)
    } else this.#settle(upstreamFailure(this.#to.upstream.name, error))
  }

  /** The upstream closed an idle connection just as it was taken: it has seen nothing, and said nothing. */
  #mayRetry(request: ClientRequest, error: Error): boolean {
    const { method } = this.#grant.request
    return (
      this.#state !== 'done' &&
      !this.#retried &&
      request.reusedSocket &&
      isReset(error) &&
      request.socket?.bytesRead === this.#bytesReadBefore &&
      this.#body === null &&
      this.#exchange.upgrade === null &&
      (method === 'GET' || method === 'HEAD')
    )
  }

  readonly #onAnswer = (answer: IncomingMessage): void => {
    answer.on('error', ignore)
    const head = headOf(answer)
    const early = this.#body !== null && !this.#exchange.request.complete
    const headers = responseHeaders(head, this.#answerRules(early || this.#exchange.upgrade !== null))
    if (headers instanceof Denial) this.#settle(headers)
    else if (head.status < 200 || head.status > 599)
      this.#refuse('upstream_malformed', `status ${head.status}`)
    else this.#relay(answer, headers, early)
  }

  #relay(answer: IncomingMessage, headers: RawHeaders, early: boolean): void {
    const { request, response, upgrade } = this.#exchange
    const status = answer.statusCode as number
    this.#state = 'answering'
    clearTimeout(this.#deadline)
    const forwarded = this.#measured(status)
    // RFC 9112 section 9.5: an answer that refuses the body, or a connection that closes, means to stop sending.
    if (early && (status >= 400 || closes(answer))) request.unpipe().resume()
    response.writeHead(status, reasonOf(answer), headers as string[])
    const patience = { upstreamMs: this.#answerMs, clientMs: this.#to.clientStallMs }
    relayBody(answer, response, early ? request : null, patience, end => {
      this.#settle({ ...forwarded, end })
      if (end === 'complete') upgrade?.socket.end(() => upgrade.socket.destroy())
    })
  }

  #onUpgrade(
    switchProtocols: SwitchProtocols | null,
    answer: IncomingMessage,
    socket: Duplex,
    head: Buffer,
  ): void {
    const client = this.#exchange.upgrade?.socket
    const expected = answer.headers.upgrade?.toLowerCase() === 'websocket'
    if (this.#state === 'done' || switchProtocols === null || client === undefined || !expected) {
      socket.destroy()
      this.#refuse('upstream_malformed', '101 to another protocol than was asked for')
      return
    }
    if (!this.#to.tunnels.takesMore) {
      socket.destroy() // others were faster
      this.#refuseTunnel()
      return
    }
    this.#state = 'switched'
    clearTimeout(this.#deadline)
    this.#ignoreClient()
    const forwarded = this.#measured(101)
    // A tunnel lasts for hours; ordinary requests shall not wait for its end.
    this.#leavePool()
    const expiresAt = this.#grant.token?.expiresAt ?? null
    this.#to.tunnels.add(client, socket, expiresAt, end => this.#settle({ ...forwarded, end }))
    answer.headers = dictionaryOf(switchingHeaders(headOf(answer), this.#answerRules(false)))
    switchProtocols(answer, socket, head)
  }

  #measured(status: number): Omit<Forwarded, 'end'> {
    return { status, upstreamMs: performance.now() - this.#startedAt }
  }

  #answerRules(closes: boolean): AnswerRules {
    const { mtls, token } = this.#grant.match.route
    const { interactionId, nextNonce = null } = this.#exchange
    return { interactionId, nextNonce, isPublic: !mtls && token === null, now: new Date(), closes }
  }

  readonly #onClientGone = (): void => {
    if (this.#state === 'answering') return // the relay sees it
    this.#exchange.upgrade?.socket.end()
    this.#settle(null)
  }

  #ignoreClient(): void {
    this.#client.removeListener('close', this.#onClientGone)
    this.#exchange.upgrade?.socket.removeListener('end', this.#onClientGone)
  }

  #refuse(code: DenialCode, detail: string): void {
    this.#settle(new Denial(code, `${this.#to.upstream.name}: ${detail}`))
  }

  #refuseTunnel(): void {
    this.#refuse('upstream_unavailable', `${this.#to.upstream.connections} upgraded connections are open`)
  }

  #settle(outcome: Outcome): void {
    if (this.#state === 'done') return
    this.#state = 'done'
    clearTimeout(this.#deadline)
    this.#ignoreClient()
    if (this.#body !== null) {
      this.#exchange.request.unpipe(this.#body)
      this.#body.destroy()
    }
    // A finished request has given its connection back already; then this does nothing.
    if (this.#request === null) this.#leavePool()
    else this.#request.destroy()
    this.#resolve(outcome)
  }

  #leavePool(): void {
    if (!this.#inPool) return
    this.#inPool = false
    this.#to.pool.leave(this.#onAdmitted)
  }
}

function asksForWebSocket({ request, match }: Grant): boolean {
  const protocols = valuesOf(request.headers, 'upgrade')
  const [protocol] = protocols
  return (
    match.route.upgrade === 'websocket' &&
    request.method === 'GET' &&
    protocols.length === 1 &&
    protocol?.toLowerCase() === 'websocket'
  )
}

function expectsContinue(headers: RawHeaders): boolean {
  return valuesOf(headers, 'expect').some(value => value.toLowerCase() === '100-continue')
}

function headOf(answer: IncomingMessage): AnswerHead {
  return { status: answer.statusCode as number, headers: answer.rawHeaders }
}

/** A reason that node:http would not write is left out. */
function reasonOf(answer: IncomingMessage): string {
  const reason = answer.statusMessage ?? ''
  return /^[\t\x20-\x7e]*$/.test(reason) ? reason : ''
}

function closes(answer: IncomingMessage): boolean {
  return answer.httpVersion === '1.0' || /\bclose\b/i.test(answer.headers.connection ?? '')
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

function ignore(): void {}
