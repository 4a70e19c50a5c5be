/** The names that the authorization server, the data provider and the clients of the demo have to agree on. */

/** The one demo user. */
export const customerId = 'customer-1'

/** The consent that this user gave; user tokens carry it as `fdxConsentId`, the data provider serves it. */
export const consentId = '9585694d-3ae5-4863-9b45-1f2c7c3d9a10'

export const accountId = '10001'
export const subscriptionId = 'subscription-1'
export const resourceId = 'resource-1'

/** Two data recipients, each with a certificate of its own: their tokens are bound to it (RFC 8705 section 3). */
export const dataRecipient = 'data-recipient'
export const otherRecipient = 'other-recipient'

/** The data provider's own applications call the solution APIs, which ask for OAuth 2.0 without mutual TLS. */
export const dataProvider = 'data-provider'

/** A data recipient without a certificate: its tokens are bound to a key of its own by DPoP (RFC 9449). */
export const dpopRecipient = 'dpop-recipient'

/** The sidecar itself, which asks what opaque tokens are. It gets no tokens. */
export const posternClient = 'postern'

/** A second name of the API, for which the authorization server writes opaque tokens instead of JWTs. */
export const opaqueAudience = 'https://localhost:8443/opaque'

export type ClientId =
  | typeof dataRecipient
  | typeof otherRecipient
  | typeof dataProvider
  | typeof dpopRecipient

/** The code flow ends at this address; nobody listens there, the demo reads the answer off the redirect. */
export const redirectUri = (client: ClientId): string => `https://${client}.example/callback`
