/** One granted request and its answer: deadlines, limits, and every way in which either side can leave. */
import type { Duplex } from 'node:stream'
import type { Grant } from '../checks/authorise.js'
import { Denial, type DenialCode } from '../decision/denials.js'
import type { Upstream } from '../policy/upstream.js'
import type { RawHeaders } from '../request/headers.js'
import type { OutgoingAnswer } from './client-message.js'
import type { ConnectionPool } from './connection-pool.js'
import { Deadline } from './deadline.js'
import { type AttemptTerms, type Exchange, type Failed, type Forwarded, OUTDATED } from './forwarding.js'
import { breakOff, endWhenRead } from './linger.js'
import {
  announcedBytes,
  announcedTooLarge,
  expectsContinue,
  tooLarge,
  Upload,
  type UploadEvents,
} from './request-body.js'
import { type RequestHeaderRules, requestHeaders } from './request-headers.js'
import { type AnswerRules, responseHeaders, switchingHeaders } from './response-headers.js'
import type { Answer, Sending, SendingEvents, Switched, Transport } from './transport.js'
import { asksForWebSocket, type Tunnels } from './tunnel.js'
import { onceAllIsJudged } from './turn.js'
import { upstreamFailure } from './upstream-failure.js'

/** One address of an upstream and what forwarding to it needs, as a running engine holds it. */
export interface Destination {
  readonly upstream: Upstream
  readonly pool: ConnectionPool
  /** How it wants to be spoken to. */
  readonly rules: RequestHeaderRules
  /** Carries ordinary exchanges. */
  readonly ordinary: Transport
  /** Carries requests whose answer may be a 101. */
  readonly upgrades: Transport
  readonly tunnels: Tunnels
}

/** Bytes. So short an end of an answer is handed on as a text, which node:http joins to a head that has not left yet. */
const MOST_AS_TEXT = 4096

type Outcome = Forwarded | Failed | typeof OUTDATED | null

/** Sends one granted request; see `ForwardingEngine.attempt` for what comes of it. */
export function roundTrip(
  grant: Grant,
  exchange: Exchange,
  to: Destination,
  terms: AttemptTerms,
): Promise<Outcome> {
  return new Promise(resolve => new RoundTrip(grant, exchange, to, terms, resolve).start())
}

class RoundTrip implements SendingEvents, UploadEvents {
  readonly #grant: Grant
  readonly #exchange: Exchange
  readonly #to: Destination
  readonly #terms: AttemptTerms
  readonly #resolve: (outcome: Outcome) => void
  /** Its 'close' is how a client leaves. */
  readonly #client: Duplex | OutgoingAnswer
  /** 0: no body, null: of unknown length. */
  readonly #bodyBytes: number | null
  /** Whether the answer may be a 101; an Upgrade that is not honoured is an ordinary request (RFC 9110 section 7.8). */
  readonly #mayUpgrade: boolean
  readonly #startedAt = performance.now()
  #state: 'waiting' | 'connecting' | 'sent' | 'answering' | 'answered' | 'switched' | 'done' = 'waiting'
  readonly #deadline = new Deadline(() => this.#onLate())
  #sending: Sending | null = null
  #upload: Upload | null = null
  #sent = false
  #retried = false
  #inPool = false
  #forwarded: Omit<Forwarded, 'end'> = { status: 0, upstreamMs: 0 }

  constructor(
    grant: Grant,
    exchange: Exchange,
    to: Destination,
    terms: AttemptTerms,
    resolve: (outcome: Outcome) => void,
  ) {
    this.#grant = grant
    this.#exchange = exchange
    this.#to = to
    this.#terms = terms
    this.#resolve = resolve
    this.#client = exchange.upgrade?.socket ?? exchange.response
    this.#bodyBytes = announcedBytes(grant.request.headers)
    this.#mayUpgrade = exchange.upgrade !== null && asksForWebSocket(grant)
  }

