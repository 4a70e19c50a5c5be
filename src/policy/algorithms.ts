/** The kind of key that a JWS algorithm works with. */
export interface KeyKind {
  readonly kty: 'RSA' | 'EC' | 'OKP'
  /** Curve; null for RSA. */
  readonly crv: string | null
}

const RSA: KeyKind = { kty: 'RSA', crv: null }
const ED25519: KeyKind = { kty: 'OKP', crv: 'Ed25519' }

/**
 * Every algorithm a token may be signed with, whatever a policy says: public keys only, so neither `none` nor HMAC
 * (RFC 8725 sections 3.1 and 3.2). RFC 7518 section 3.1; `EdDSA` with Ed25519 alone (RFC 8037), also by its own name (RFC 9864).
 */
export const KEY_KIND_OF_ALGORITHM: ReadonlyMap<string, KeyKind> = new Map([
  ['RS256', RSA],
  ['RS384', RSA],
  ['RS512', RSA],
  ['PS256', RSA],
  ['PS384', RSA],
  ['PS512', RSA],
  ['ES256', { kty: 'EC', crv: 'P-256' }],
  ['ES384', { kty: 'EC', crv: 'P-384' }],
  ['ES512', { kty: 'EC', crv: 'P-521' }],
  ['EdDSA', ED25519],
  ['Ed25519', ED25519],
])
