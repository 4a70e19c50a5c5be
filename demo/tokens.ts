/** The client side of the demo: openid-client asks the authorization server for tokens, as any relying party would. */
import * as openid from 'openid-client'
import { type Agent, type RequestInit, fetch as undiciFetch } from 'undici'
import { type ClientIdentities, ownIdentity } from './client-identities.js'
import type { ProofKeys } from './dpop-proofs.js'
import { completeLogin } from './headless-browser.js'
import { type ClientId, dataProvider, dpopRecipient, redirectUri } from './sample-names.js'

/** A token for another name of the API than the usual one, or bound to the key of DPoP proofs. */
export type TokenChoice = { readonly resource?: string; readonly proofKeys?: ProofKeys }

export type AskForToken = (
  client: ClientId,
  scopes: readonly string[],
  choice?: TokenChoice,
) => Promise<string>

export type TokenClient = {
  /** A token of the client itself; for the recipients bound to their certificate. */
  readonly clientCredentialsToken: AskForToken
  /** A token that the demo user consented to: pushed request, login, consent, code, token. */
  readonly authorizationCodeToken: AskForToken
  /** RFC 7009. The authorization server can revoke opaque tokens only. */
  readonly revoke: (client: ClientId, token: string) => Promise<void>
}

export type TokenClientOptions = {
  readonly issuer: string
  /** The resource indicator (RFC 8707) of the API; it becomes `aud`. */
  readonly audience: string
  readonly identities: ClientIdentities
  /** Of the clients that sign assertions; the others have a certificate. */
  readonly signingKeys: {
    readonly [dataProvider]: openid.CryptoKey
    readonly [dpopRecipient]: openid.CryptoKey
  }
}

export function createTokenClient(options: TokenClientOptions): TokenClient {
  const { issuer, audience, identities, signingKeys } = options
  const discovered = new Map<ClientId, Promise<openid.Configuration>>()

  function configurationOf(client: ClientId): Promise<openid.Configuration> {
    const known = discovered.get(client)
    if (known) return known
    const authentication =
      client === dataProvider || client === dpopRecipient
        ? openid.PrivateKeyJwt(signingKeys[client])
        : openid.TlsClientAuth()
    const metadata = { id_token_signed_response_alg: 'ES256' }
    const found = openid.discovery(new URL(issuer), client, metadata, authentication, {
      [openid.customFetch]: fetchOver(ownIdentity(identities, client)),
    })
    discovered.set(client, found)
    return found
  }

  return {
    async clientCredentialsToken(client, scopes, { resource = audience, proofKeys } = {}) {
      const configuration = await configurationOf(client)
      const parameters = { resource, ...(scopes.length > 0 && { scope: scopes.join(' ') }) }
      return (
        await openid.clientCredentialsGrant(configuration, parameters, proving(configuration, proofKeys))
      ).access_token
    },

    async authorizationCodeToken(client, scopes, { resource = audience, proofKeys } = {}) {
      const configuration = await configurationOf(client)
      const pkceCodeVerifier = openid.randomPKCECodeVerifier()
      const expectedState = openid.randomState()
      const expectedNonce = openid.randomNonce()
      const login = await openid.buildAuthorizationUrlWithPAR(configuration, {
        redirect_uri: redirectUri(client),
        resource,
        scope: ['openid', ...scopes].join(' '),
        code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: 'S256',
        state: expectedState,
        nonce: expectedNonce,
      })
      // The user's browser has no part in the client's certificate.
      const answer = await completeLogin(login, redirectUri(client), identities.noCertificate)
      const checks = { pkceCodeVerifier, expectedState, expectedNonce }
      const proof = proving(configuration, proofKeys)
      const tokens = await openid.authorizationCodeGrant(configuration, answer, checks, { resource }, proof)
      return tokens.access_token
    },

    async revoke(client, token) {
      await openid.tokenRevocation(await configurationOf(client), token)
    },
  }
}

function proving(configuration: openid.Configuration, keys: ProofKeys | undefined): openid.DPoPOptions {
  return keys ? { DPoP: openid.getDPoPHandle(configuration, keys) } : {}
}

/** The fetch of the undici package, as only its own connections carry a client certificate. */
function fetchOver(dispatcher: Agent): openid.CustomFetch {
  return async (url, options) => {
    const response = await undiciFetch(url, { ...(options as RequestInit), dispatcher })
    return response as unknown as Response
  }
}
