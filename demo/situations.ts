/**
 * What a client can do right or wrong on one row of the endpoint table, as requests with the answer that each deserves.
 * The expectations come from the table and the standards alone, never from policies.yaml: that file is what is tested.
 */
import { type EndpointRow, namedScopes, type OAuthFlow } from './endpoint-table.js'
import { type ClientId, dataProvider, dataRecipient, otherRecipient } from './sample-names.js'

export const situationNames = [
  'good',
  'no token',
  'wrong scope',
  'wrong flow',
  'no certificate',
  "other's certificate",
] as const

export type SituationName = (typeof situationNames)[number]

export type TokenRequest = {
  readonly client: ClientId
  readonly flow: OAuthFlow
  readonly scopes: readonly string[]
}

export type ShownCertificate = typeof dataRecipient | typeof otherRecipient | 'noCertificate'

export type Expectation =
  | { readonly outcome: 'allowed' }
  /** RFC 6750 section 3: the challenge names an error, except to a client that sent no credentials at all. */
  | {
      readonly outcome: 'denied'
      readonly status: 401 | 403
      readonly error: string | undefined
      /** Whose challenge says the error; Bearer unless DPoP was tried. */
      readonly scheme?: 'Bearer' | 'DPoP'
    }
  /** The client did nothing wrong, so nothing is said of its credentials. */
  | { readonly outcome: 'unavailable'; readonly status: 503 }

export type Attempt = {
  readonly row: EndpointRow
  readonly situation: SituationName
  /** What this request does differently from its neighbours in the same cell. */
  readonly what: string
  readonly token: TokenRequest | undefined
  readonly certificate: ShownCertificate
  readonly expected: Expectation
}

const allowed: Expectation = { outcome: 'allowed' }
const noCredentials: Expectation = { outcome: 'denied', status: 401, error: undefined }
const invalidToken: Expectation = { outcome: 'denied', status: 401, error: 'invalid_token' }
const insufficientScope: Expectation = { outcome: 'denied', status: 403, error: 'insufficient_scope' }

type Case = Pick<Attempt, 'what' | 'token' | 'expected'> & { readonly certificate?: ShownCertificate }

export function attemptsOf(row: EndpointRow, allScopes: readonly string[]): Attempt[] {
  const home = rightfulClient(row)
  return situationNames.flatMap(situation =>
    casesOf[situation](row, allScopes).map(({ certificate = home.certificate, ...rest }) => ({
      row,
      situation,
      certificate,
      ...rest,
    })),
  )
}

/** Whether no scope is wrong for the row, so that "wrong scope" shows the opposite of what it shows elsewhere. */
export const asksForNoScope = (row: EndpointRow): boolean => row.scopes.kind === 'none'

