/**
 * The authorization server of the demo: oidc-provider over HTTPS, with clients that authenticate by certificate
 * (RFC 8705), tokens as signed JWTs (RFC 9068), and one user who logs in and consents without being asked.
 */
import { constants, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { join } from 'node:path'
import type { Configuration, errors, JWK, Provider } from 'oidc-provider'
import { certificateIsTrusted, shownCertificate, subjectName } from './client-certificate.js'
import { readEndpointTable, scopesOf } from './endpoint-table.js'
import { parseListenAddress } from './listen-address.js'
import { projectRoot } from './project-root.js'
import { registeredClients } from './registered-clients.js'
import { consentId, customerId, dataProvider, opaqueAudience, posternClient } from './sample-names.js'

/** Seconds. The policy allows 15 minutes at most. */
const tokenLifetime = 10 * 60
/** Seconds that a login, its grant and its session may take or last; nobody comes back later in a demo. */
const loginLifetime = 10 * 60

const issuer = process.env.DEMO_ISSUER ?? 'https://localhost:9443'
const listen = parseListenAddress(process.env.DEMO_LISTEN ?? '127.0.0.1:9443')
const certificates = process.env.DEMO_CERTS ?? join(projectRoot, 'certs')
const audience = process.env.DEMO_AUDIENCE ?? 'https://localhost:8443'

function keyFromEnvironment(name: string): object | undefined {
  const text = process.env[name]
  return text ? (JSON.parse(text) as object) : undefined
}

/** Keys live as long as the process: a restart is a key rotation, which the sidecar has to follow anyway. */
function signingKeys(): JWK[] {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return [
    { ...ec.privateKey.export({ format: 'jwk' }), kid: `es256-${randomUUID()}`, alg: 'ES256', use: 'sig' },
    { ...rsa.privateKey.export({ format: 'jwk' }), kid: `ps256-${randomUUID()}`, alg: 'PS256', use: 'sig' },
  ] as JWK[]
}

const configuration: Configuration = {
  clients: registeredClients(certificates, {
    dataProvider: keyFromEnvironment('DEMO_DATA_PROVIDER_KEY'),
    dpopRecipient: keyFromEnvironment('DEMO_DPOP_RECIPIENT_KEY'),
    postern: keyFromEnvironment('DEMO_POSTERN_KEY'),
  }),
  // FAPI 1.0 Advanced section 8.6 allows PS256 and ES256 only; the library's own default for ID tokens is RS256.
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  clientAuthMethods: ['tls_client_auth', 'private_key_jwt'],
  scopes: ['openid'],
  jwks: { keys: signingKeys() },
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: false },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientId === posternClient },
    revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => client.clientId === token.clientId },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: ctx => shownCertificate(ctx.req),
      certificateAuthorized: ctx => certificateIsTrusted(ctx.req),
      certificateSubjectMatches: (ctx, property, expected) => {
        const certificate = shownCertificate(ctx.req)
        if (property !== 'tls_client_auth_subject_dn' || !certificate) return false
        return subjectName(certificate) === expected
      },
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: async (_ctx, resource, client) => {
        if (resource !== audience && resource !== opaqueAudience) {
          const { errors } = await import('oidc-provider')
          throw new errors.InvalidTarget()
        }
        const common = {
          scope: scopesOf(readEndpointTable()).join(' '),
          audience: resource,
          accessTokenTTL: tokenLifetime,
        }
        if (resource === opaqueAudience) return { ...common, accessTokenFormat: 'opaque' }
        return {
          ...common,
          accessTokenFormat: 'jwt',
          // One algorithm per kind of client, so that the demo shows both that the policy allows.
          jwt: { sign: { alg: client.clientId === dataProvider ? 'PS256' : 'ES256' } },
        }
      },
    },
  },
  // What only a user's token says: the consent it rests on (FDX) and when that user logged in (RFC 9068 section 2.2.1).
  extraTokenClaims: (ctx, token) =>
    token.kind === 'AccessToken'
      ? { fdxConsentId: consentId, auth_time: ctx.oidc.entities.AuthorizationCode?.authTime }
      : undefined,
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: {
    AccessToken: tokenLifetime,
    ClientCredentials: tokenLifetime,
    IdToken: tokenLifetime,
    Interaction: loginLifetime,
    Session: loginLifetime,
    Grant: loginLifetime,
  },
  renderError: (ctx, out) => {
    ctx.type = 'json'
    ctx.body = JSON.stringify(out)
  },
}

/** Where a real server shows its login and consent pages, this one answers both at once for the demo user. */
async function finishInteraction(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const interaction = await provider.interactionDetails(request, response)
  if (interaction.prompt.name === 'login') {
    await provider.interactionFinished(request, response, { login: { accountId: customerId } })
    return
  }
  const grant = new provider.Grant({ accountId: customerId, clientId: String(interaction.params.client_id) })
  const missing = interaction.prompt.details as {
    missingOIDCScope?: string[]
    missingResourceScopes?: Record<string, string[]>
  }
  if (missing.missingOIDCScope) grant.addOIDCScope(missing.missingOIDCScope.join(' '))
  for (const [resource, scopes] of Object.entries(missing.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '))
  }
  const consent = { grantId: await grant.save() }
  await provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true })
}

/**
 * The library warns about two things that are meant to be so here: tokens kept in memory, and Node 20, which Postern
 * supports. Anything else it has to say still comes out. It speaks while it is imported, hence the late import.
 */
async function importProvider(): Promise<typeof Provider> {
  const expected = [/Unsupported runtime/, /development-only in-memory adapter/]
  const warn = console.warn
  console.warn = (...words: unknown[]) => {
    if (!expected.some(pattern => pattern.test(String(words[0])))) warn(...words)
  }
  return (await import('oidc-provider')).Provider
}

const OidcProvider = await importProvider()
const provider = new OidcProvider(issuer, configuration)
provider.on('server_error', (_ctx, error) => console.error(error))
// The client is told less (`invalid_client`); the reason stays here.
const noteRefusal = (_ctx: unknown, error: errors.OIDCProviderError) =>
  console.error(`refused: ${error.message} (${error.error_detail ?? 'no detail'})`)
provider.on('grant.error', noteRefusal)
provider.on('authorization.error', noteRefusal)
provider.on('pushed_authorization_request.error', noteRefusal)
const answer = provider.callback()

const server = createServer(
  {
    cert: readFileSync(join(certificates, 'server.pem')),
    key: readFileSync(join(certificates, 'server.key')),
    ca: readFileSync(join(certificates, 'client-ca.pem')),
    requestCert: true,
    // The key set and the login pages are for everyone; the token endpoint judges the certificate itself.
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET,
  },
  (request, response) => {
    if (!request.url?.startsWith('/interaction/')) {
      answer(request, response)
      return
    }
    finishInteraction(provider, request, response).catch(error => {
      console.error(error)
      response.writeHead(400, { 'content-type': 'text/plain' }).end('this login has expired, start again\n')
    })
  },
)

server.on('error', error => {
  console.error(`authorization server: ${error.message}`)
  process.exit(1)
})
server.listen(listen, () => console.log(`authorization server ready at ${issuer}`))

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}
