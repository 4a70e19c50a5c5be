/** Holds one answer of the sidecar against what the request deserved; every complaint is one sentence. */
import type { Expectation } from './situations.js'

export type Answer = {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

export function complaintsAbout(answer: Answer, expected: Expectation, interactionId: string): string[] {
  return [
    ...complaintsAboutEveryAnswer(answer, interactionId),
    ...(expected.outcome === 'allowed'
      ? complaintsAboutSuccess(answer)
      : complaintsAboutDenial(answer, expected)),
  ]
}

/** FAPI 1.0 Part 1 section 6.2.1: the interaction id comes back, and so does a date. */
function complaintsAboutEveryAnswer({ headers }: Answer, interactionId: string): string[] {
  const complaints: string[] = []
  const returned = headers.get('x-fapi-interaction-id') ?? ''
  if (!uuid.test(returned)) complaints.push(`x-fapi-interaction-id is "${returned}", not a UUID`)
  else if (returned !== interactionId)
    complaints.push(`x-fapi-interaction-id is ${returned}, not the one sent`)
  const date = headers.get('date')
  if (!date || Number.isNaN(Date.parse(date))) complaints.push(`Date is "${date ?? ''}"`)
  return complaints
}

function complaintsAboutSuccess({ status }: Answer): string[] {
  return status >= 200 && status <= 299 ? [] : [`status ${status}, expected 2xx`]
}

function complaintsAboutDenial(
  { status, headers, body }: Answer,
  expected: Exclude<Expectation, { outcome: 'allowed' }>,
): string[] {
  const complaints: string[] = []
  if (status !== expected.status) complaints.push(`status ${status}, expected ${expected.status}`)
  const challenges = headers.get('www-authenticate')
  if (expected.outcome === 'denied') complaints.push(...complaintsAboutChallenges(challenges ?? '', expected))
  else if (challenges !== null) complaints.push(`WWW-Authenticate is "${challenges}", expected none`)

  if (!isErrorEntity(body)) complaints.push('the body is not JSON with "code" and "message"')
  const type = headers.get('content-type') ?? ''
  if (!/^application\/json\b/i.test(type))
    complaints.push(`Content-Type is "${type}", expected application/json`)
  const caching = headers.get('cache-control') ?? ''
  if (!/\bno-store\b/i.test(caching)) complaints.push(`Cache-Control is "${caching}", expected no-store`)
  return complaints
}

/** Of several challenges, in any order and fields, the one with the scheme that was tried says the error. */
function complaintsAboutChallenges(
  challenges: string,
  { scheme = 'Bearer', error: expected }: Expectation & { outcome: 'denied' },
): string[] {
  const challenge = challenges
    .split(/(?:^|,)\s*(?=(?:Bearer|DPoP)\b)/i)
    .find(text => text.toLowerCase().startsWith(scheme.toLowerCase()))
  if (challenge === undefined) return [`WWW-Authenticate is "${challenges}", expected a ${scheme} challenge`]
  const error = /\berror="([^"]*)"/.exec(challenge)?.[1]
  if (error === expected) return []
  return [`error in WWW-Authenticate is ${error ?? 'absent'}, expected ${expected ?? 'none'}`]
}

function isErrorEntity(body: string): boolean {
  try {
    const entity = JSON.parse(body) as { code?: unknown; message?: unknown } | null
    return typeof entity?.code === 'string' && typeof entity.message === 'string' && entity.message !== ''
  } catch {
    return false
  }
}
