import type { ClaimCondition } from './flow-rules.js'
import type { FlowClassifier } from './issuer.js'

/** Claims that only tokens of a present user carry (RFC 9068 section 2.2.1, FDX token profile). */
export const USER_EVIDENCE = ['auth_time', 'acr', 'amr', 'uid', 'username', 'sid', 'fdxConsentId'] as const

/**
 * One client can exchange the token of another one (RFC 8693): sub is then a client, and not the one of client_id. An exchanged
 * token (act) is a person's only when it shows the person.
 */
const NOT_EXCHANGED_FOR_A_CLIENT: ClaimCondition = {
  any: [{ claim: 'act', exists: false }, ...USER_EVIDENCE.map(claim => ({ claim, exists: true }))],
}

/**
 * How known authorization servers mark the flow. No standard claim carries the grant type; RFC 9068 section 2.2 only
 * recommends that sub be the client when there is no user. `client_id` stands for whichever claim the issuer's
 * `claims.clientId` names.
 *
 * No rule rests on the absence of a claim alone: one change at the authorization server would turn every token into the
 * other flow.
 */
const SUBJECT_IS_CLIENT: FlowClassifier['rules'] = [
  { when: { claim: 'sub', equalsClaim: 'client_id' }, is: 'client_credentials' },
  { when: { all: [{ claim: 'sub', exists: true }, NOT_EXCHANGED_FOR_A_CLIENT] }, is: 'authorization_code' },
]

export const FLOW_PRESETS = {
  /** RFC 9068 section 2.2: sub is the client id when no resource owner takes part. */
  rfc9068: { name: 'rfc9068', rules: SUBJECT_IS_CLIENT, userEvidence: USER_EVIDENCE },
  /**
   * oidc-provider: JWTs of client credentials have sub = client_id. Its introspection replies about them have no sub, and about
   * tokens of a user always one (lib/actions/introspection.js); only replies have active.
   */
  'oidc-provider': {
    name: 'oidc-provider',
    rules: [
      ...SUBJECT_IS_CLIENT,
      {
        when: {
          all: [
            { claim: 'active', equals: true },
            { claim: 'client_id', exists: true },
            { claim: 'sub', exists: false },
          ],
        },
        is: 'client_credentials',
      },
    ],
    userEvidence: USER_EVIDENCE,
  },
  /** Ory Hydra: sub = client_id. Known from its documentation of introspection; unverified for its JWTs. */
  hydra: { name: 'hydra', rules: SUBJECT_IS_CLIENT, userEvidence: USER_EVIDENCE },
  /**
   * Keycloak: the user of a service account is called `service-account-<client>`; sessions of people have a sid.
   * From sample tokens, unverified. Nothing stops a realm from having a person of such a name: the sid then makes the
   * flow unknown. Keycloak writes acr into tokens of service accounts too, so acr shows no user.
   */
  keycloak: {
    name: 'keycloak',
    rules: [
      { when: { claim: 'preferred_username', prefix: 'service-account-' }, is: 'client_credentials' },
      {
        when: {
          all: [
            { claim: 'sid', exists: true },
            { claim: 'sub', exists: true },
          ],
        },
        is: 'authorization_code',
      },
    ],
    userEvidence: ['auth_time', 'amr', 'uid', 'sid', 'fdxConsentId'],
  },
  /**
   * Auth0: gty is client-credentials, and sub ends in @clients; no gty for people (password for the password grant, which is
   * neither). From sample tokens; whether gty is there in the RFC 9068 dialect is unverified, hence the suffix.
   */
  auth0: {
    name: 'auth0',
    rules: [
      {
        when: {
          any: [
            { claim: 'gty', equals: 'client-credentials' },
            { claim: 'sub', suffix: '@clients' },
          ],
        },
        is: 'client_credentials',
      },
      {
        when: {
          all: [
            { claim: 'sub', exists: true },
            { not: { claim: 'sub', equalsClaim: 'client_id' } },
            { claim: 'gty', exists: false },
            NOT_EXCHANGED_FOR_A_CLIENT,
          ],
        },
        is: 'authorization_code',
      },
    ],
    userEvidence: USER_EVIDENCE,
  },
  /**
   * Okta, custom authorization server (`claims.clientId: cid`): uid is the person; without one sub is the client. From sample
   * tokens, unverified; one of them has auth_time without a person, so auth_time shows no user.
   */
  okta: {
    name: 'okta',
    rules: [
      {
        when: {
          all: [
            { claim: 'sub', equalsClaim: 'client_id' },
            { claim: 'uid', exists: false },
          ],
        },
        is: 'client_credentials',
      },
      {
        when: {
          all: [
            { claim: 'sub', exists: true },
            { claim: 'uid', exists: true },
          ],
        },
        is: 'authorization_code',
      },
    ],
    userEvidence: USER_EVIDENCE.filter(claim => claim !== 'auth_time'),
  },
  /**
   * Microsoft Entra ID (`claims: { scope: scp, clientId: [azp, appid] }`): the optional claim idtyp is app; without it, roles
   * and no scp, and the object is the subject. From sample tokens, unverified.
   */
  entra: {
    name: 'entra',
    rules: [
      { when: { claim: 'idtyp', equals: 'app' }, is: 'client_credentials' },
      {
        when: {
          all: [
            { claim: 'roles', exists: true },
            { claim: 'scp', exists: false },
            { claim: 'oid', equalsClaim: 'sub' },
          ],
        },
        is: 'client_credentials',
      },
      {
        when: {
          all: [
            { claim: 'scp', exists: true },
            { claim: 'oid', exists: true },
          ],
        },
        is: 'authorization_code',
      },
    ],
    userEvidence: USER_EVIDENCE,
  },
  /**
   * WSO2 Identity Server and API Manager: aut, as its Open Banking guide uses it. Older versions wrote APPLICATION into
   * tokens of people too, hence the comparison of sub; unverified across versions.
   */
  wso2: {
    name: 'wso2',
    rules: [
      {
        when: {
          all: [
            { claim: 'aut', equals: 'APPLICATION' },
            { claim: 'sub', equalsClaim: 'client_id' },
          ],
        },
        is: 'client_credentials',
      },
      { when: { claim: 'aut', equals: 'APPLICATION_USER' }, is: 'authorization_code' },
    ],
    userEvidence: USER_EVIDENCE,
  },
  /**
   * ForgeRock and Ping AM: grant_type in the token. From one sample, unverified; a token that a refresh token bought is
   * believed to say refresh_token, and counts as the person's when sub is not the client.
   */
  forgerock: {
    name: 'forgerock',
    rules: [
      { when: { claim: 'grant_type', equals: 'client_credentials' }, is: 'client_credentials' },
      { when: { claim: 'grant_type', equals: 'authorization_code' }, is: 'authorization_code' },
      {
        when: {
          all: [
            { claim: 'grant_type', equals: 'refresh_token' },
            { claim: 'client_id', exists: true },
            { claim: 'sub', exists: true },
            { not: { claim: 'sub', equalsClaim: 'client_id' } },
          ],
        },
        is: 'authorization_code',
      },
    ],
    userEvidence: USER_EVIDENCE,
  },
} as const satisfies Record<string, FlowClassifier>

export type FlowPreset = keyof typeof FLOW_PRESETS

/** Presets that rest on documentation and sample tokens and have not met the running server. */
export const EXPERIMENTAL_PRESETS: ReadonlySet<string> = new Set<FlowPreset>([
  'hydra',
  'keycloak',
  'auth0',
  'okta',
  'entra',
  'wso2',
  'forgerock',
])
