/** What the clients of further.yaml can do right or wrong, and what each request deserves by the standards. */
import type { OAuthFlow } from './endpoint-table.js'
import type { Expectation, ShownCertificate } from './situations.js'

export const furtherSituationNames = [
  'good',
  'revoked',
  'wrong key',
  'replayed proof',
  'no proof',
  'other certificate',
  'issuer down',
] as const

export type FurtherSituationName = (typeof furtherSituationNames)[number]

export type FurtherClient = {
  readonly name: string
  readonly format: 'jwt' | 'opaque'
  readonly binding: 'certificate' | 'DPoP'
}

export const furtherClients: readonly FurtherClient[] = [
  { name: 'opaque token, bound to a certificate', format: 'opaque', binding: 'certificate' },
  { name: 'opaque token, bound to a DPoP key', format: 'opaque', binding: 'DPoP' },
  { name: 'JWT, bound to a DPoP key', format: 'jwt', binding: 'DPoP' },
]

export type FurtherAttempt = {
  readonly client: FurtherClient
  readonly situation: FurtherSituationName
  readonly what: string
  readonly flow: OAuthFlow
  /** Attempts of one situation share a token; the two that end badly have one that nobody else uses. */
  readonly tokenFor: 'anything' | 'revoked' | 'issuer down'
  readonly scheme: 'Bearer' | 'DPoP'
  readonly proof: 'own key' | 'other key' | 'the one before' | 'none'
  readonly certificate: ShownCertificate
  /** What happens before it: nothing, the revocation of its token, or the end of the authorization server. */
  readonly after: 'nothing' | 'revocation' | 'outage'
  readonly expected: Expectation
}

const allowed: Expectation = { outcome: 'allowed' }
/** RFC 9449 section 7.1: the error stands in the challenge of the scheme that was tried. */
const denied = (scheme: 'Bearer' | 'DPoP', error: string): Expectation => ({
  outcome: 'denied',
  status: 401,
  error,
  scheme,
})
const unavailable: Expectation = { outcome: 'unavailable', status: 503 }

type Change = Partial<Omit<FurtherAttempt, 'client' | 'situation'>> & Pick<FurtherAttempt, 'what'>

export function furtherAttemptsOf(client: FurtherClient): FurtherAttempt[] {
  const usual = {
    flow: 'authorization_code',
    tokenFor: 'anything',
    after: 'nothing',
    expected: allowed,
  } as const
  const own =
    client.binding === 'DPoP'
      ? ({ scheme: 'DPoP', proof: 'own key', certificate: 'noCertificate' } as const)
      : ({ scheme: 'Bearer', proof: 'none', certificate: 'data-recipient' } as const)
  return furtherSituationNames.flatMap(situation =>
    casesOf[situation](client, own.scheme).map(change => ({
      client,
      situation,
      ...usual,
      ...own,
      ...change,
    })),
  )
}

const casesOf: Readonly<
  Record<FurtherSituationName, (client: FurtherClient, scheme: 'Bearer' | 'DPoP') => Change[]>
> = {
  good: () => [{ what: "a user's token" }, { what: "the client's own token", flow: 'client_credentials' }],

  // The authorization server neither revokes nor introspects JWTs; they end by their time.
  revoked: ({ format }, scheme) =>
    format === 'jwt'
      ? []
      : [
          { what: 'a token that will be revoked', tokenFor: 'revoked' },
          {
            what: 'the same token, revoked, after the time of the cache',
            tokenFor: 'revoked',
            after: 'revocation',
            expected: denied(scheme, 'invalid_token'),
          },
        ],

  'wrong key': onlyDpop([
    { what: 'a proof by another key', proof: 'other key', expected: denied('DPoP', 'invalid_token') },
  ]),

  'replayed proof': onlyDpop([
    { what: 'a new proof' },
    { what: 'the same proof again', proof: 'the one before', expected: denied('DPoP', 'invalid_dpop_proof') },
  ]),

  'no proof': onlyDpop([
    { what: 'no DPoP header', proof: 'none', expected: denied('DPoP', 'invalid_token') },
    {
      what: 'the token as a bearer token',
      scheme: 'Bearer',
      proof: 'none',
      expected: denied('Bearer', 'invalid_token'),
    },
  ]),

  'other certificate': ({ binding }) => {
    const expected = binding === 'DPoP' ? allowed : denied('Bearer', 'invalid_token')
    const other: Change = {
      what: 'the certificate of another client',
      certificate: 'other-recipient',
      expected,
    }
    const none: Change = { what: 'no certificate', certificate: 'noCertificate', expected }
    // A key in place of the certificate: which certificate the connection has says nothing of the token.
    return binding === 'DPoP' ? [other] : [other, none]
  },

  // The keys for JWTs are known; nobody but the authorization server knows what an opaque token is.
  'issuer down': ({ format }) => [
    {
      what: 'a token that the sidecar has not seen, without the authorization server',
      tokenFor: 'issuer down',
      after: 'outage',
      expected: format === 'jwt' ? allowed : unavailable,
    },
  ],
}

function onlyDpop(changes: Change[]): (client: FurtherClient) => Change[] {
  return ({ binding }) => (binding === 'DPoP' ? changes : [])
}
