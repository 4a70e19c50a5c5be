/** Sends every attempt through the running sidecar and judges the answers, then asks the data provider what it saw. */
import { randomUUID } from 'node:crypto'
import { type BodyInit, fetch } from 'undici'
import type { SeenRequest } from './data-provider.js'
import { complaintsAbout } from './judge-answer.js'
import type { Demo } from './run-demo.js'
import { sampleBody, samplePath } from './sample-requests.js'
import type { Attempt, TokenRequest } from './situations.js'

export type Result = {
  readonly attempt: Attempt
  readonly interactionId: string
  readonly sent: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly complaints: string[]
}

/** Milliseconds for one request through the sidecar. */
const requestTimeout = 10_000

export async function walkEndpoints(
  demo: Demo,
  attempts: readonly Attempt[],
  onProgress: (done: number) => void,
): Promise<Result[]> {
  const tokens = rememberTokens(demo)
  const results: Result[] = []
  for (const attempt of attempts) {
    results.push(await send(demo, attempt, attempt.token && (await tokens(attempt.token))))
    onProgress(results.length)
  }
  await compareWithUpstream(demo, results)
  return results
}

/** One token serves every attempt that asks for the same, as a real client would use it until it expires. */
function rememberTokens(demo: Demo): (wanted: TokenRequest) => Promise<string> {
  const known = new Map<string, Promise<string>>()
  return wanted => {
    const { client, flow, scopes } = wanted
    const key = JSON.stringify([client, flow, scopes])
    const token =
      known.get(key) ??
      (flow === 'authorization_code'
        ? demo.tokens.authorizationCodeToken(client, scopes)
        : demo.tokens.clientCredentialsToken(client, scopes))
    known.set(key, token)
    return token
  }
}

async function send(demo: Demo, attempt: Attempt, token: string | undefined): Promise<Result> {
  const { row, certificate, expected } = attempt
  const interactionId = randomUUID()
  const path = samplePath(row)
  const body: BodyInit | undefined = sampleBody(row)
  const sent = `${row.method} ${path}, ${attempt.what}, certificate: ${certificate}`
  try {
    const response = await fetch(`${demo.addresses.publicUrl}${path}`, {
      method: row.method,
      headers: {
        accept: 'application/json',
        'x-fapi-interaction-id': interactionId,
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body }),
      redirect: 'manual',
      signal: AbortSignal.timeout(requestTimeout),
      dispatcher: demo.identities[certificate],
    })
    const answer = {
      status: response.status,
      headers: response.headers as Headers,
      body: await response.text(),
    }
    return {
      attempt,
      interactionId,
      sent,
      status: answer.status,
      headers: Object.fromEntries(response.headers),
      body: answer.body,
      complaints: complaintsAbout(answer, expected, interactionId),
    }
  } catch (error) {
    const { message, cause } = error as Error
    const complaint = `no answer: ${message}${cause instanceof Error ? ` (${cause.message})` : ''}`
    return { attempt, interactionId, sent, status: 0, headers: {}, body: '', complaints: [complaint] }
  }
}

/** What was allowed arrived exactly once and unchanged; what was denied never arrived. */
async function compareWithUpstream(demo: Demo, results: readonly Result[]): Promise<void> {
  const seen = await seenRequests(demo)
  for (const { attempt, interactionId, complaints } of results) {
    const arrived = seen.filter(request => request.interactionId === interactionId)
    const expected = attempt.expected.outcome === 'allowed' ? 1 : 0
    if (arrived.length !== expected) {
      complaints.push(`the data provider saw it ${arrived.length} times, expected ${expected}`)
    }
    for (const { method, path } of arrived) {
      if (method !== attempt.row.method || path !== samplePath(attempt.row)) {
        complaints.push(`the data provider saw ${method} ${path}`)
      }
    }
  }
}

/** Everything that reached the data provider, asked at its own address and not through the sidecar. */
export async function seenRequests(demo: Demo): Promise<readonly SeenRequest[]> {
  const response = await fetch(`${demo.addresses.upstream}/-/requests`)
  return ((await response.json()) as { requests: SeenRequest[] }).requests
}
