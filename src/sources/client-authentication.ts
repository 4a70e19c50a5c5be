import { createPrivateKey, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import type { ClientAuthentication } from '../policy/introspection.js'

/** What a request carries to show who sends it. */
export interface ClientCredentials {
  readonly headers: Readonly<Record<string, string>>
  /** Members of the form. */
  readonly form: Readonly<Record<string, string>>
}

/** Makes the credentials of one request. `now` is seconds since the epoch. */
export type ClientAuthenticator = (now: number) => ClientCredentials | Promise<ClientCredentials>

/** RFC 7523 section 3 asks for a short life; a clock that is wrong by less does no harm. */
const ASSERTION_SECONDS = 60

/**
 * The credentials of Postern as a client of an issuer (RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705 section 2.1). Throws for
 * a key that cannot be read, which a checked policy does not have.
 */
export function createClientAuthenticator(settings: ClientAuthentication): ClientAuthenticator {
  const { clientId } = settings
  switch (settings.method) {
    case 'client_secret_basic': {
      const pair = [clientId, settings.clientSecret].map(formEncoded).join(':')
      const authorization = `Basic ${Buffer.from(pair).toString('base64')}`
      return () => ({ headers: { authorization }, form: {} })
    }
    case 'client_secret_post':
      return () => ({ headers: {}, form: { client_id: clientId, client_secret: settings.clientSecret } })
    case 'tls_client_auth':
      return () => ({ headers: {}, form: { client_id: clientId } })
    case 'private_key_jwt':
      return assertionAuthenticator(settings)
  }
}

function assertionAuthenticator(
  settings: ClientAuthentication & { method: 'private_key_jwt' },
): ClientAuthenticator {
  const { clientId, keyId, algorithm, audience } = settings
  const key = createPrivateKey(settings.key)
  const header = { alg: algorithm, typ: 'JWT', ...(keyId !== null && { kid: keyId }) }
  return async now => {
    const iat = Math.floor(now)
    const claims = { iss: clientId, sub: clientId, aud: audience, jti: randomUUID(), iat }
    const assertion = await new SignJWT({ ...claims, exp: iat + ASSERTION_SECONDS })
      .setProtectedHeader(header)
      .sign(key)
    return {
      headers: {},
      form: {
        client_id: clientId,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
      },
    }
  }
}

/** application/x-www-form-urlencoded, which comes before base64 (RFC 6749 section 2.3.1). */
function formEncoded(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1)
}
