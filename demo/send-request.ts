/** Sends one request through a sidecar and judges the answer; later the data provider tells what it saw of it. */
import { randomUUID } from 'node:crypto'
import { type Agent, type BodyInit, fetch } from 'undici'
import type { SeenRequest } from './data-provider.js'
import { complaintsAbout } from './judge-answer.js'
import type { Expectation } from './situations.js'

export type Sending = {
  /** What is tried, for a message about its failure. */
  readonly title: string
  /** What is sent, in words. */
  readonly what: string
  readonly origin: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: BodyInit | undefined
  readonly dispatcher: Agent
  readonly expected: Expectation
}

export type Delivery = {
  readonly title: string
  readonly method: string
  readonly path: string
  readonly expected: Expectation
  readonly interactionId: string
  readonly sent: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly complaints: string[]
}

/** Milliseconds for one request through the sidecar. */
const requestTimeout = 10_000

export async function sendRequest(sending: Sending): Promise<Delivery> {
  const { title, what, origin, method, path, headers, body, dispatcher, expected } = sending
  const interactionId = randomUUID()
  const common = { title, method, path, expected, interactionId, sent: `${method} ${path}, ${what}` }
  try {
    const response = await fetch(`${origin}${path}`, {
      method,
      headers: { accept: 'application/json', 'x-fapi-interaction-id': interactionId, ...headers },
      ...(body !== undefined && { body }),
      redirect: 'manual',
      signal: AbortSignal.timeout(requestTimeout),
      dispatcher,
    })
    const answer = {
      status: response.status,
      headers: response.headers as Headers,
      body: await response.text(),
    }
    return {
      ...common,
      status: answer.status,
      headers: Object.fromEntries(response.headers),
      body: answer.body,
      complaints: complaintsAbout(answer, expected, interactionId),
    }
  } catch (error) {
    const { message, cause } = error as Error
    const complaint = `no answer: ${message}${cause instanceof Error ? ` (${cause.message})` : ''}`
    return { ...common, status: 0, headers: {}, body: '', complaints: [complaint] }
  }
}

/** What was allowed arrived exactly once and unchanged; what was denied never arrived. */
export async function compareWithUpstream(upstream: string, deliveries: readonly Delivery[]): Promise<void> {
  const seen = await seenRequests(upstream)
  for (const { method, path, expected, interactionId, complaints } of deliveries) {
    const arrived = seen.filter(request => request.interactionId === interactionId)
    const due = expected.outcome === 'allowed' ? 1 : 0
    if (arrived.length !== due) {
      complaints.push(`the data provider saw it ${arrived.length} times, expected ${due}`)
    }
    for (const request of arrived) {
      if (request.method !== method || request.path !== path) {
        complaints.push(`the data provider saw ${request.method} ${request.path}`)
      }
    }
  }
}

/** Everything that reached the data provider, asked at its own address and not through a sidecar. */
export async function seenRequests(upstream: string): Promise<readonly SeenRequest[]> {
  const response = await fetch(`${upstream}/-/requests`)
  return ((await response.json()) as { requests: SeenRequest[] }).requests
}