  start(): void {
    const { request, upgrade } = this.#exchange
    // A client that resets between two steps would otherwise be an uncaught error, the end of the process.
    if (upgrade !== null && !upgrade.socket.listeners('error').includes(ignore))
      upgrade.socket.on('error', ignore)
    const refusal = this.#refusalOfBody()
    if (this.#client.destroyed || request.socket.destroyed) this.#settle(null)
    else if (refusal !== null) this.#fail(refusal, false)
    else if (this.#mayUpgrade && !this.#to.tunnels.takesMore) this.#refuseTunnel()
    else this.#enterPool()
  }

  #refusalOfBody(): Denial | null {
    // The parser stops at the head of an upgrade: a body would be frames to one side and a request to the other.
    if (this.#exchange.upgrade !== null && this.#bodyBytes !== 0)
      return new Denial('request_malformed', 'an upgrade with a body')
    return announcedTooLarge(this.#grant.request.headers, this.#terms.bodyBytes)
  }

  #enterPool(): void {
    const { connections, connectTimeoutMs } = this.#to.upstream
    const admission = this.#to.pool.enter(this.#onAdmitted)
    if (admission === 'full') {
      this.#refuse('upstream_unavailable', `${connections} connections in use, as many requests wait`, false)
      return
    }
    this.#inPool = true
    this.#client.on('close', this.#onClientGone)
    this.#exchange.upgrade?.socket.once('end', this.#onClientGone)
    if (admission === 'now') this.#onAdmitted()
    else this.#deadline.allow(this.#within(connectTimeoutMs))
  }

  readonly #onAdmitted = (): void => {
    this.#state = 'connecting'
    // Anew: that others were before it is not to the address's blame.
    this.#deadline.allow(this.#within(this.#to.upstream.connectTimeoutMs))
    this.#send(false)
  }

  #send(fresh: boolean): void {
    const { method, target } = this.#grant.request
    const { ordinary, upgrades, rules } = this.#to
    const upgrade = this.#mayUpgrade ? this.#exchange.upgrade : null
    const protocol = upgrade === null ? null : 'websocket'
    try {
      const headers = requestHeaders(this.#grant, this.#exchange, rules, protocol)
      const transport = upgrade === null ? ordinary : upgrades
      const outgoing = { method, target, headers, bodyBytes: this.#bodyBytes, upgrade }
      this.#sending = transport.send(outgoing, this, fresh)
      this.#sending.start()
    } catch (error) {
      this.#failOfOurs(error)
    }
  }

  stillGranted(): boolean {
    if (this.#exchange.isOutdated?.() !== true) return true
    if (this.#sent) this.#refuse('upstream_unavailable', 'no answer, and the policy has changed since', true)
    else this.#settle(OUTDATED)
    return false
  }

  connected(): void {
    this.#state = 'sent'
    this.#sent = true
    this.#deadline.allow(this.#within(this.#answerMs))
    if (this.#bodyBytes === 0 || this.#sending === null) return
    const { request, response } = this.#exchange
    try {
      // Not before: only now is it sure that the body is wanted. HTTP/1.0 knows no 100 (RFC 9110 section 10.1.1).
      if (request.httpVersion !== '1.0' && expectsContinue(this.#grant.request.headers))
        response.writeContinue()
      this.#upload = new Upload(request, this.#terms.bodyBytes, this.#sending, this)
      this.#upload.start()
    } catch (error) {
      this.#failOfOurs(error)
    }
  }

  drained(): void {
    this.#upload?.drained()
  }

  bodyPassed(): void {
    if (this.#state === 'sent') this.#deadline.allow(this.#answerMs)
  }

  bodyTooLarge(): void {
    if (this.#isAnswering) this.#finish('aborted')
    else this.#fail(tooLarge(this.#terms.bodyBytes), false)
  }

  get #isAnswering(): boolean {
    return this.#state === 'answering' || this.#state === 'answered'
  }

  get #answerMs(): number {
    return this.#grant.match.route.responseTimeoutMs ?? this.#to.upstream.responseTimeoutMs
  }

  /** As much of a time as is left until the answer must have begun. */
  #within(milliseconds: number): number {
    if (this.#terms.answerBy === Number.POSITIVE_INFINITY) return milliseconds
    return Math.min(milliseconds, Math.max(this.#terms.answerBy - performance.now(), 1))
  }

  #onLate(): void {
    const { connectTimeoutMs } = this.#to.upstream
    if (this.#state === 'waiting')
      this.#refuse('upstream_unavailable', `no free connection within ${connectTimeoutMs} ms`, false)
    else if (this.#state === 'connecting')
      this.#refuse('upstream_timeout', `not connected within ${connectTimeoutMs} ms`, true)
    // A client that is slow to send is not the upstream's fault; how slow it may be is the listener's to say.
    else if (this.#state === 'sent' && this.#awaitsBody) this.#deadline.allow(this.#answerMs)
    else if (this.#state === 'sent')
      this.#refuse('upstream_timeout', `no answer within ${this.#answerMs} ms`, true)
    // A client that never reads would keep a place of the upstream for ever, and a few of them all of its places.
    else this.#finish(this.#state === 'answered' || this.#awaitsClient ? 'aborted' : 'truncated')
  }

  get #awaitsBody(): boolean {
    return this.#upload?.isBlocked === false && !this.#exchange.request.complete
  }

  get #awaitsClient(): boolean {
    return this.#exchange.response.writableNeedDrain
  }

  failed(error: unknown, isStale: boolean): void {
    if (this.#isAnswering) this.#finish('truncated')
    else if (isStale && this.#mayRetry) {
      this.#retried = true
      this.#state = 'connecting'
      this.#deadline.allow(this.#within(this.#to.upstream.connectTimeoutMs))
      this.#send(true)
    } else this.#fail(upstreamFailure(this.#to.upstream.name, error), true)
  }

  /** The upstream ended an idle connection just as it was taken, and said nothing. Nobody knows whether it has seen the request. */
  get #mayRetry(): boolean {
    const { method } = this.#grant.request
    return (
      !this.#retried &&
      this.#bodyBytes === 0 &&
      this.#exchange.upgrade === null &&
      (method === 'GET' || method === 'HEAD')
    )
  }

  answered(answer: Answer, isWhole: boolean): void {
    const early = this.#isBodyUnread
    const headers = responseHeaders(answer, this.#answerRules(early || this.#exchange.upgrade !== null))
    if (headers instanceof Denial) this.#fail(headers, true)
    else if (answer.status < 200 || answer.status > 599)
      this.#refuse('upstream_malformed', `status ${answer.status}`, true)
    else this.#beginAnswer(answer, headers, isWhole)
  }

  /** Whether the client still sends: then its connection cannot be used after the answer. */
  get #isBodyUnread(): boolean {
    return this.#upload !== null && !this.#exchange.request.complete
  }

  #beginAnswer(answer: Answer, headers: RawHeaders, isWhole: boolean): void {
    const { response, upgrade } = this.#exchange
    // RFC 9112 section 9.5: an answer that refuses the body, or a connection that closes, means to stop sending.
    if (this.#isBodyUnread && (answer.status >= 400 || answer.closes)) this.#discardBody()
    this.#state = 'answering'
    this.#measure(answer.status)
    this.#terms.onAnswer()
    response.on('finish', this.#onWritten)
    if (upgrade !== null) response.once('close', this.#onClientGone)
    // A client that sends no more may still read.
    upgrade?.socket.removeListener('end', this.#onClientGone)
    response.writeHead(answer.status, writableReason(answer.reason), headers as string[])
    if (isWhole) this.#endAnswer(null)
    else this.#deadline.allow(this.#answerMs)
  }

  #discardBody(): void {
    this.#upload?.stop()
    this.#exchange.request.resume()
  }

  data(chunk: Buffer, isLast: boolean): void {
    if (isLast) this.#endAnswer(chunk)
    else if (this.#exchange.response.write(chunk)) this.#deadline.allow(this.#answerMs)
    else {
      this.#sending?.pause()
      this.#exchange.response.once('drain', this.#onClientReads)
      this.#deadline.allow(this.#terms.clientStallMs)
    }
  }

  readonly #onClientReads = (): void => {
    if (this.#state !== 'answering') return
    this.#deadline.allow(this.#answerMs)
    this.#sending?.resume()
  }

  #endAnswer(chunk: Buffer | null): void {
    const { request, response } = this.#exchange
    this.#state = 'answered'
    this.#leavePool()
    this.#deadline.allow(this.#terms.clientStallMs)
    if (this.#isBodyUnread) {
      this.#upload?.stop()
      if (chunk !== null) response.write(chunk)
      endWhenRead(response, request)
    } else if (chunk === null || chunk.length === 0) onceAllIsJudged(() => response.end())
    else if (chunk.length > MOST_AS_TEXT) onceAllIsJudged(() => response.end(chunk))
    else onceAllIsJudged(() => response.end(chunk.toString('latin1'), 'latin1'))
  }

  readonly #onWritten = (): void => this.#finish('complete')

  #finish(end: Forwarded['end']): void {
    if (this.#state === 'done') return
    const { response, upgrade } = this.#exchange
    const { status, upstreamMs } = this.#forwarded
    this.#settle({ status, end, upstreamMs })
    // What was promised will not come. Only a broken connection tells the client so.
    if (end === 'truncated') breakOff(response)
    else if (end === 'aborted') response.destroy()
    else upgrade?.socket.end(() => upgrade.socket.destroy())
  }

  switched({ answer, socket, join }: Switched): void {
    const client = this.#exchange.upgrade?.socket
    if (client === undefined || !this.#to.tunnels.takesMore) {
      socket.destroy() // others were faster
      this.#refuseTunnel()
      return
    }
    this.#state = 'switched'
    this.#deadline.clear()
    this.#ignoreClient()
    this.#measure(101)
    this.#terms.onAnswer()
    // A tunnel lasts for hours; ordinary requests shall not wait for its end.
    this.#leavePool()
    const joinNow = () => join(switchingHeaders(answer, this.#answerRules(false)))
    this.#to.tunnels.add(client, socket, this.#grant, joinNow, end =>
      this.#settle({ ...this.#forwarded, end }),
    )
  }

  #measure(status: number): void {
    this.#forwarded = { status, upstreamMs: performance.now() - this.#startedAt }
  }

  #answerRules(closes: boolean): AnswerRules {
    const { mtls, token } = this.#grant.match.route
    const { interactionId, nextNonce = null } = this.#exchange
    return { interactionId, nextNonce, isPublic: !mtls && token === null, now: new Date(), closes }
  }

  readonly #onClientGone = (): void => {
    if (this.#state === 'done') return
    if (this.#isAnswering) {
      this.#finish('aborted')
      return
    }
    this.#exchange.upgrade?.socket.end()
    this.#settle(null)
  }

  #ignoreClient(): void {
    const { response, upgrade } = this.#exchange
    this.#client.removeListener('close', this.#onClientGone)
    upgrade?.socket.removeListener('end', this.#onClientGone)
    if (this.#client !== response) response.removeListener('close', this.#onClientGone)
    response.removeListener('finish', this.#onWritten)
    response.removeListener('drain', this.#onClientReads)
  }

  #refuse(code: DenialCode, detail: string, blame: boolean): void {
    this.#fail(new Denial(code, `${this.#to.upstream.name}: ${detail}`), blame)
  }

  /** Nobody else would end the exchange, and the address is not to blame. */
  #failOfOurs(error: unknown): void {
    this.#refuse('internal_error', error instanceof Error ? error.message : 'fault', false)
  }

  #refuseTunnel(): void {
    this.#refuse(
      'upstream_unavailable',
      `${this.#to.upstream.connections} upgraded connections are open`,
      false,
    )
  }

  #fail(denial: Denial, blame: boolean): void {
    this.#settle({ denial, sent: this.#sent, blame })
  }

  #settle(outcome: Outcome): void {
    if (this.#state === 'done') return
    this.#state = 'done'
    this.#deadline.clear()
    // Another attempt may follow, which listens for itself.
    if (outcome === null || outcome === OUTDATED || 'denial' in outcome) this.#ignoreClient()
    this.#upload?.stop()
    this.#sending?.abort()
    this.#leavePool()
    this.#resolve(outcome)
  }

  #leavePool(): void {
    if (!this.#inPool) return
    this.#inPool = false
    this.#to.pool.leave(this.#onAdmitted)
  }
}

/** A reason that node:http would not write is left out. */
function writableReason(reason: string): string {
  return /^[\t\x20-\x7e]*$/.test(reason) ? reason : ''
}

function ignore(): void {}
