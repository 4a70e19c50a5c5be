/**
 * What the core asks of a client's request and of the answer to it, whatever version of HTTP carries them. The objects of
 * node:http are such as they are; the doc comments say what matters here, and where another version must do the same.
 */
import type { Socket } from 'node:net'

/** A request: its head, and a paused stream of its body. */
export interface IncomingRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  /** `1.0`, `1.1` or, for a stream, `2`. A parser of HTTP/1 also reads `2.0`, which is no version to anybody. */
  readonly httpVersion: string
  /** Fields in order as in HTTP/1: Host, and the framing of the body, are among them. */
  readonly rawHeaders: string[]
  /** Those of the fields that concern the connection or the body. Decisions about access read `rawHeaders`. */
  readonly headers: {
    readonly 'content-length'?: string | undefined
    readonly 'transfer-encoding'?: string | undefined
    readonly expect?: string | undefined
    readonly upgrade?: string | undefined
  }
  /** The connection. What failed on it is counted by this object. */
  readonly socket: Pick<Socket, 'destroyed'>
  /** All of the body has arrived; some of it may still have to be read. */
  readonly complete: boolean
  readonly destroyed: boolean
  readonly readableLength: number
  readonly readableDidRead: boolean
  read(): unknown
  unshift(chunk: Buffer): void
  pause(): unknown
  resume(): unknown
  unpipe(): IncomingRequest
  on(event: 'data', listener: (chunk: Buffer) => void): unknown
  on(event: 'end' | 'readable' | 'close', listener: () => void): unknown
  once(event: 'end', listener: () => void): unknown
  off(event: 'readable' | 'close', listener: () => void): unknown
  removeListener(event: 'data', listener: (chunk: Buffer) => void): unknown
  removeListener(event: 'end', listener: () => void): unknown
}

/** The answer to a request. `close` without `finish` before it: the client has left. */
export interface OutgoingAnswer {
  readonly req: IncomingRequest
  statusCode: number
  /** false: the connection ends with this answer, and says so where it still can. */
  shouldKeepAlive: boolean
  readonly headersSent: boolean
  readonly destroyed: boolean
  readonly writableNeedDrain: boolean
  setHeader(name: string, value: string | number): unknown
  appendHeader(name: string, value: string): unknown
  writeContinue(): void
  /** Fields as in `rawHeaders`. */
  writeHead(status: number, reason: string, headers: string[]): unknown
  flushHeaders(): void
  write(chunk: Buffer | string): boolean
  end(chunk?: Buffer | string, encoding?: BufferEncoding): unknown
  /** The client sees that the answer is not whole. */
  destroy(): unknown
  on(event: 'finish' | 'close', listener: () => void): unknown
  once(event: 'finish' | 'close' | 'drain', listener: () => void): unknown
  removeListener(event: 'finish' | 'close' | 'drain', listener: () => void): unknown
}

/** Whether the request has a stream of its own: what becomes of it concerns nothing else on its connection. */
export function hasOwnStream({ httpVersion }: Pick<IncomingRequest, 'httpVersion'>): boolean {
  return httpVersion === '2'
}
