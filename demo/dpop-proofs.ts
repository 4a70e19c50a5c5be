/** DPoP proofs (RFC 9449) for the sidecar. openid-client makes them; only sending them is left to the check. */
import * as openid from 'openid-client'

export type ProofKeys = Awaited<ReturnType<typeof openid.randomDPoPKeyPair>>

export const makeProofKeys = (): Promise<ProofKeys> => openid.randomDPoPKeyPair('ES256')

/** A new proof for one request with this token. */
export async function makeProof(keys: ProofKeys, token: string, method: string, url: URL): Promise<string> {
  const configuration = new openid.Configuration({ issuer: url.origin }, 'client')
  let proof: string | null = null
  // The library has no function for the proof alone, so it sends its request to nobody.
  configuration[openid.customFetch] = async (_url, { headers }) => {
    proof = new Headers(headers).get('dpop')
    return new Response()
  }
  const DPoP = openid.getDPoPHandle(configuration, keys)
  await openid.fetchProtectedResource(configuration, token, url, method, null, undefined, { DPoP })
  if (proof === null) throw new Error('openid-client made no DPoP proof')
  return proof
}
