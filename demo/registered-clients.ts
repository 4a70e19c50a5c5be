/** The clients that the authorization server knows, as a registration office would have written them down. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClientMetadata } from 'oidc-provider'
import { subjectName } from './client-certificate.js'
import {
  type ClientId,
  dataProvider,
  dataRecipient,
  dpopRecipient,
  otherRecipient,
  posternClient,
  redirectUri,
} from './sample-names.js'

/** Both recipients prove themselves with their certificate, and their tokens are bound to it. */
function recipient(client: ClientId, certificateFile: string): ClientMetadata {
  return {
    client_id: client,
    token_endpoint_auth_method: 'tls_client_auth',
    // At registration each handed in its certificate; only the subject is kept (RFC 8705 section 2.1.2).
    tls_client_auth_subject_dn: subjectName(new X509Certificate(readFileSync(certificateFile))),
    tls_client_certificate_bound_access_tokens: true,
    grant_types: ['authorization_code', 'client_credentials'],
    response_types: ['code'],
    redirect_uris: [redirectUri(client)],
  }
}

/** These prove themselves with a signature. */
function signer(client: ClientId, key: object): ClientMetadata {
  return {
    ...signs(key),
    client_id: client,
    grant_types: ['authorization_code', 'client_credentials'],
    response_types: ['code'],
    redirect_uris: [redirectUri(client)],
  }
}

const signs = (key: object) =>
  ({
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [key] },
  }) as const

/** Public JWKs of the clients that sign; a client without one does not exist. */
export type ClientKeys = {
  /** The data provider's applications, whose tokens are plain bearer tokens. */
  readonly dataProvider: object | undefined
  readonly dpopRecipient: object | undefined
  readonly postern: object | undefined
}

/** @param certificates folder of client.pem and other-client.pem */
export function registeredClients(certificates: string, keys: ClientKeys): ClientMetadata[] {
  const clients = [
    recipient(dataRecipient, join(certificates, 'client.pem')),
    recipient(otherRecipient, join(certificates, 'other-client.pem')),
  ]
  // The code flow is here for the check alone: a user's token that is not bound must not pass a mutual TLS row.
  if (keys.dataProvider) clients.push(signer(dataProvider, keys.dataProvider))
  if (keys.dpopRecipient) {
    clients.push({ ...signer(dpopRecipient, keys.dpopRecipient), dpop_bound_access_tokens: true })
  }
  if (keys.postern) {
    const noTokens = { grant_types: [], response_types: [], redirect_uris: [] }
    clients.push({ ...signs(keys.postern), ...noTokens, client_id: posternClient })
  }
  return clients
}
