import { z } from 'zod'
import type { ScopeRule } from '../policy/policy.js'
import { PROFILE_NAMES } from '../policy/profiles.js'
import { certificates } from './schema-certificates.js'
import { claims } from './schema-claims.js'
import { dpop } from './schema-dpop.js'
import { FLOWS } from './schema-flow.js'
import { paths } from './schema-paths.js'
import { rate } from './schema-rate.js'
import { acrValue, duration, oneOrMany, scopeToken, text, words } from './schema-values.js'

/** What a route asks of its caller. */
export interface Security {
  readonly mtls: boolean
  readonly oauth2: boolean
}

export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/** `METHOD /template`; the template is read further by the policy floor. */
export const ROUTE_KEY = z.string().regex(new RegExp(`^(?:${METHODS.join('|')}) /\\S*$`), {
  error: words(
    `must be a method and a path, such as "GET /accounts/{accountId}"`,
    `methods: ${METHODS.join(', ')}; one space; a path that begins with /`,
  ),
})

const SECURITY_HINT = 'one of [mtls, oauth2], [oauth2], [mtls] and public'

const security = z
  .union(
    [
      z.literal('public', { error: words('must say what is asked of callers', SECURITY_HINT) }),
      z
        .array(z.enum(['mtls', 'oauth2']))
        .min(1, { error: words('asks for nothing', 'write public when everybody may call') }),
    ],
    { error: words('must say what is asked of callers', SECURITY_HINT) },
  )
  .transform((written): Security => ({ mtls: written.includes('mtls'), oauth2: written.includes('oauth2') }))
  .describe('What callers must show: [mtls, oauth2], [oauth2], [mtls] or public. Never implied.')

const scopeList = z.array(scopeToken(), {
  error: words('must be a list of scopes', 'such as [fdx:transactions:read]'),
})

const scopes = z
  .union(
    [
      z.literal('none', {
        error: words('must be none, or name scopes', 'such as { all: [fdx:transactions:read] }'),
      }),
      z.strictObject({
        any: scopeList
          .min(1, { error: words('has no entries', 'name at least one scope, or leave it out') })
          .optional()
          .describe('The token must have at least one of these.'),
        all: scopeList
          .min(1, { error: words('has no entries', 'name at least one scope, or leave it out') })
          .optional()
          .describe('The token must have every one of these.'),
        optional: scopeList
          .optional()
          .describe('Not asked for; the upstream learns which of them the token has.'),
      }),
    ],
    {
      error: words(
        'must be none, or name scopes',
        'such as { all: [fdx:transactions:read] }, { any: [a, b] } or none',
      ),
    },
  )
  .transform((written, ctx): ScopeRule => {
    const { any = [], all = [], optional = [] } = written === 'none' ? {} : written
    if (written !== 'none' && any.length + all.length === 0)
      ctx.addIssue({
        code: 'custom',
        message: words(
          'asks for nothing',
          'name scopes in any or all; when none is asked for write scopes: none',
        ),
      })
    return { any, all, optional }
  })
  .describe('Scopes that the token must have: { all: [...] }, { any: [...] }, or none.')

/** The settings that a route has, its API may give to all its routes, and `defaults` to all APIs. */
export const routeSettings = {
  security: security.optional(),
  flow: oneOrMany(z.enum(FLOWS), 'authorization_code or client_credentials')
    .optional()
    .describe('OAuth flows whose tokens count: authorization_code, client_credentials, or a list of both.'),
  issuer: oneOrMany(text('the name of an issuer'), 'the name of an issuer')
    .optional()
    .describe('Names in issuers whose tokens count.'),
  upstream: text('the name of an upstream')
    .optional()
    .describe('Name in upstreams: where allowed requests go.'),
  errors: z
    .enum(['fdx', 'problem'])
    .optional()
    .describe('Form of refusals: the FDX error entity, or application/problem+json (RFC 9457).'),
  binding: z
    .enum(['required', 'if-present'])
    .optional()
    .describe(
      'Whether the token must be bound to the client certificate or a DPoP key. Follows from security: required with mtls and oauth2.',
    ),
  claims: claims.optional(),
  acr: oneOrMany(acrValue(), 'an acr value')
    .optional()
    .describe('The acr of the token must be one of these, in order of preference (RFC 9470 step-up).'),
  maxAuthAge: duration('0s', '24d')
    .optional()
    .describe('Longest time since the user authenticated, by auth_time of the token (RFC 9470 step-up).'),
  certificates: certificates.optional(),
  dpop: dpop.optional(),
  rate: rate.optional(),
  profile: z
    .enum(PROFILE_NAMES)
    .optional()
    .describe(
      'What the route claims to be. The profile sets what is not written (binding, headers, maxLifetime), and what leaves it is reported. Default custom: nothing is claimed.',
    ),
  headers: z
    .enum(['strict', 'tolerant'])
    .optional()
    .describe(
      'strict: requests need a UUID in x-fapi-interaction-id, and what they have in FDX-API-Actor-Type and x-fapi-customer-ip-address must be valid. Default: tolerant; strict in the profiles of FDX.',
    ),
  paths: paths.optional(),
  timeout: duration('1ms', '1h')
    .optional()
    .describe('Longest wait for the upstream, instead of its own timeouts.response.'),
}

/** One route of an API. */
export const route = z.strictObject({
  id: z
    .string({ error: words('must be text', 'a short name for logs and metrics') })
    .regex(/^[\x21-\x7E](?:[\x20-\x7E]{0,254}[\x21-\x7E])?$/, {
      error: words('must be at most 256 printable ASCII characters', 'a short name for logs and metrics'),
    })
    .optional()
    .describe('Label in logs and metrics. Default: method and whole path.'),
  scopes: scopes.optional(),
  ...routeSettings,
  upgrade: z.literal('websocket').optional().describe('The route is a WebSocket handshake.'),
})

/** One entry of `apis`. */
export const api = z.strictObject({
  name: text('a name').describe('Name in tables and reports.'),
  base: text('a path')
    .regex(/^\/(?:\S*[^/\s])?$/, {
      error: words(
        'must be a path that begins with / and does not end with it',
        'such as /fdx/v6/core, or / alone',
      ),
    })
    .describe('Path that every route of the API begins with.'),
  scopes: scopes.optional(),
  ...routeSettings,
  routes: z
    .record(ROUTE_KEY, route)
    .describe('Routes of the API: METHOD /path below base, and what is asked there.'),
})
