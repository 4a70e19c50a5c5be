import { z } from 'zod'
import { clientCertificates } from './schema-certificates.js'
import { issuerFlow } from './schema-flow.js'
import { ALGORITHMS, introspection } from './schema-introspection.js'
import { duration, fileName, oneOrMany, text, url, words } from './schema-values.js'

/** RFC 9068 section 2.2, beside iss, exp and aud, which are always asked for. */
const REQUIRED_CLAIMS = ['sub', 'client_id', 'iat', 'jti']

const algorithm = z.enum(ALGORITHMS, {
  error: words(
    'must be a signature algorithm with a public key',
    `one of ${ALGORITHMS.join(', ')}; HS256 and none would let anybody who can check a token make one`,
  ),
})

/** How keys are had, durations in milliseconds; files are named and not read yet. */
export type KeyPlan =
  | { readonly from: 'file'; readonly file: string }
  | ({ readonly from: 'url'; readonly url: string } & RemoteKeyPlan)
  | ({ readonly from: 'discovery' } & RemoteKeyPlan)

export interface RemoteKeyPlan {
  readonly refreshMs: number
  readonly cooldownMs: number
  readonly staleForMs: number
  readonly ca: string | null
}

const keys = z
  .strictObject(
    {
      file: fileName().optional().describe('A JWK set; read again when it changes.'),
      url: url({ schemes: ['https'], extent: 'query' }, 'https://issuer.example/jwks')
        .optional()
        .describe('Where the issuer publishes its JWK set.'),
      discovery: z
        .literal(true, { error: words('must be true', 'or leave it out and name a url or file') })
        .optional()
        .describe(
          'Find the JWK set through the metadata of the issuer (RFC 8414, OpenID Connect Discovery).',
        ),
      refresh: duration('10s', '1d').optional().describe('How often the keys are fetched again. Default 5m.'),
      cooldown: duration('1s', '1h')
        .optional()
        .describe('Least time between two fetches for an unknown key id. Default 30s.'),
      staleFor: duration('0s', '7d')
        .optional()
        .describe('How long keys still serve when fetching fails. Default 1h.'),
      ca: fileName()
        .optional()
        .describe("Authorities (PEM) for the connection to the issuer. Default: the system's."),
    },
    { error: words('must say where the keys come from', 'such as { url: https://issuer.example/jwks }') },
  )
  .transform((written, ctx): KeyPlan => {
    const { file, url, discovery, refresh, cooldown, staleFor, ca } = written
    const sources = [file, url, discovery].filter(source => source !== undefined)
    if (sources.length !== 1)
      ctx.addIssue({
        code: 'custom',
        message: words('must have exactly one of file, url and discovery', 'keep the one that applies'),
      })
    if (file !== undefined) {
      for (const name of ['refresh', 'cooldown', 'staleFor', 'ca'] as const)
        if (written[name] !== undefined)
          ctx.addIssue({
            code: 'custom',
            path: [name],
            message: words(
              'has no effect on keys from a file',
              'take it out: files are read again when they change',
            ),
          })
      return { from: 'file', file }
    }
    const remote = {
      refreshMs: refresh ?? 300_000,
      cooldownMs: cooldown ?? 30_000,
      staleForMs: staleFor ?? 3_600_000,
      ca: ca ?? null,
    }
    return url === undefined ? { from: 'discovery', ...remote } : { from: 'url', url, ...remote }
  })

/** One entry of `issuers`. */
export const issuer = z.strictObject({
  issuer: text('the exact iss of its tokens').describe(
    'The exact iss of its tokens; a trailing slash makes another issuer.',
  ),
  audience: oneOrMany(text('an audience'), 'an audience').describe(
    'The aud of a token must hold one of these.',
  ),
  tokens: z
    .enum(['jwt', 'opaque', 'auto'])
    .prefault('jwt')
    .describe(
      'Kind of access tokens. opaque: the issuer is asked about each. auto: JWTs that name the issuer are verified, the issuer is asked about all others. Default jwt.',
    ),
  algorithms: z
    .array(algorithm, { error: words('must be a list of signature algorithms', 'such as [PS256, ES256]') })
    .min(1, { error: words('has no entries', 'such as [PS256, ES256]') })
    .optional()
    .describe('Signature algorithms that tokens and signed answers may use. FAPI: PS256, ES256.'),
  typ: oneOrMany(text('a token type'), 'a token type')
    .transform(types => [...new Set(types.map(type => type.toLowerCase().replace(/^application\//, '')))])
    .prefault(['at+jwt'])
    .describe('Accepted typ headers (RFC 9068: at+jwt); none stands for an absent one.'),
  keys: keys
    .optional()
    .describe(
      'Where the keys come from: url, file, or discovery. Only opaque tokens with plain answers need none.',
    ),
  introspection: introspection.optional().describe('How the issuer is asked about tokens (RFC 7662).'),
  revocation: z
    .enum(['none', 'introspect'])
    .prefault('none')
    .describe(
      'How revoked JWTs are noticed. none: they end by exp. introspect: the issuer is asked about each that verifies.',
    ),
  clockSkew: duration('0s', '60s').prefault('10s').describe('Tolerance for exp, nbf and iat. At most 60s.'),
  maxLifetime: duration('1s', '24d').optional().describe('Longest exp - iat of a token. FDX: 15m.'),
  requiredClaims: z
    .array(text('the name of a claim'), {
      error: words('must be a list of claims', 'such as [sub, client_id, iat, jti]'),
    })
    .prefault(REQUIRED_CLAIMS)
    .describe(
      'Claims that must be there beside iss, exp and aud (RFC 9068 section 2.2). Default of introspected tokens: client_id.',
    ),
  claims: z
    .strictObject({
      scope: text('the name of a claim')
        .prefault('scope')
        .describe('Where the scopes are: text with spaces, or a list.'),
      clientId: oneOrMany(text('the name of a claim'), 'the name of a claim')
        .prefault('client_id')
        .describe(
          'Where the client id is; the first of several that is there. client_id, azp (Auth0, Keycloak), cid (Okta), appid (Entra).',
        ),
    })
    .prefault({})
    .describe('Names of claims, where the issuer has its own.'),
  flow: issuerFlow.describe(
    'How tokens show the OAuth flow they come from. Tokens that no rule matches are denied.',
  ),
  clients: clientCertificates.optional(),
})
