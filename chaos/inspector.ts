/** The inspector of a Node process: asks V8 for what nobody else can, without a change to the process. */
import { once } from 'node:events'
import WebSocket from 'ws'

/** A full collection under load takes some tenths of a second; a policy that is read may come before. Milliseconds. */
const DEADLINE_MS = 30_000

interface Answer {
  readonly id?: number
  readonly result?: { readonly result?: { readonly value?: unknown }; readonly exceptionDetails?: unknown }
}

/** A session. As long as it is open the process does not end by itself, so it is closed after each use. */
export class Inspector {
  readonly #socket: WebSocket
  #number = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
  }

  /** Opens a session, uses it and closes it. */
  static async use<T>(url: string, action: (inspector: Inspector) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(DEADLINE_MS)
    const socket = new WebSocket(url, { perMessageDeflate: false })
    try {
      await once(socket, 'open', { signal })
      return await action(new Inspector(socket))
    } finally {
      if (socket.readyState !== WebSocket.CLOSED) {
        const closed = once(socket, 'close', { signal })
        socket.close()
        await closed
      }
    }
  }

  /** Collects all garbage of the heap. */
  async collectGarbage(): Promise<void> {
    await this.#ask('HeapProfiler.collectGarbage', {})
  }

  /** The value of a script, run in the process; it has to be one that JSON has. */
  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.#ask('Runtime.evaluate', { expression, returnByValue: true })
    if (result?.exceptionDetails !== undefined) throw new Error(`the process cannot evaluate ${expression}`)
    return result?.result?.value
  }

  async #ask(method: string, params: object): Promise<Answer> {
    const id = ++this.#number
    const signal = AbortSignal.timeout(DEADLINE_MS)
    this.#socket.send(JSON.stringify({ id, method, params }))
    for (;;) {
      const [data] = await once(this.#socket, 'message', { signal })
      const answer = JSON.parse(String(data)) as Answer
      if (answer.id === id) return answer
    }
  }
}
