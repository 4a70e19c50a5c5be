/**
 * What a decision costs without any I/O: reading the request, finding the route among 10, 1,000 and 10,000, and the
 * checks of a known token. `npm run bench:decide` prints nanoseconds per operation, the best of several rounds, and
 * the ratio to the smallest policy.
 */
import { authorise } from '../src/checks/authorise.js'
import { tokenFacts } from '../src/checks/token-facts.js'
import { Denial } from '../src/decision/denials.js'
import { FLOW_PRESETS } from '../src/policy/flow-presets.js'
import type { Route } from '../src/policy/policy.js'
import { RouteIndex } from '../src/policy/route-index.js'
import { readRequest } from '../src/request/request-facts.js'

const ROUNDS = 7
const OPERATIONS = 200_000
const SIZES = [10, 1_000, 10_000]
const NOW = 1_800_000_000
const SERVED = { hosts: new Set(['api.bank.example']), via: 'postern-0' }

function routes(count: number): Route[] {
  return Array.from({ length: count }, (_, number) => ({
    id: `GET /api/v${number % 10}/resource-${number}/{id}/items`,
    method: 'GET',
    template: `/api/v${number % 10}/resource-${number}/{id}/items`,
    api: 'bench',
    mtls: true,
    certificates: null,
    token: {
      issuers: ['main'],
      flows: ['authorization_code'],
      scopes: { all: ['read'], any: [], optional: [] },
      binding: 'if-present',
      stepUp: null,
      claims: [],
      dpop: {
        origins: [],
        algorithms: ['ES256'],
        maxAgeSeconds: 60,
        futureSkewSeconds: 15,
        nonce: 'none',
        satisfiesBinding: true,
      },
      maxLifetimeSeconds: null,
    },
    upstream: 'provider',
    rates: [],
    errors: 'fdx',
    upgrade: null,
    responseTimeoutMs: null,
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
    metadataPath: null,
    metadata: null,
  }))
}

/** Best time of one operation in nanoseconds. */
function measure(operation: () => unknown): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < OPERATIONS; i++) operation()
    best = Math.min(best, Number(process.hrtime.bigint() - start) / OPERATIONS)
  }
  return best
}

const token = tokenFacts(
  {
    iss: 'https://as',
    aud: 'https://api',
    sub: 'user',
    client_id: 'c',
    iat: NOW - 1,
    exp: NOW + 100,
    jti: 'j',
    scope: 'read',
  },
  {
    name: 'main',
    issuer: 'https://as',
    audience: ['https://api'],
    algorithms: ['ES256'],
    typ: ['at+jwt'],
    clockSkewSeconds: 10,
    maxLifetimeSeconds: 900,
    requiredClaims: ['sub', 'client_id', 'iat', 'jti'],
    claims: { scope: 'scope', clientId: ['client_id'] },
    flow: FLOW_PRESETS.rfc9068,
    clients: null,
  },
)

let smallest = Number.NaN
process.stdout.write('routes   lookup ns   ratio   whole decision ns\n')
for (const size of SIZES) {
  const index = RouteIndex.build(routes(size))
  if (!(index instanceof RouteIndex)) throw new Error('the routes conflict')
  const path = `/api/v${(size - 1) % 10}/resource-${size - 1}/some-identifier/items`
  const head = {
    method: 'GET',
    url: path,
    httpVersion: '1.1',
    rawHeaders: ['Host', 'api.bank.example', 'Accept', '*/*'],
  }
  const lookup = measure(() => index.match('GET', { path, ambiguities: [] }))
  const decision = measure(() => {
    const request = readRequest(head, SERVED)
    if (request instanceof Denial) throw new Error(request.code)
    const match = index.match(request.method, request)
    if (match instanceof Denial) throw new Error(match.code)
    const grant = authorise({ request, match, certificate: null, token, proof: null, now: NOW })
    if (grant instanceof Denial) throw new Error(`${grant.code}: ${grant.detail}`)
  })
  if (Number.isNaN(smallest)) smallest = lookup
  process.stdout.write(
    `${String(size).padStart(6)}   ${lookup.toFixed(0).padStart(9)}   ${(lookup / smallest).toFixed(2).padStart(5)}   ${decision.toFixed(0).padStart(17)}\n`,
  )
}
