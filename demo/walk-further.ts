/** Sends the attempts of the further clients through the sidecar of further.yaml, and ends the authorization server. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FurtherAddresses } from './demo-addresses.js'
import { makeProof, makeProofKeys } from './dpop-proofs.js'
import { type FurtherAttempt, furtherAttemptsOf, furtherClients } from './further-situations.js'
import type { Demo } from './run-demo.js'
import { dataRecipient, dpopRecipient, opaqueAudience } from './sample-names.js'
import { compareWithUpstream, type Delivery, sendRequest } from './send-request.js'

export type FurtherResult = Delivery & { readonly attempt: FurtherAttempt }

/** Milliseconds: `introspection.cache` of further.yaml, and a little for the clocks. */
const cacheTime = 1000 + 50

const requests = {
  authorization_code: { path: '/fdx/v6/core/accounts', scope: 'fdx:accountbasic:read' },
  client_credentials: { path: '/participant/user/v1/consents', scope: 'participantuser:consents:read' },
} as const

const clientIdOf = ({ client }: FurtherAttempt) => (client.binding === 'DPoP' ? dpopRecipient : dataRecipient)

/** The check would show nothing of introspection if the authorization server wrote JWTs after all. */
const looksLikeJwt = (token: string) => token.split('.').length === 3

export async function walkFurther(
  demo: Demo,
  addresses: FurtherAddresses,
  onProgress: (text: string) => void,
): Promise<FurtherResult[]> {
  const keys = { 'own key': await makeProofKeys(), 'other key': await makeProofKeys() }
  const attempts = furtherClients.flatMap(furtherAttemptsOf)

  // All at once and first, because the authorization server does not live to the end.
  const tokens = new Map<string, string>()
  const keyOf = ({ client, flow, tokenFor }: FurtherAttempt) => JSON.stringify([client.name, flow, tokenFor])
  for (const attempt of attempts) {
    if (tokens.has(keyOf(attempt))) continue
    const { client, flow } = attempt
    const options = {
      ...(client.format === 'opaque' && { resource: opaqueAudience }),
      ...(client.binding === 'DPoP' && { proofKeys: keys['own key'] }),
    }
    const ask =
      flow === 'authorization_code' ? demo.tokens.authorizationCodeToken : demo.tokens.clientCredentialsToken
    const token = await ask(clientIdOf(attempt), [requests[flow].scope], options)
    if (looksLikeJwt(token) !== (client.format === 'jwt')) throw new Error(`${client.name}: not such a token`)
    tokens.set(keyOf(attempt), token)
  }
  const tokenOf = (attempt: FurtherAttempt) => tokens.get(keyOf(attempt)) ?? ''

  let proof = ''
  const results: FurtherResult[] = []
  const sendThose = async (after: FurtherAttempt['after']) => {
    for (const attempt of attempts.filter(attempt => attempt.after === after)) {
      const { path } = requests[attempt.flow]
      const token = tokenOf(attempt)
      if (attempt.proof === 'own key' || attempt.proof === 'other key') {
        proof = await makeProof(keys[attempt.proof], token, 'GET', new URL(path, addresses.publicUrl))
      }
      const delivery = await sendRequest({
        title: `${attempt.client.name}: ${attempt.situation}`,
        what: `${attempt.what}, certificate: ${attempt.certificate}`,
        origin: addresses.publicUrl,
        method: 'GET',
        path,
        headers: {
          authorization: `${attempt.scheme} ${token}`,
          ...(attempt.proof !== 'none' && { dpop: proof }),
        },
        dispatcher: demo.identities[attempt.certificate],
        expected: attempt.expected,
      })
      results.push({ ...delivery, attempt })
      onProgress(`${results.length} of ${attempts.length} requests of further clients`)
    }
  }

  await sendThose('nothing')
  for (const attempt of attempts.filter(({ after }) => after === 'revocation')) {
    await demo.tokens.revoke(clientIdOf(attempt), tokenOf(attempt))
  }
  await sleep(cacheTime)
  await sendThose('revocation')
  await demo.stopAuthorizationServer()
  await sendThose('outage')
  await compareWithUpstream(demo.addresses.upstream, results)
  return results
}
