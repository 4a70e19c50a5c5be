/** What each security profile demands of a route, clause by clause. The one table; nothing else knows a profile by its name. */

export const PROFILE_NAMES = ['fapi1-advanced', 'fapi2', 'fdx-green', 'fdx-blue', 'custom'] as const

export type ProfileName = (typeof PROFILE_NAMES)[number]

/** Document and section, for people: `FAPI 2.0 section 5.3.4-5`. */
type Clause = string

/** A demand; null where the profile leaves it open. */
export interface Profile {
  /** As its document calls it. */
  readonly title: string
  /** Callers show an access token. */
  readonly token: Clause | null
  /** Callers show a client certificate. */
  readonly certificate: Clause | null
  /** A token that is bound to no key of the client never passes. */
  readonly binding: Clause | null
  /** JWS alg values that tokens may have. */
  readonly algorithms: Limited<readonly string[]> | null
  /** typ headers that tokens may have. */
  readonly typ: Limited<readonly string[]> | null
  /** Greatest exp - iat in seconds. */
  readonly maxLifetimeSeconds: Limited<number> | null
  /** A revoked token is refused before it expires; or, with `shortLivedWillDo`, it expires soon. */
  readonly revocation: { readonly shortLivedWillDo: boolean; readonly clause: Clause } | null
  /** Headers of FAPI and FDX must be there and well-formed. */
  readonly strictHeaders: Clause | null
  /** Profiles of server.tls whose cipher suites are within this one's. */
  readonly tls: Limited<readonly string[]> | null
}

interface Limited<T> {
  readonly allowed: T
  readonly clause: Clause
}

/** FDX Security Model 5.0: a token of 15 minutes; shorter than that, a missed revocation costs little. */
export const SHORT_LIVED_SECONDS = 900

const NOTHING: Profile = {
  title: 'custom',
  token: null,
  certificate: null,
  binding: null,
  algorithms: null,
  typ: null,
  maxLifetimeSeconds: null,
  revocation: null,
  strictHeaders: null,
  tls: null,
}

const TYPED: Profile['typ'] = { allowed: ['at+jwt'], clause: 'RFC 9068 section 4, RFC 8725 section 3.11' }

const FAPI2: Profile = {
  title: 'FAPI 2.0',
  token: 'FAPI 2.0 section 5.3.4-1',
  certificate: null, // the transport may be plain TLS where DPoP binds the token
  binding: 'FAPI 2.0 section 5.3.4-5',
  algorithms: { allowed: ['PS256', 'ES256', 'EdDSA', 'Ed25519'], clause: 'FAPI 2.0 section 5.4.1' },
  typ: TYPED,
  maxLifetimeSeconds: null,
  revocation: { shortLivedWillDo: true, clause: 'FAPI 2.0 section 5.3.4-3' },
  strictHeaders: null,
  tls: { allowed: ['fapi1-advanced', 'fapi2'], clause: 'FAPI 2.0 section 5.2.2-1' },
}

/** What both profiles of the FDX Security Model 5.0 ask, by what is known of it at second hand. */
const FDX = {
  maxLifetimeSeconds: { allowed: SHORT_LIVED_SECONDS, clause: 'FDX Security Model 5.0: at most 900 s' },
  revocation: {
    shortLivedWillDo: false,
    clause: 'FDX Security Model 5.0: revocation takes effect at once',
  },
  strictHeaders: 'FDX API 6.4: x-fapi-interaction-id is required',
} as const

export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  'fapi1-advanced': {
    title: 'FAPI 1.0 Advanced',
    token: 'FAPI 1.0 Part 1 section 6.2.1-2',
    certificate: 'FAPI 1.0 Part 2 section 6.2.1-2',
    binding: 'FAPI 1.0 Part 2 section 8.2',
    algorithms: { allowed: ['PS256', 'ES256'], clause: 'FAPI 1.0 Part 2 section 8.6' },
    typ: TYPED,
    maxLifetimeSeconds: null,
    revocation: { shortLivedWillDo: true, clause: 'FAPI 1.0 Part 1 section 6.2.1-4' },
    strictHeaders: null, // section 6.2.1-11 has the server mint an interaction id that is missing
    tls: { allowed: ['fapi1-advanced'], clause: 'FAPI 1.0 Part 2 section 8.5-1' },
  },
  fapi2: FAPI2,
  /** OAuth 2.0 with short-lived tokens. */
  'fdx-green': {
    ...NOTHING,
    title: 'FDX Green',
    token: 'FDX Security Model 5.0: OAuth 2.0',
    typ: TYPED,
    ...FDX,
  },
  /** FAPI 2.0 with short-lived tokens. */
  'fdx-blue': { ...FAPI2, title: 'FDX Blue', ...FDX },
  /** Whatever the route says. */
  custom: NOTHING,
}

/** What a profile sets where the policy says nothing. Security is never among it: that is always written. */
export interface ProfileDefaults {
  readonly binding: 'required' | null
  readonly headers: 'strict' | 'tolerant'
  /** For issuers without a maxLifetime of their own. */
  readonly maxLifetimeSeconds: number | null
}

/** The settings that follow from a profile. */
export function defaultsOf(name: ProfileName): ProfileDefaults {
  const profile = PROFILES[name]
  return {
    binding: profile.binding === null ? null : 'required',
    headers: profile.strictHeaders === null ? 'tolerant' : 'strict',
    maxLifetimeSeconds: profile.maxLifetimeSeconds?.allowed ?? null,
  }
}
