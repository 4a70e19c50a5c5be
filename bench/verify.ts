/** Whether a target enforces the policy. One that does not is never measured: doing less is always faster. */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import type { SecureVersion } from 'node:tls'
import { HOST, type Material, type TokenCase } from './material.js'

interface Question {
  readonly name: string
  readonly token?: TokenCase | 'garbage'
  readonly client?: 'client' | 'otherClient' | 'rogueClient' | null
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly maxVersion?: SecureVersion
  /** Length of the body of the answer, where it matters. */
  readonly length?: number
}

type Result = { readonly status: number | 'refused'; readonly length: number }

const ALLOWED: readonly Question[] = [
  { name: 'a good token', token: 'good' },
  { name: 'a good token over TLS 1.2', token: 'good', maxVersion: 'TLSv1.2' },
  { name: '64 KiB', token: 'good', path: '/api/64k', length: 65_536 },
  { name: '1 MiB', token: 'good', path: '/api/1m', length: 1_048_576 },
  { name: 'a POST of 100 kB', token: 'good', method: 'POST', path: '/api/up', body: 'x'.repeat(100_000) },
]

/** Refused by every target, those without a policy too. */
const WITHOUT_TRUST: readonly Question[] = [
  { name: 'no client certificate', token: 'good', client: null },
  { name: 'a client certificate of another CA', token: 'good', client: 'rogueClient' },
]

const ALLOWED_BY_POLICY: readonly Question[] = [
  { name: 'a read-only token reads', token: 'readOnly' },
  { name: 'a good token after all the bad ones', token: 'good' },
]

const REFUSED_BY_POLICY: readonly Question[] = [
  { name: 'no token' },
  { name: 'the certificate of another client', token: 'good', client: 'otherClient' },
  // A cache must not remember the verdict in place of the fact.
  { name: 'the certificate of another client, again', token: 'good', client: 'otherClient' },
  { name: 'a read-only token writes', token: 'readOnly', method: 'POST', path: '/api/up', body: 'x' },
  { name: 'a path outside the policy', token: 'good', path: '/other' },
  { name: 'dot segments', token: 'good', path: '/api/..%2fother' },
  { name: 'garbage for a token', token: 'garbage' },
  ...(
    [
      'noScope',
      'similarScope',
      'expired',
      'noExp',
      'future',
      'wrongIssuer',
      'wrongAudience',
      'notBound',
      'badSignature',
      'otherKey',
      'unsigned',
      'hmac',
    ] as const
  ).map(token => ({ name: `token: ${token}`, token })),
]

/** 495 and 496 are nginx's; 404 is a path that no rule names. */
const REFUSALS = new Set<number | 'refused'>([400, 401, 403, 404, 495, 496, 'refused'])

/** A question that was answered otherwise than it should. */
export interface Miss {
  readonly question: string
  readonly answer: string
}

/** Asks everything. */
export async function verifyTarget(
  port: number,
  material: Material,
  judgesTokens: boolean,
): Promise<readonly Miss[]> {
  const misses: Miss[] = []
  const expect = async (
    questions: readonly Question[],
    isRight: (result: Result, q: Question) => boolean,
  ) => {
    for (const question of questions) {
      const result = await put(question, port, material)
      if (!isRight(result, question))
        misses.push({ question: question.name, answer: `${result.status}, ${result.length} bytes` })
    }
  }
  const isAllowed = ({ status, length }: Result, question: Question) =>
    status === 200 && (question.length === undefined || question.length === length)
  await expect(ALLOWED, isAllowed)
  await expect(WITHOUT_TRUST, ({ status }) => REFUSALS.has(status))
  if (!judgesTokens) return misses
  await expect(REFUSED_BY_POLICY, ({ status }) => REFUSALS.has(status))
  await expect(ALLOWED_BY_POLICY, isAllowed)
  return misses
}

function put(question: Question, port: number, material: Material): Promise<Result> {
  const { token, client = 'client', method = 'GET', path = '/api/small', body, maxVersion } = question
  const identity =
    client === null
      ? {}
      : { cert: readFileSync(material[client].cert), key: readFileSync(material[client].key) }
  const bearer =
    token === undefined
      ? {}
      : { authorization: `Bearer ${token === 'garbage' ? 'a.b.c' : material.cases[token]}` }
  return new Promise(resolve => {
    const call = request(
      {
        host: '127.0.0.1',
        servername: HOST,
        port,
        path,
        method,
        ca: readFileSync(material.ca),
        agent: new Agent(),
        timeout: 5_000,
        headers: { host: HOST, ...bearer, ...(body === undefined ? {} : { 'content-length': body.length }) },
        ...identity,
        ...(maxVersion === undefined ? {} : { maxVersion }),
      },
      response => {
        let length = 0
        response.on('data', (part: Buffer) => {
          length += part.length
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, length }))
        response.on('error', () => resolve({ status: 'refused', length }))
      },
    )
    call.on('timeout', () => call.destroy(new Error('no answer in time')))
    // A timeout is no refusal: it would hide a target that hangs.
    call.on('error', error =>
      resolve({ status: error.message === 'no answer in time' ? 0 : 'refused', length: 0 }),
    )
    call.end(body)
  })
}
