import { isIP } from 'node:net'
import { z } from 'zod'
import { oneOrMany, text, words } from './schema-values.js'
import type { TerminatorNetwork } from './settings.js'

const NOT_A_NETWORK = words(
  'must be an address or a network',
  'such as 10.0.0.5, 10.0.0.0/8 or "2001:db8::/32"',
)

/** An address, or a network in CIDR notation. */
const network = z.string({ error: NOT_A_NETWORK }).transform((written, ctx): TerminatorNetwork => {
  const [, address = '', digits] = /^([0-9A-Fa-f.:]{2,45})(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(written) ?? []
  const version = isIP(address)
  const bits = version === 6 ? 128 : 32
  const prefix = digits === undefined ? bits : Number(digits)
  if (version !== 0 && prefix <= bits) return { address, prefix, family: version === 6 ? 'ipv6' : 'ipv4' }
  ctx.addIssue({ code: 'custom', message: NOT_A_NETWORK })
  return z.NEVER
})

const thumbprint = z
  .string({
    error: words('must be the x5t#S256 of a certificate', 'base64url of its SHA-256, 43 characters'),
  })
  .regex(/^[A-Za-z0-9_-]{43}$/, {
    error: words(
      'must be the x5t#S256 of a certificate',
      'base64url of its SHA-256, 43 characters, as the log of `postern explain --cert` shows it',
    ),
  })

/** One entry of `trustedTerminators`. */
export const terminator = z.strictObject({
  address: oneOrMany(network, 'an address or a network').describe(
    'Where its connections come from: addresses, or networks such as 10.0.0.0/8.',
  ),
  certificate: z
    .strictObject({
      'x5t#S256': oneOrMany(thumbprint, 'a thumbprint')
        .optional()
        .describe('Thumbprints of its certificates, whoever issued them.'),
      subject: text('the subject of a certificate')
        .optional()
        .describe(
          'Subject of its certificate, which must verify like a client certificate: CN=edge, O=Bank.',
        ),
    })
    .optional()
    .describe('Which certificate it shows here, as a client. Without it the address alone decides.'),
  header: z
    .enum(['client-cert', 'xfcc'])
    .describe(
      'Where it passes on the certificate of its client: Client-Cert (RFC 9440), or x-forwarded-client-cert with Cert (Envoy).',
    ),
})
