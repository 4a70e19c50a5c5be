/** The access tokens of one client: one that is good, and one of each kind that is not. Signed when they are first asked for. */
import type { Issued } from '../test/support/pki.js'
import type { Overrides, SigningKey, TokenIssuer } from '../test/support/token-issuer.js'

/** Longer than any run. Seconds. */
const LONG = 86_400

export type TokenKind = 'good' | 'scopeless' | 'stolen' | 'expired' | 'forged'

/** A token that was good once. */
export interface Retired {
  readonly token: string
  /** Of the key that signed it. */
  readonly kid: string
}

export class Wallet {
  readonly subject: string
  readonly #issuer: TokenIssuer
  readonly #identity: Issued
  readonly #stranger: Issued
  readonly #lifetime: number
  readonly #tokens = new Map<TokenKind, string>()
  #key: SigningKey | undefined
  #retired: Retired | null = null

  /**
   * @param stranger holds the certificate that stolen tokens are bound to
   * @param lifetime of tokens, in seconds
   */
  constructor(
    issuer: TokenIssuer,
    subject: string,
    identity: Issued,
    stranger: Issued,
    lifetime: number = LONG,
  ) {
    this.#lifetime = lifetime
    this.#issuer = issuer
    this.subject = subject
    this.#identity = identity
    this.#stranger = stranger
  }

  /** Signed by the present key of the issuer. */
  token(kind: TokenKind): string {
    const [key] = this.#issuer.keys
    if (key !== this.#key) {
      const last = this.#tokens.get('good')
      if (last !== undefined && this.#key !== undefined) this.#retired = { token: last, kid: this.#key.kid }
      this.#tokens.clear()
      this.#key = key
    }
    const kept = this.#tokens.get(kind)
    if (kept !== undefined) return kept
    const token = this.#sign(kind)
    this.#tokens.set(kind, token)
    return token
  }

  /** The last good token of another key than the present one; null before there was one. */
  get retired(): Retired | null {
    return this.#retired
  }

  /** Throws the tokens away: the next ones are new ones. */
  renew(): void {
    this.#tokens.clear()
  }

  /** A token of this owner with claims of one's own. */
  sign(claims: Overrides): string {
    const now = Math.floor(Date.now() / 1000)
    const usual = { sub: this.subject, scope: 'accounts', iat: now - 5, exp: now + this.#lifetime }
    return this.#issuer.token({ ...usual, ...claims })
  }

  #sign(kind: TokenKind): string {
    const cnf = { 'x5t#S256': this.#identity.thumbprint }
    switch (kind) {
      case 'good':
        return this.sign({ cnf })
      case 'scopeless':
        return this.sign({ cnf, scope: 'else' })
      case 'stolen':
        return this.sign({ cnf: { 'x5t#S256': this.#stranger.thumbprint } })
      case 'expired': {
        const past = Math.floor(Date.now() / 1000) - 600
        return this.sign({ cnf, iat: past - 60, exp: past })
      }
      case 'forged': {
        const [header, payload] = this.sign({ cnf }).split('.')
        return `${header}.${payload}.${Buffer.alloc(64, 7).toString('base64url')}`
      }
    }
  }
}
