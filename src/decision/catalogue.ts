/**
 * The catalogue of refusals: the closed list of codes for answers, logs, metrics and `explain`.
 * What the client reads comes from here only; the operator's detail travels in `Denial.detail` and ends in the log.
 * Status and order: REQUIREMENTS section 2. `fdx` is the FDX 6 error code, which is not the HTTP status.
 */

/**
 * The `error` of the challenge (RFC 6750 section 3.1, RFC 9449 section 7.1), or that a bare challenge (no `error`) or none at all
 * is due. Whether the scheme is Bearer or DPoP follows from what the client tried.
 */
export type Challenge =
  | 'none'
  | 'bare'
  | 'invalid_request'
  | 'invalid_token'
  | 'insufficient_scope'
  /** RFC 9470 section 3. */
  | 'insufficient_user_authentication'
  | 'invalid_dpop_proof'
  | 'use_dpop_nonce'

/** The part of a request's life that may refuse with the code. */
export type Step =
  | 'readRequest'
  | 'matchRoute'
  | 'readCredentials'
  | 'checkCertificate'
  | 'authenticateToken'
  | 'verifyProof'
  | 'authorise'
  | 'spendProof'
  | 'forward'

/** One entry of the catalogue. */
export interface DenialSpec {
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
  certificate_not_allowed: {
    status: 403,
    challenge: 'none',
    fdx: '403',
    step: 'checkCertificate',
    message: 'The client certificate is not allowed here',
    hint: 'Trusted, but not in certificates of the route, or not one of those that clients of the issuer has for this client.',
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
    hint: 'A claim that RFC 9068 section 2.2 requires is absent or of the wrong type.',
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
    hint: 'The route demands a token bound to the client certificate or a DPoP key (cnf with x5t#S256 or jkt), or the token came with the scheme DPoP and is not bound to a DPoP key. On mTLS routes in profile fapi1-advanced only the certificate counts.',
  },
  binding_mismatch: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'authorise',
    message: 'The access token is bound to another key',
    hint: 'cnf does not confirm the certificate of this connection (RFC 8705 section 3) or the key of the proof (RFC 9449 section 6). A renewed certificate needs a new token.',
  },
  proof_missing: {
    status: 401,
    challenge: 'invalid_token',
    fdx: '603',
    step: 'verifyProof',
    message: 'The access token needs a proof of possession',
    hint: 'A token bound to a DPoP key (cnf with jkt) came with the scheme Bearer, or the scheme DPoP came without a DPoP header. Both belong together: Authorization: DPoP and a DPoP header with a fresh proof (RFC 9449 section 7.1).',
  },
  proof_invalid: {
    status: 401,
    challenge: 'invalid_dpop_proof',
    fdx: '603',
    step: 'verifyProof',
    message: 'The DPoP proof is not valid',
    hint: 'The DPoP header breaks a rule of RFC 9449 section 4.3; the log says which. Often: htu is not the URL of server.publicUrl, ath is of another token, or the clock of the client is off.',
  },
  proof_nonce_required: {
    status: 401,
    challenge: 'use_dpop_nonce',
    fdx: '603',
    step: 'verifyProof',
    message: 'The DPoP proof needs the nonce of this answer',
    hint: 'The route says dpop.nonce: required, and the proof has no nonce of ours or an old one. Clients repeat the request with the value of DPoP-Nonce; only one that never does is in trouble.',
  },
  proof_replayed: {
    status: 401,
    challenge: 'invalid_dpop_proof',
    fdx: '603',
    step: 'spendProof',
    message: 'The DPoP proof was used before',
    hint: 'The same jti came twice for the same URL and key: a replay, or a client that repeats requests without a new proof.',
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
  stepup_required: {
    status: 401,
    challenge: 'insufficient_user_authentication',
    fdx: '603',
    step: 'authorise',
    message: 'The user has to authenticate again, or more strongly',
    hint: 'acr or auth_time of the token do not satisfy acr or maxAuthAge of the route, or are absent (RFC 9470).',
  },
  claim_mismatch: {
    status: 403,
    challenge: 'none',
    fdx: '602',
    step: 'authorise',
    message: 'The access token does not extend to this resource',
    hint: 'A rule in claims of the route does not hold. With otherwise: 404 the client reads the answer of route_unknown.',
  },
  issuer_unavailable: {
    status: 503,
    challenge: 'none',
    fdx: '503',
    step: 'authenticateToken',
    message: 'The service cannot verify access tokens at present',
    hint: 'The keys of the issuer cannot be had. The client is not at fault; look at the issuer and the network.',
  },
  store_unavailable: {
    status: 503,
    challenge: 'none',
    fdx: '503',
    step: 'spendProof',
    message: 'The service cannot verify requests at present',
    hint: 'The store of used DPoP proofs is full or cannot be reached, so a replay could not be told. The client is not at fault.',
  },
  upstream_unavailable: {
    status: 502,
    challenge: 'none',
    fdx: '501',
    step: 'forward',
    message: 'The service behind this gateway is not available',
    hint: 'The upstream refused, reset or had no free connection, or all its addresses are out (postern_upstream_healthy); then with Retry-After.',
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
