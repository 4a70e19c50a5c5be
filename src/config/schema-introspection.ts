import { z } from 'zod'
import { duration, fileName, text, url, words } from './schema-values.js'

/** Signatures with a public key. What else there is (HS256, none) lets whoever can verify a token make one. */
export const ALGORITHMS = [
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
  'RS256',
  'RS384',
  'RS512',
] as const

const METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth'] as const

/** One of the ways to authenticate; the description is what editors show. */
const method = <const M extends (typeof METHODS)[number]>(name: M, description: string) =>
  z.literal(name).describe(description)

const clientId = text('a client id').describe('The client id of Postern at the issuer.')

const secretMembers = {
  clientId,
  clientSecret: text('a secret')
    .optional()
    .describe('Its secret, taken from the environment. Better a file: clientSecretFile.'),
  clientSecretFile: fileName()
    .optional()
    .describe(
      'A file with its secret; one line break at its end does not count. Read again when it changes.',
    ),
}

const clientAuthentication = z
  .discriminatedUnion(
    'method',
    [
      z.strictObject({
        method: method(
          'client_secret_basic',
          'The secret in the Authorization header (RFC 6749 section 2.3.1).',
        ),
        ...secretMembers,
      }),
      z.strictObject({
        method: method('client_secret_post', 'The secret in the form (RFC 6749 section 2.3.1).'),
        ...secretMembers,
      }),
      z.strictObject({
        method: method('private_key_jwt', 'A signed assertion (RFC 7523 section 2.2).'),
        clientId,
        key: fileName().describe('Its private key (PEM), which signs assertions (RFC 7523).'),
        keyId: text('a key id')
          .optional()
          .describe('kid of the assertions; the issuer may need it to find the key.'),
        algorithm: z.enum(ALGORITHMS).describe('Signature algorithm of the assertions. FAPI: PS256, ES256.'),
        audience: text('an audience').optional().describe('aud of the assertions. Default: the issuer.'),
      }),
      z.strictObject({
        method: method('tls_client_auth', 'The certificate of the connection (RFC 8705 section 2.1).'),
        clientId,
        cert: fileName().describe(
          'Its certificate (PEM), with intermediates behind it (RFC 8705 section 2).',
        ),
        key: fileName().describe('The private key (PEM) of the certificate.'),
      }),
    ],
    {
      error: words(
        'must have a method and what belongs to it',
        `method is one of ${METHODS.join(', ')}; such as { method: client_secret_basic, clientId: postern, clientSecretFile: secret }`,
      ),
    },
  )
  .superRefine((written, ctx) => {
    if (written.method !== 'client_secret_basic' && written.method !== 'client_secret_post') return
    if ((written.clientSecret === undefined) === (written.clientSecretFile === undefined))
      ctx.addIssue({
        code: 'custom',
        message: words('must have exactly one of clientSecret and clientSecretFile', 'keep the file'),
      })
  })

/** Credentials as they are written; files are named and not read yet. */
export type ClientAuthenticationPlan = z.output<typeof clientAuthentication>

/** `introspection` of an issuer. Durations become milliseconds. */
export const introspection = z.strictObject(
  {
    url: url({ schemes: ['https', 'http'], extent: 'query' }, 'https://issuer.example/introspect')
      .optional()
      .describe(
        'The introspection endpoint of the issuer; http on loopback only. Default with keys by discovery, and without keys: as the metadata of the issuer has it (RFC 8414).',
      ),
    ca: fileName().optional().describe("Authorities (PEM) for the connection. Default: the system's."),
    auth: clientAuthentication.describe('How Postern authenticates itself at the endpoint.'),
    cache: duration('0s', '1h')
      .prefault('15s')
      .describe(
        'How long an answer serves; a revoked token is refused after this time. Never longer than exp. 0s: every request asks. Default 15s.',
      ),
    negativeCache: duration('0s', '30s')
      .prefault('2s')
      .describe('How long the answer that a token is not active serves. Default 2s.'),
    timeout: duration('100ms', '30s')
      .prefault('3s')
      .describe('Longest wait for an answer; then the request is answered with 503. Default 3s.'),
    response: z
      .enum(['json', 'jwt'])
      .prefault('json')
      .describe(
        'jwt: answers are signed (RFC 9701), and others are refused. Needs keys and algorithms. Default json.',
      ),
    requireAudience: z
      .boolean({ error: words('must be true or false', 'without quotes') })
      .prefault(true)
      .describe(
        'Whether an answer must have aud (RFC 7662 leaves it optional). An aud that is there always counts. Default true.',
      ),
  },
  {
    error: words(
      'must say how the issuer is asked',
      'such as { url: https://issuer.example/introspect, auth: { … } }',
    ),
  },
)
