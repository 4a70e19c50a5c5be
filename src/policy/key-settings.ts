/** Where the keys of an issuer come from. `file`: the text of a JWK set. `url` and `discovery` are fetched in the background. Durations in milliseconds. */
export type KeySettings =
  | { readonly from: 'file'; readonly text: string }
  | ({ readonly from: 'url'; readonly url: string } & RemoteKeySettings)
  /** RFC 8414 or OpenID Connect discovery below the issuer identifier. */
  | ({ readonly from: 'discovery' } & RemoteKeySettings)

export interface RemoteKeySettings {
  readonly refreshMs: number
  /** Least time between two fetches for an unknown kid, also after a failure. */
  readonly cooldownMs: number
  /** How long keys still serve after their refresh has begun to fail. */
  readonly staleForMs: number
  /** PEM of the authorities for the TLS connection; null: the system's roots. */
  readonly ca: string | null
}
