/** A question that was not answered in time, or whose other side is gone. */
export const SILENCE = Symbol('silence')

/** Kinds of question with what they say and what is answered. */
export type Questions = Readonly<Record<string, (body: never) => unknown>>

/** The functions that answer. */
export type Answers<Q extends Questions> = {
  readonly [K in keyof Q]: (body: Parameters<Q[K]>[0]) => Awaited<ReturnType<Q[K]>> | ReturnType<Q[K]>
}

interface Waiting {
  readonly settle: (answer: unknown) => void
}

interface Message {
  readonly ask?: string
  readonly answer?: true
  readonly number: number
  readonly body: unknown
}

/** Passes a message to the other process; `failed` is called when it cannot. */
export type Send = (message: unknown, failed: () => void) => void

/**
 * Questions to another process and its answers, in the order in which they are asked. Each has a deadline. So many may be
 * open at a time; one that was given up counts until its answer comes after all, so that a process that hangs is not sent
 * more and more.
 */
export class Channel<Ours extends Questions, Theirs extends Questions> {
  readonly #send: Send
  readonly #answers: Answers<Theirs>
  readonly #mostOpen: number
  readonly #open = new Map<number, Waiting>()
  #number = 0
  #isClosed = false

  /** @param answers to what the other side asks; faults of theirs leave it without an answer */
  constructor(send: Send, answers: Answers<Theirs>, mostOpen: number) {
    this.#send = send
    this.#answers = answers
    this.#mostOpen = mostOpen
  }

  /** Never rejects. The question is on its way when this returns. */
  ask<K extends keyof Ours & string>(
    kind: K,
    body: Parameters<Ours[K]>[0],
    deadlineMs: number,
  ): Promise<Awaited<ReturnType<Ours[K]>> | typeof SILENCE> {
    if (this.#isClosed || this.#open.size >= this.#mostOpen) return Promise.resolve(SILENCE)
    const number = ++this.#number
    return new Promise(resolve => {
      const deadline = setTimeout(() => resolve(SILENCE), deadlineMs)
      const settle = (answer: unknown) => {
        clearTimeout(deadline)
        resolve(answer as Awaited<ReturnType<Ours[K]>> | typeof SILENCE)
      }
      this.#open.set(number, { settle })
      const message: Message = { ask: kind, number, body }
      this.#send(message, () => this.#settle(number, SILENCE))
    })
  }

  /** Takes what the other side has sent. */
  hear(message: Message): void {
    const { ask, number, body } = message
    if (ask === undefined) this.#settle(number, body)
    else void this.#answer(ask, number, body)
  }

  /** The other side is gone: nothing will be answered. */
  close(): void {
    this.#isClosed = true
    for (const number of [...this.#open.keys()]) this.#settle(number, SILENCE)
  }

  #settle(number: number, answer: unknown): void {
    this.#open.get(number)?.settle(answer)
    this.#open.delete(number)
  }

  /** Runs at once up to the first wait: what was asked first has begun before the next question is heard. */
  async #answer(kind: string, number: number, body: unknown): Promise<void> {
    const answer = this.#answers[kind]
    if (answer === undefined) return
    const message: Message = { answer: true, number, body: await answer(body as never) }
    this.#send(message, () => {})
  }
}
