import type { FlowClassifier } from './issuer.js'

/** Claims that only tokens of a present user carry (RFC 9068 section 2.2.1, FDX token profile). */
export const USER_EVIDENCE = ['auth_time', 'acr', 'amr', 'uid', 'username', 'sid', 'fdxConsentId'] as const

/**
 * How known authorization servers mark the flow. No standard claim carries the grant type; RFC 9068 section 2.2 only
 * recommends that sub be the client when there is no user.
 */
const SUBJECT_IS_CLIENT: FlowClassifier['rules'] = [
  { when: { claim: 'sub', equalsClaim: 'client_id' }, is: 'client_credentials' },
  { when: { claim: 'sub', exists: true }, is: 'authorization_code' },
]

export const FLOW_PRESETS = {
  /** RFC 9068 section 2.2: sub is the client id when no resource owner takes part. */
  rfc9068: { name: 'rfc9068', rules: SUBJECT_IS_CLIENT, userEvidence: USER_EVIDENCE },
  /** oidc-provider: JWTs of client credentials have sub = client_id. */
  'oidc-provider': { name: 'oidc-provider', rules: SUBJECT_IS_CLIENT, userEvidence: USER_EVIDENCE },
} as const satisfies Record<string, FlowClassifier>

export type FlowPreset = keyof typeof FLOW_PRESETS