const casesOf: Readonly<Record<SituationName, (row: EndpointRow, allScopes: readonly string[]) => Case[]>> = {
  good: row =>
    sufficientScopes(row).map(scopes => ({
      what: `a token with ${listed(scopes)}`,
      token: rightToken(row, scopes),
      expected: allowed,
    })),

  'no token': () => [{ what: 'no Authorization header', token: undefined, expected: noCredentials }],

  'wrong scope': (row, allScopes) =>
    insufficientScopes(row, allScopes).map(scopes => ({
      what: `a token with ${listed(scopes)}`,
      token: rightToken(row, scopes),
      expected: asksForNoScope(row) ? allowed : insufficientScope,
    })),

  // The recipients can walk both flows. On a row without mutual TLS the recipient shows its certificate all the same, as
  // its token is bound to it and nothing but the flow shall be wrong.
  'wrong flow': row => [
    {
      what: `the right scopes in a token of the ${otherFlow(row.flow)} flow`,
      token: { client: dataRecipient, flow: otherFlow(row.flow), scopes: fullScopes(row) },
      certificate: dataRecipient,
      expected: insufficientScope,
    },
  ],

  'no certificate': row =>
    row.mutualTls
      ? [
          {
            what: 'the right token over a connection without a certificate',
            token: rightToken(row, fullScopes(row)),
            certificate: 'noCertificate',
            expected: invalidToken,
          },
          {
            // Only this shows that the row itself asks for a certificate: a bound token asks for one anywhere.
            what: 'an unbound token over a connection without a certificate',
            token: unboundToken(row),
            certificate: 'noCertificate',
            expected: invalidToken,
          },
        ]
      : [
          {
            what: 'an unbound token over a connection without a certificate',
            token: rightToken(row, fullScopes(row)),
            certificate: 'noCertificate',
            expected: allowed,
          },
          {
            what: 'a bound token over a connection without a certificate',
            token: boundToken(row),
            certificate: 'noCertificate',
            expected: invalidToken,
          },
        ],

  "other's certificate": row =>
    row.mutualTls
      ? [
          {
            what: `the token of ${dataRecipient} over the certificate of ${otherRecipient}`,
            token: rightToken(row, fullScopes(row)),
            certificate: otherRecipient,
            expected: invalidToken,
          },
          {
            // A certificate alone is not enough: the token has to be bound to it (FAPI 1.0 Part 2 section 6.2.1).
            what: `an unbound token over the certificate of ${otherRecipient}`,
            token: unboundToken(row),
            certificate: otherRecipient,
            expected: invalidToken,
          },
        ]
      : [
          {
            what: `an unbound token over the certificate of ${otherRecipient}`,
            token: rightToken(row, fullScopes(row)),
            certificate: otherRecipient,
            expected: allowed,
          },
          {
            // RFC 8705 section 3: who sees `cnf` in a token enforces it, whether or not the route asks for it.
            what: `a token bound to ${dataRecipient} over the certificate of ${otherRecipient}`,
            token: boundToken(row),
            certificate: otherRecipient,
            expected: invalidToken,
          },
        ],
}

/** Who calls a row in earnest: a data recipient with its certificate, or the data provider's own application. */
function rightfulClient(row: EndpointRow): { client: ClientId; certificate: ShownCertificate } {
  return row.mutualTls
    ? { client: dataRecipient, certificate: dataRecipient }
    : { client: dataProvider, certificate: 'noCertificate' }
}

function rightToken(row: EndpointRow, scopes: readonly string[]): TokenRequest {
  return { client: rightfulClient(row).client, flow: row.flow, scopes }
}

function boundToken(row: EndpointRow): TokenRequest {
  return { client: dataRecipient, flow: row.flow, scopes: fullScopes(row) }
}

function unboundToken(row: EndpointRow): TokenRequest {
  return { client: dataProvider, flow: row.flow, scopes: fullScopes(row) }
}

function fullScopes(row: EndpointRow): readonly string[] {
  return sufficientScopes(row)[0] ?? []
}

/** Each list of scopes that has to be enough: of "any" each alternative alone, of "optional" with it and without. */
function sufficientScopes({ scopes }: EndpointRow): (readonly string[])[] {
  if (scopes.kind === 'none') return [[]]
  if (scopes.kind === 'any') return scopes.scopes.map(scope => [scope])
  return scopes.optional.length === 0
    ? [scopes.scopes]
    : [[...scopes.scopes, ...scopes.optional], scopes.scopes]
}

/**
 * Lists of scopes that must not be enough: one that has nothing to do with the row, none at all, the optional ones
 * alone, and of "all" each list that lacks one. A row without scopes takes the unrelated one, and is right to.
 */
function insufficientScopes({ scopes }: EndpointRow, allScopes: readonly string[]): (readonly string[])[] {
  const named = namedScopes(scopes)
  const unrelated = allScopes.find(scope => !named.includes(scope))
  const lists: (readonly string[])[] = unrelated ? [[unrelated]] : []
  if (scopes.kind === 'none') return lists
  lists.push([])
  if (scopes.kind === 'any') return lists
  if (scopes.optional.length > 0) lists.push(scopes.optional)
  if (scopes.scopes.length > 1) {
    lists.push(...scopes.scopes.map(left => scopes.scopes.filter(scope => scope !== left)))
  }
  return lists
}

const otherFlow = (flow: OAuthFlow): OAuthFlow =>
  flow === 'authorization_code' ? 'client_credentials' : 'authorization_code'

const listed = (scopes: readonly string[]): string => (scopes.length > 0 ? scopes.join(' ') : 'no scope')
