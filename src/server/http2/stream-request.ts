import type { ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Http2Head } from '../../request/http2-head.js'
import type { IncomingRequest } from '../../upstream/client-message.js'

/**
 * The request of a stream, as node:http would give it. A stream of its own, because one of node:http2 tells nobody that all
 * of a body has arrived before it has been read, and calls a body that breaks off ended.
 */
export class StreamRequest extends Readable implements IncomingRequest {
  readonly httpVersion = '2'
  readonly method: string
  readonly url: string
  readonly rawHeaders: string[]
  readonly headers: IncomingRequest['headers']
  readonly socket: TLSSocket
  complete: boolean
  readonly #stream: ServerHttp2Stream
  #isDiscarding = false

  constructor(stream: ServerHttp2Stream, { method, target, headers }: Http2Head, socket: TLSSocket) {
    super()
    this.#stream = stream
    this.method = method
    this.url = target
    this.rawHeaders = headers
    this.headers = fieldsOf(headers)
    this.socket = socket
    this.complete = stream.endAfterHeaders
    if (this.complete) this.push(null)
    else this.#listen()
    stream.once('close', () => {
      if (!this.complete) this.destroy()
    })
  }

  #listen(): void {
    const stream = this.#stream
    // A little is read before somebody asks: a body that has arrived is complete, whoever it waits for. Beyond that the window
    // of the stream stays as it is, and the client waits.
    stream.on('data', (chunk: Buffer) => {
      if (!this.#isDiscarding && !this.push(chunk)) stream.pause()
    })
    stream.once('end', () => {
      // A connection that is lost, or a reset, ends it too: the rest of a body must not be made up. A HEAD is never called aborted,
      // because node:http2 ends its answer as soon as it comes.
      if (stream.aborted || (stream.closed && !stream.headersSent)) {
        this.destroy()
        return
      }
      this.complete = true
      this.push(null)
    })
  }

  override _read(): void {
    this.#stream.resume()
  }

  /** Nobody wants the rest, nor what has come of it; the client may finish sending it all the same. */
  discard(): void {
    this.#isDiscarding = true
    this.read()
    this.#stream.resume()
  }
}

function fieldsOf(headers: readonly string[]): IncomingRequest['headers'] {
  const fields: Record<string, string> = {}
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string
    if (name === 'content-length' || name === 'transfer-encoding' || name === 'expect')
      fields[name] = headers[i + 1] as string
  }
  return fields
}
