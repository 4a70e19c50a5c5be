/**
 * The catalogue of refusals: the closed list of codes for answers, logs, metrics and `explain`.
 * What the client reads comes from here only; the operator's detail travels in `Denial.detail` and ends in the log.
 * Status and order: REQUIREMENTS section 2. `fdx` is the FDX 6 error code, which is not the HTTP status.
 */

/** What an RFC 6750 section 3.1 challenge says, or that a bare challenge (no `error`) or none at all is due. */
export type Challenge = 'none' | 'bare' | 'invalid_request' | 'invalid_token' | 'insufficient_scope'

/** The part of a request's life that may refuse with the code. */
export type Step =
  | 'readRequest'
  | 'matchRoute'
  | 'readCredentials'
  | 'checkCertificate'
  | 'authenticateToken'
  | 'authorise'
  | 'forward'

interface DenialSpec {
  readonly status: number
  readonly challenge: Challenge
  readonly fdx: string
  readonly step: Step
  /** The words for the client; printable ASCII without `"` and `\` (RFC 6750 section 3). */
  readonly message: string
  /** What the operator should look at; becomes a line of docs/denials.md. */
  readonly hint: string
}

export const DENIALS = {
  request_malformed: {
    status: 400,
    challenge: 'none',
    fdx: '401',
    step: 'readRequest',
    message: 'The request is malformed',
    hint: 'The bytes are not one well-formed HTTP/1.1 request: framing, Host, header or target syntax. The log says which.',
  },
  path_ambiguous: {
    status: 400,
    challenge: 'none',
    fdx: '401',
    step: 'readRequest',
    message: 'The path has more than one reading',
    hint: 'Dot segments, empty segments, encoded separators or needless percent-encoding. Send the plain spelling.',
  },
  host_unknown: {
    status: 400,
    challenge: 'none',
    fdx: '401',
    step: 'readRequest',
    message: 'The host is not served here',
    hint: 'The Host header names no origin of server.publicUrl.',
  },
  header_too_large: {
    status: 431,
    challenge: 'none',
    fdx: '401',
    step: 'readRequest',
    message: 'The request header is too large',
    hint: 'More bytes of header than server.limits.headerBytes.',
  },
  request_timeout: {
    status: 408,
    challenge: 'none',
    fdx: '401',
    step: 'readRequest',
    message: 'The request took too long to arrive',
    hint: 'Slower than server.limits.headersTimeout or requestTimeout.',
  },
  body_too_large: {
    status: 413,
    challenge: 'none',
    fdx: '401',
    step: 'forward',
    message: 'The request body is too large',
    hint: 'More bytes of body than server.limits.bodyBytes.',
  },
  route_unknown: {
    status: 404,
    challenge: 'none',
    fdx: '1107',
    step: 'matchRoute',
    message: 'There is nothing at this path',
    hint: 'No route of the policy has this path. `postern check` lists the routes.',
  },
  method_not_allowed: {
    status: 405,
    challenge: 'none',
    fdx: '1206',
    step: 'matchRoute',
    message: 'The method is not allowed at this path',
    hint: 'The policy has this path with other methods, named in Allow.',
  },
  credentials_missing: {
    status: 401,
    challenge: 'bare',
    fdx: '603',
    step: 'readCredentials',
    message: 'Authentication is required',
    hint: 'No Authorization header with a Bearer or DPoP token.',
  },
  credentials_malformed: {
    status: 400,
    challenge: 'invalid_request',
    fdx: '401',
    step: 'readCredentials',
    message: 'The credentials are malformed',
    hint: 'The Authorization header is not one scheme and one token, or the token came in the query.',
  },
  credentials_multiple: {
    status: 400,
    challenge: 'invalid_request',
    fdx: '401',
    step: 'readCredentials',
    message: 'More than one set of credentials',
    hint: 'Several Authorization headers, or a header together with an access_token in the query.',
  },
  certificate_missing: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'checkCertificate',
    message: 'A client certificate is required',
    hint: 'The route says mtls and the connection carries no client certificate.',
  },
  certificate_untrusted: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'checkCertificate',
    message: 'The client certificate is not accepted',
    hint: 'Chain, purpose, key or signature do not satisfy server.tls.clients; the log has the exact cause.',
  },
  certificate_expired: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'checkCertificate',
    message: 'The client certificate is not currently valid',
    hint: 'Outside notBefore and notAfter of the client certificate, judged on every request.',
  },
  certificate_revoked: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'checkCertificate',
    message: 'The client certificate is not accepted',
    hint: 'The serial number is on a list of server.tls.clients.crl.',
  },
  token_malformed: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'Not a signed JWT in canonical compact form, or larger than accepted.',
  },
  token_issuer_unknown: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'The iss claim is not, to the letter, the issuer of any issuer that the route accepts.',
  },
  token_algorithm_not_allowed: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'The alg header is not in the algorithms of its issuer.',
  },
  token_signature_invalid: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'No key of the issuer verifies the signature.',
  },
  token_type_wrong: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'The typ header is not in the typ list of the issuer, or the JWT is of another kind, such as an ID token.',
  },
  token_inactive: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'The issuer says by introspection that the token is not active: unknown to it, expired or revoked.',
  },
  token_revoked: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authenticateToken',
    message: 'The access token is not valid',
    hint: 'The JWT verifies, and introspection says that it is not active any more, or another token than it claims to be.',
  },
  token_claim_missing: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is not valid',
    hint: 'A claim that RFC 9068 section 2.2 or requiredClaims demands is absent or of the wrong type.',
  },
  token_audience_wrong: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is not valid',
    hint: 'The aud claim names none of the audience values of the issuer.',
  },
  token_expired: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token has expired',
    hint: 'exp is past, clockSkew included.',
  },
  token_not_yet_valid: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is not valid yet',
    hint: 'nbf or iat is in the future, clockSkew included. Compare the clocks.',
  },
  token_lifetime_too_long: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is not valid',
    hint: 'exp - iat is more than maxLifetime of the issuer.',
  },
  binding_missing: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is not bound to a key of the client',
    hint: 'The route demands a bound token (cnf with x5t#S256) and this one is not.',
  },
  binding_mismatch: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is bound to another key',
    hint: 'cnf does not confirm the certificate of this connection (RFC 8705 section 3). A renewed certificate needs a new token.',
  },
  proof_missing: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token needs a proof of possession',
    hint: 'The token is bound to a DPoP key (cnf with jkt), and no proof was verified.',
  },
  flow_unknown: {
    status: 403,
    challenge: 'insufficient_scope',
    fdx: '602',
    step: 'authorise',
    message: 'The access token was not issued by the flow that this route requires',
    hint: 'No rule of the issuer says by which OAuth flow the token was issued, or the evidence conflicts.',
  },
  flow_not_allowed: {
    status: 403,
    challenge: 'insufficient_scope',
    fdx: '602',
    step: 'authorise',
    message: 'The access token was not issued by the flow that this route requires',
    hint: 'The OAuth flow of the token is not among those of the route.',
  },
  scope_insufficient: {
    status: 403,
    challenge: 'insufficient_scope',
    fdx: '602',
    step: 'authorise',
    message: 'The access token lacks a required scope',
    hint: 'The scopes of the token do not satisfy the route. The challenge names what is needed.',
  },
  issuer_unavailable: {
    status: 503,
    challenge: 'none',
    fdx: '503',
    step: 'authenticateToken',
    message: 'The service cannot verify access tokens at present',
    hint: 'The keys of the issuer cannot be had, or its introspection endpoint gives no usable answer. The client is not at fault; look at the issuer, the network and the credentials of Postern there.',
  },
  upstream_unavailable: {
    status: 502,
    challenge: 'none',
    fdx: '501',
    step: 'forward',
    message: 'The service behind this gateway is not available',
    hint: 'The upstream refused, reset or had no free connection.',
  },
  upstream_timeout: {
    status: 504,
    challenge: 'none',
    fdx: '501',
    step: 'forward',
    message: 'The service behind this gateway did not answer in time',
    hint: 'Slower than the timeouts of the upstream.',
  },
  upstream_malformed: {
    status: 502,
    challenge: 'none',
    fdx: '501',
    step: 'forward',
    message: 'The service behind this gateway gave an unusable answer',
    hint: 'The upstream broke HTTP framing or header syntax.',
  },
  draining: {
    status: 503,
    challenge: 'none',
    fdx: '503',
    step: 'readRequest',
    message: 'The service is shutting down',
    hint: 'SIGTERM was received; new requests belong elsewhere.',
  },
  internal_error: {
    status: 500,
    challenge: 'none',
    fdx: '500',
    step: 'forward',
    message: 'The service failed to handle the request',
    hint: 'A fault in Postern itself; the log has the stack. Please report it.',
  },
} as const satisfies Record<string, DenialSpec>

export type DenialCode = keyof typeof DENIALS

/** Values for the headers of one answer that the catalogue cannot know. */
export interface DenialParameters {
  /** Scopes for the challenge of RFC 6750 section 3.1, from the policy, never from the request. */
  readonly scope?: string
  /** Methods for Allow (RFC 9110 section 15.5.6), from the policy. */
  readonly allow?: string
}

/** A refusal. A value that is returned, not an Error: nothing is exceptional about refusing. */
export class Denial {
  readonly code: DenialCode
  /** For the operator's log only. May name facts of the request, never a token or a secret. */
  readonly detail: string
  readonly parameters: DenialParameters

  constructor(code: DenialCode, detail: string, parameters: DenialParameters = {}) {
    this.code = code
    this.detail = detail
    this.parameters = parameters
  }
}

/** What a step proved, or the refusal. `instanceof Denial` narrows it. */
export type Verdict<T> = T | Denial
