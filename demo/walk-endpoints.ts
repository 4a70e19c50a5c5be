/** Sends every attempt through the running sidecar and judges the answers, then asks the data provider what it saw. */
import type { Demo } from './run-demo.js'
import { sampleBody, samplePath } from './sample-requests.js'
import { compareWithUpstream, type Delivery, sendRequest } from './send-request.js'
import type { Attempt, TokenRequest } from './situations.js'

export type Result = Delivery & { readonly attempt: Attempt }

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
  await compareWithUpstream(demo.addresses.upstream, results)
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
  const { row, situation, what, certificate, expected } = attempt
  const body = sampleBody(row)
  const delivery = await sendRequest({
    title: `${row.method} ${row.endpoint}: ${situation}`,
    what: `${what}, certificate: ${certificate}`,
    origin: demo.addresses.publicUrl,
    method: row.method,
    path: samplePath(row),
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    body,
    dispatcher: demo.identities[certificate],
    expected,
  })
  return { ...delivery, attempt }
}
