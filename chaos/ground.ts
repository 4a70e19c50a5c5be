/** Everything around the sidecar: who issues, who asks, what is behind it, and the policy between them. All on loopback. */
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import {
  type IntrospectionServer,
  RS_ID,
  RS_SECRET,
  startIntrospectionServer,
} from '../test/support/introspection-server.js'
import type { Issued } from '../test/support/pki.js'
import { createWorld, HOST, type PolicyParts, policyText, type World } from '../test/support/postern.js'
import { type EchoUpstream, startEchoUpstream } from './echo-upstream.js'

/** Issuer of the opaque tokens. */
/** Some clients are refused all the time, all of them from one address: that they are throttled then is tested elsewhere. */
const LIMITS = '{ headersTimeout: 10s, failures: { requests: 1000000, per: 1m } }'
const ASKED_ISSUER = 'https://asked.example'
const IDENTITIES = 20
/** How long an answer of the introspection endpoint serves, and how long one is waited for. Milliseconds. */
export const ASKED_CACHE_MS = 2000
export const ASKED_TIMEOUT_MS = 2000

export interface Ground {
  readonly world: World
  readonly upstream: EchoUpstream
  readonly introspection: IntrospectionServer
  /** Certificates of clients. */
  readonly identities: readonly Issued[]
  /** The policy of every scenario, but for some parts. */
  readonly policy: (parts?: Partial<PolicyParts>) => string
  /** Makes an opaque token of this owner known to its issuer. */
  readonly admitOpaque: (token: string, subject: string, identity: Issued) => void
  readonly close: () => Promise<void>
}

const APIS = `
  - name: Accounts
    base: /accounts
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
      POST /{id}/notes: { scopes: { all: [accounts] } }
      GET /{id}/live: { scopes: { all: [accounts] }, upgrade: websocket }
  - name: Asked
    base: /asked
    security: [mtls, oauth2]
    flow: authorization_code
    issuer: asked
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
  - name: Proven
    base: /proven
    security: [oauth2]
    flow: authorization_code
    binding: required
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
  - name: Open
    base: /open
    security: public
    routes:
      GET /{id}: {}
`

export async function prepareGround(): Promise<Ground> {
  // Keys of RSA take so long to make that a rotation would hold up the load.
  const world = await createWorld({ algorithms: ['ES256'] })
  const { issuer } = world
  const [introspection, upstream, identities] = await Promise.all([
    startIntrospectionServer(issuer),
    startEchoUpstream(),
    Promise.all(
      Array.from({ length: IDENTITIES }, (_, i) => world.clientCa.issue({ commonName: `client-${i}` })),
    ),
  ])
  world.write('asked-ca.pem', introspection.caPem)
  chmodSync(world.write('secret', RS_SECRET), 0o600)
  const auth = `{ method: client_secret_basic, clientId: "${RS_ID}", clientSecretFile: secret }`
  const asking = `url: "${introspection.url}", ca: asked-ca.pem, auth: ${auth}, cache: ${ASKED_CACHE_MS}ms, timeout: ${ASKED_TIMEOUT_MS}ms`
  const asked = `  asked: { issuer: ${ASKED_ISSUER}, audience: ["https://${HOST}"], tokens: opaque, introspection: { ${asking} }, flow: { preset: rfc9068 } }`
  // A machine that has too much to do is not what is tested.
  const upstreamMore = 'timeouts: { connect: 10s }'
  return {
    world,
    upstream,
    introspection,
    identities,
    policy: ({ apis = '', ...parts } = {}) =>
      policyText(world, {
        upstream: upstream.url,
        upstreamMore,
        limits: LIMITS,
        moreIssuers: asked,
        apis: APIS + apis,
        ...parts,
      }),
    admitOpaque: (token, subject, identity) =>
      void introspection.tokens.set(token, {
        active: true,
        iss: ASKED_ISSUER,
        aud: `https://${HOST}`,
        sub: subject,
        client_id: 'client-1',
        scope: 'accounts',
        token_type: 'Bearer',
        exp: Math.floor(Date.now() / 1000) + 86_400,
        cnf: { 'x5t#S256': identity.thumbprint },
      }),
    close: async () => {
      await Promise.all([introspection.close(), upstream.stop()])
      await world.close()
    },
  }
}

/** Where files of the policy are. */
export const fileOf = ({ world }: Ground, name: string): string => join(world.directory, name)
