/**
 * The resource server as a conformance suite meets it: the real process over TLS, in front of an API, with two clients that
 * have a certificate and a DPoP key each. A resource is one way to be called: profile, flow, and what the token is bound to.
 */

import { newProofKey, type ProofKey, proofFor } from '../support/dpop.js'
import type { Issued } from '../support/pki.js'
import {
  type Answered,
  ask,
  type Counting,
  createWorld,
  HOST,
  type Postern,
  policyText,
  startCounting,
  startPostern,
  type World,
} from '../support/postern.js'
import type { Overrides } from '../support/token-issuer.js'

export type Family = 'fapi1-advanced' | 'fapi2'

/** A client of the authorization server, as the suite has two. */
export interface Client {
  readonly id: string
  /** The user for whom it acts, where there is one. */
  readonly user: string
  readonly certificate: Issued
  readonly key: ProofKey
}

/** Something that can be read with a token. */
export interface Resource {
  readonly name: string
  readonly family: Family
  readonly path: string
  readonly constrained: 'mtls' | 'dpop'
  readonly flow: 'authorization_code' | 'client_credentials'
}

const RESOURCE = {
  fapi1: of('FAPI 1 with mTLS', 'fapi1-advanced', '/accounts/1', 'mtls', 'authorization_code'),
  mtls: of('FAPI 2 with mTLS', 'fapi2', '/mtls/1', 'mtls', 'authorization_code'),
  dpop: of('FAPI 2 with DPoP', 'fapi2', '/dpop/1', 'dpop', 'authorization_code'),
  nonce: of('FAPI 2 with DPoP and nonces', 'fapi2', '/nonce/1', 'dpop', 'authorization_code'),
  machineMtls: of(
    'FAPI 2 client credentials with mTLS',
    'fapi2',
    '/machine-mtls/1',
    'mtls',
    'client_credentials',
  ),
  machineDpop: of(
    'FAPI 2 client credentials with DPoP',
    'fapi2',
    '/machine-dpop/1',
    'dpop',
    'client_credentials',
  ),
} as const

function of(
  name: string,
  family: Family,
  path: string,
  constrained: Resource['constrained'],
  flow: Resource['flow'],
): Resource {
  return { name, family, path, constrained, flow }
}

const APIS: Readonly<Record<Family, string>> = {
  'fapi1-advanced': `
  - name: Accounts
    base: /accounts
    profile: fapi1-advanced
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
`,
  fapi2: `
  - name: Certificates
    base: /mtls
    profile: fapi2
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
  - name: Proofs
    base: /dpop
    profile: fapi2
    security: [oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
      POST /{id}: { scopes: { all: [accounts] } }
      GET /{id}/contact: { scopes: { any: [contact, customer], optional: [personal] } }
      GET /{id}/status: { scopes: none }
  - name: Nonces
    base: /nonce
    profile: fapi2
    security: [oauth2]
    flow: authorization_code
    dpop: { nonce: required }
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
  - name: Machines with certificates
    base: /machine-mtls
    profile: fapi2
    security: [mtls, oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
  - name: Machines with proofs
    base: /machine-dpop
    profile: fapi2
    security: [oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: { all: [accounts] } }
`,
}

/** A call that is good, but for what is said. */
export interface Call {
  /** Whose certificate or DPoP key is used. Default the first client. */
  readonly client?: Client
  /** Default one of the client, for this resource. */
  readonly token?: string
  /** Default Bearer or DPoP, as the resource has it. */
  readonly scheme?: string
  readonly method?: string
  readonly body?: string
  /** Default the path of the resource. */
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** Members of the proof that differ. */
  readonly proofClaims?: Overrides
  readonly proofHeader?: Overrides
  /** The DPoP header field as it is sent; null: none. */
  readonly dpop?: string | readonly string[] | null
  /** Send no Authorization header field. */
  readonly anonymous?: boolean
}

export interface ResourceServer {
  readonly world: World
  readonly upstream: Counting
  readonly client1: Client
  readonly client2: Client
  /** The resources of the families that were started, by name and as a list. */
  readonly resource: typeof RESOURCE
  readonly resources: readonly Resource[]
  readonly at: (family: Family) => Postern
  readonly tokenFor: (resource: Resource, client?: Client, claims?: Overrides) => string
  readonly proof: (resource: Resource, token: string, options?: Call) => string
  readonly call: (resource: Resource, options?: Call) => Promise<Answered>
  readonly close: () => Promise<void>
}

/** Starts one process for each family, over one API and one issuer. */
export async function startResourceServer(...families: readonly Family[]): Promise<ResourceServer> {
  const [world, upstream] = await Promise.all([createWorld(), startCounting()])
  const started = await Promise.all(families.map(family => start(world, family, upstream.url)))
  const posterns = new Map(started)
  const at = (family: Family) => {
    const postern = posterns.get(family)
    if (postern === undefined) throw new Error(`${family} was not started`)
    return postern
  }
  const client1 = { id: 'client-1', user: 'user-1', certificate: world.client, key: newProofKey() }
  const client2 = {
    id: 'client-2',
    user: 'user-2',
    certificate: world.otherClient,
    key: newProofKey('PS256'),
  }

  const tokenFor = (resource: Resource, client: Client = client1, claims: Overrides = {}) =>
    world.issuer.token({
      client_id: client.id,
      sub: resource.flow === 'authorization_code' ? client.user : client.id,
      scope: 'accounts',
      cnf:
        resource.constrained === 'mtls'
          ? { 'x5t#S256': client.certificate.thumbprint }
          : { jkt: client.key.jkt },
      ...claims,
    })
  const proof = (resource: Resource, token: string, options: Call = {}) => {
    const { client = client1, method: htm = 'GET', path = resource.path } = options
    const target = { htu: `https://${HOST}${path}`, htm, token }
    return proofFor(client.key, target, options.proofClaims, options.proofHeader)
  }
  return {
    world,
    upstream,
    client1,
    client2,
    resource: RESOURCE,
    resources: Object.values(RESOURCE).filter(({ family }) => posterns.has(family)),
    at,
    tokenFor,
    proof,
    call: (resource, options = {}) => {
      const { client = client1, path = resource.path, method = 'GET' } = options
      const isDpop = resource.constrained === 'dpop'
      const { token = tokenFor(resource, client), scheme = isDpop ? 'DPoP' : 'Bearer' } = options
      const dpop = options.dpop !== undefined ? options.dpop : isDpop ? proof(resource, token, options) : null
      return ask(world, at(resource.family), {
        method,
        path,
        headers: {
          ...(options.anonymous === true ? {} : { Authorization: `${scheme} ${token}` }),
          ...(dpop === null ? {} : { DPoP: dpop }),
          ...options.headers,
        },
        ...(options.body === undefined ? {} : { body: options.body }),
        ...(isDpop ? {} : { client: client.certificate }),
      })
    },
    close: async () => {
      await Promise.all([...posterns.values()].map(postern => postern.stop()))
      upstream.close()
      await world.close()
    },
  }
}

async function start(world: World, family: Family, upstream: string): Promise<[Family, Postern]> {
  const write = (_: string, text: string) => world.write(`${family}.yaml`, text)
  const policy = policyText(world, {
    upstream,
    profile: family,
    apis: APIS[family],
    issuer: 'maxLifetime: 15m',
  })
  return [family, await startPostern({ write }, policy)]
}

/** Every value of a field of an answer. */
export function valuesOf({ rawHeaders }: Answered, name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)
}
