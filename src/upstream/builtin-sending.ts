import type { Socket } from 'node:net'
import { AnswerReader } from './answer-reader.js'
import { requestHead } from './request-head.js'
import type { Outgoing, Sending, SendingEvents } from './transport.js'
import { onceAllIsJudged, onceAllIsRead } from './turn.js'
import {
  type Carried,
  ConnectionLost,
  type ConnectionSource,
  type UpstreamConnection,
} from './upstream-connection.js'
import { isReset } from './upstream-failure.js'

const NOTHING = Buffer.alloc(0)
const LAST_CHUNK = '0\r\n\r\n'

/** One request on a connection of ours, and its answer. */
export class BuiltinSending implements Sending, Carried {
  readonly #head: string
  readonly #events: SendingEvents
  readonly #source: ConnectionSource
  readonly #fresh: boolean
  readonly #hasBody: boolean
  readonly #reader: AnswerReader
  /** Bytes of the body that are still to come; null: chunked, and not at its end. */
  #owed: number | null
  /** null before the start, and as soon as nothing more of this exchange happens on it. */
  #connection: UpstreamConnection | null = null
  /** What is written now leaves later, together. */
  #isGathering = false
  #wasUsed = false
  #hasRead = false
  #isAnswered = false
  #isOver = false

  /** Throws when the request cannot be written. */
  constructor(outgoing: Outgoing, events: SendingEvents, source: ConnectionSource, fresh: boolean) {
    this.#head = requestHead(outgoing.method, outgoing.target, outgoing.headers)
    this.#events = events
    this.#source = source
    this.#fresh = fresh
    this.#hasBody = outgoing.bodyBytes !== 0
    this.#owed = outgoing.bodyBytes
    this.#reader = new AnswerReader(outgoing.method)
  }

  start(): void {
    const connection = this.#source.take(this.#fresh)
    this.#connection = connection
    this.#wasUsed = connection.isUsed
    connection.carry(this)
  }

  onReady(): void {
    onceAllIsJudged(this.#begin)
  }

  readonly #begin = (): void => {
    const socket = this.#connection?.writable(this.#hasBody)
    if (socket === undefined || !this.#events.stillGranted()) return
    // Head and first part of the body leave in one packet when both are there.
    this.#isGathering = this.#hasBody
    if (this.#hasBody) socket.cork()
    socket.write(this.#head, 'latin1')
    this.#events.connected()
    if (this.#hasBody) socket.uncork()
    this.#isGathering = false
  }

  write(chunk: Buffer): boolean {
    const socket = this.#connection?.writable(true)
    if (socket === undefined) return true
    this.#gather(socket)
    if (this.#owed === null) {
      socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
      socket.write(chunk)
      return socket.write('\r\n', 'latin1')
    }
    if (chunk.length > this.#owed) throw new Error('a body longer than its Content-Length')
    this.#owed -= chunk.length
    return socket.write(chunk)
  }

  /** What one turn brings of a body is many records of TLS, and leaves as one. */
  #gather(socket: Socket): void {
    if (this.#isGathering) return
    this.#isGathering = true
    socket.cork()
    onceAllIsRead(() => {
      this.#isGathering = false
      socket.uncork()
    })
  }

  end(): void {
    // A length that is still owed is never paid: then the connection is not used again.
    if (this.#connection === null || this.#owed !== null) return
    this.#owed = 0
    this.#connection.writable(true).write(LAST_CHUNK, 'latin1')
  }

  pause(): void {
    this.#connection?.pause()
  }

  resume(): void {
    this.#connection?.resume()
  }

  abort(): void {
    this.#isOver = true
    this.#connection?.destroy()
    this.#connection = null
  }

  onDrain(): void {
    this.#events.drained()
  }

  onData(bytes: Buffer): void {
    this.#hasRead = true
    try {
      this.#reader.read(bytes)
    } catch (error) {
      this.#fail(error)
      return
    }
    const { answer, content, isComplete } = this.#reader
    if (answer === null) return
    // Before anybody is told, so that whoever waits for a connection gets this one.
    if (isComplete) this.#release()
    const isWhole = !this.#isAnswered && isComplete && content.length === 0
    if (!this.#isAnswered) {
      this.#isAnswered = true
      this.#events.answered(answer, isWhole)
    }
    if (this.#isOver || isWhole) return
    if (isComplete || content.length > 0) this.#events.data(content, isComplete)
  }

  #release(): void {
    const connection = this.#connection
    this.#connection = null
    // An answer that came before the end of its request, or was followed by something, leaves nothing to rely on.
    if (this.#reader.hasExcess || this.#owed !== 0) connection?.destroy()
    else connection?.release(this.#reader.keepAliveMs)
  }

  onEnd(error: Error | null): void {
    this.#connection = null
    if (this.#isOver) return
    if (error === null && this.#reader.end()) this.#events.data(NOTHING, true)
    else this.#fail(error ?? new ConnectionLost())
  }

  #fail(error: unknown): void {
    this.#isOver = true
    this.#connection?.destroy()
    this.#connection = null
    this.#events.failed(error, this.#wasUsed && !this.#hasRead && isReset(error))
  }
}
