/** Counts what came of the requests of one scenario, by one rule for all of them. */
import { FORBIDDEN, type Incident, type Plan, type Reply } from './exchange.js'

/** Kept of each sort, for people; the rest is only counted. */
const MOST_NOTES = 5

export class Ledger {
  requests = 0
  /** Answers that the policy does not give to this request, and requests that reached the upstream against it. */
  wrong = 0
  /** No answer, or a 5xx, that the fault does not explain. */
  lost = 0
  /** The same, and the fault does explain it. */
  explained = 0
  /** Sent again because the connection was closed in order before the request was looked at (RFC 9112 section 9.3.1). */
  retried = 0
  /** The longest time from a request to its end, in milliseconds. */
  slowest = 0
  readonly notes: string[] = []
  readonly #explains: (incident: Incident) => boolean
  /** Arrivals at the upstream, of requests without an answer so far. */
  readonly #arrivals = new Map<string, number>()

  constructor(explains: (incident: Incident) => boolean) {
    this.#explains = explains
  }

  sent({ nonce }: Plan): void {
    this.#arrivals.set(nonce, 0)
  }

  /** Whether the upstream has seen a request that has no answer yet. */
  hasArrived({ nonce }: Plan): boolean {
    return (this.#arrivals.get(nonce) ?? 0) > 0
  }

  /** To be told of every request that reaches the upstream. */
  arrived(path: string, nonce: string): void {
    if (path.includes(FORBIDDEN)) this.fault(`reached the upstream: ${path}`)
    const before = this.#arrivals.get(nonce)
    if (before === undefined) return
    this.#arrivals.set(nonce, before + 1)
    if (before > 0) this.fault(`reached the upstream twice: ${path}`)
  }

  ended(plan: Plan, sentAt: number, endedAt: number, reply: Reply): void {
    this.requests++
    this.slowest = Math.max(this.slowest, endedAt - sentAt)
    this.#arrivals.delete(plan.nonce)
    const right = plan.statuses(sentAt, endedAt)
    const says = reply.is === 'answer' ? String(reply.status) : `${reply.how} after ${reply.bytes} bytes`
    const story = `${plan.kind}: ${says} instead of ${[...right].join(' or ')}, ${(endedAt - sentAt).toFixed(0)} ms`
    if (reply.is === 'answer' && reply.nonce !== plan.nonce)
      this.fault(`${story}: the answer to another request`)
    else if (reply.is === 'answer' && right.has(reply.status)) this.#compare(plan, reply, story)
    else if (reply.is === 'answer' && reply.status < 500) this.fault(story)
    else if (this.#explains({ kind: plan.kind, sentAt, endedAt, reply })) this.explained++
    else {
      this.lost++
      this.#note(`lost: ${story}`)
    }
  }

  /** Counts something that is wrong beyond a single answer. */
  fault(words: string): void {
    this.wrong++
    this.#note(`wrong: ${words}`)
  }

  #compare({ echo }: Plan, { status, body }: Extract<Reply, { is: 'answer' }>, story: string): void {
    if (status === 200 && body !== echo)
      this.fault(`${story}: another body\n${body.slice(0, 300)}\n${echo.slice(0, 300)}`)
  }

  #note(text: string): void {
    const sort = text.split(':', 1)[0] as string
    if (this.notes.filter(note => note.startsWith(sort)).length < MOST_NOTES) this.notes.push(text)
  }
}
