import { z } from 'zod'
import { CERTIFICATE_FIELDS, type CertificatePattern, CLIENT_ID } from '../policy/certificate-patterns.js'
import { canonicalName } from '../request/distinguished-name.js'
import { text, words } from './schema-values.js'

/** `allowed: null`: every trusted certificate will do, and the author has said so. */
export interface AllowList {
  readonly allowed: readonly CertificatePattern[] | null
}

const EXAMPLE = 'such as [{ commonName: client-a }] or [{ x5t#S256: … }]'

const name = (what: string) =>
  text('a distinguished name').transform((written, ctx) => {
    const canonical = written === 'client.id' ? written : canonicalName(written)
    if (canonical !== null) return canonical
    ctx.addIssue({
      code: 'custom',
      message: words(
        `must be ${what} as RFC 4514 writes it`,
        'most specific part first, such as "CN=client-a,O=Acme,C=US"; openssl x509 -nameopt RFC2253 prints it so',
      ),
    })
    return z.NEVER
  })

/** A SHA-256 in one of its two spellings; anything else would never match. */
const digest = (encoding: 'base64' | 'base64url') => {
  const error =
    encoding === 'base64'
      ? words('must be a SHA-256 in base64', '43 characters and =, as in a pin of RFC 7469')
      : words('must be a SHA-256 in base64url', '43 characters, without =, as in x5t#S256 of RFC 8705')
  return z.string({ error }).refine(
    written => {
      const bytes = Buffer.from(written, encoding)
      return bytes.length === 32 && bytes.toString(encoding) === written
    },
    { error },
  )
}

const pattern = z
  .strictObject(
    {
      subject: name('a subject')
        .optional()
        .describe('The whole subject, as RFC 4514 writes it: "CN=client-a,O=Acme,C=US".'),
      issuer: name('an issuer').optional().describe('The whole name of the issuer, as RFC 4514 writes it.'),
      commonName: text('a common name').optional().describe('The only CN of the subject.'),
      dns: text('a DNS name')
        .transform(written => (written === 'client.id' ? written : written.toLowerCase()))
        .optional()
        .describe('A dNSName of subjectAltName. Wildcards mean nothing.'),
      uri: text('a URI').optional().describe('A URI of subjectAltName, to the letter.'),
      email: text('an email address').optional().describe('An rfc822Name of subjectAltName, to the letter.'),
      spki: digest('base64')
        .optional()
        .describe('base64 SHA-256 of the public key (RFC 7469); it survives a renewal that keeps the key.'),
      'x5t#S256': digest('base64url').optional().describe('base64url SHA-256 of the certificate (RFC 8705).'),
    },
    { error: words('must say what the certificate has', EXAMPLE) },
  )
  .meta({ id: 'CertificatePattern', description: 'What a certificate must have: every part that is named.' })
  .transform((written, ctx): CertificatePattern => {
    const named = CERTIFICATE_FIELDS.flatMap(field => {
      const is = written[field]
      return is === undefined ? [] : [{ field, is }]
    })
    if (named.length === 0)
      ctx.addIssue({ code: 'custom', message: words('would fit every certificate', EXAMPLE) })
    return named
  })

/** A pattern in which `client.id` stands for the client id of the token. */
const patternOfClient = pattern.transform(
  (named): CertificatePattern =>
    named.map(({ field, is }) => ({ field, is: is === 'client.id' ? CLIENT_ID : is })),
)

const patternOfRoute = pattern.superRefine((named, ctx) => {
  for (const { field, is } of named)
    if (is === 'client.id')
      ctx.addIssue({
        code: 'custom',
        path: [field],
        message: words(
          'cannot be client.id: certificates are judged before the token',
          'say it in clients of the issuer',
        ),
      })
})

function listOf<S extends z.ZodType<CertificatePattern>>(entry: S) {
  return z
    .union(
      [
        z.literal('any'),
        z
          .array(entry)
          .min(1, { error: words('has no entries', `${EXAMPLE}; any lets every trusted one in`) }),
      ],
      { error: words('must be a list of certificates, or any', EXAMPLE) },
    )
    .transform((written): AllowList => ({ allowed: written === 'any' ? null : written }))
}

/** Setting of routes, APIs and `defaults`. */
export const certificates = listOf(patternOfRoute).describe(
  'Client certificates that are let in: one entry must fit in all its parts. Others are denied with certificate_not_allowed. any: every trusted one.',
)

/** RFC 6749 appendix A.1; `*` stands for every client that is not named. */
export const CLIENT_KEY = z.string().regex(/^[\x20-\x7E]{1,256}$/, {
  error: words('is not a client id', 'printable ASCII; "*" stands for every client that is not named'),
})

/** Setting of issuers. */
export const clientCertificates = z
  .record(
    CLIENT_KEY,
    z.strictObject({
      certificates: listOf(patternOfClient).describe(
        'Certificates of this client. The value client.id stands for the client id of the token: { commonName: client.id }.',
      ),
    }),
  )
  .describe(
    'Which certificate belongs to which client, by client id, on mTLS routes; "*" is every client that is not named. A client that is not told of is denied.',
  )
