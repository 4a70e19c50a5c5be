import { randomBytes, randomUUID } from 'node:crypto'
import { chmodSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { DENIALS, type DenialCode } from '../../src/decision/denials.js'
import { newProofKey, proofFor } from '../support/dpop.js'
import { RS_ID, RS_SECRET, startIntrospectionServer } from '../support/introspection-server.js'
import { createAuthority } from '../support/pki.js'
import {
  type Answered,
  type Ask,
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  policyText,
  startCounting,
  startPostern,
  USUAL_APIS,
  until,
  untilAsync,
} from '../support/postern.js'
import type { RawClient, RawMessage } from '../support/raw-client.js'
import { hang, RecordingUpstream, raw } from '../support/recording-upstream.js'
import { newSigningKey, type Overrides, signToken } from '../support/token-issuer.js'

// Every refusal that the catalogue knows, provoked as a client would, against one process. All of them happen first;
// then the process ends, so that its log is complete, and each is looked at.

/** Codes that no client and no upstream can provoke: they stand for faults of Postern itself. */
const EXEMPT: readonly DenialCode[] = ['internal_error']

/** REQUIREMENTS section 2: what each row of refusals looks like, stated here apart from the catalogue. */
type Row = readonly [status: number, fdx: string, error: string | null]
const BARE = 'no error'
const DPOP = 'DPoP algs="PS256 ES256 EdDSA Ed25519"'
const ROW = {
  framing: [400, '401', null],
  slow: [408, '401', null],
  largeHeader: [431, '401', null],
  largeBody: [413, '401', null],
  noRoute: [404, '1107', null],
  noMethod: [405, '1206', null],
  tooMany: [429, '1207', null],
  noCredentials: [401, '603', BARE],
  badCredentials: [400, '401', 'invalid_request'],
  unauthenticated: [401, '603', 'invalid_token'],
  wantsStepUp: [401, '603', 'insufficient_user_authentication'],
  forbidden: [403, '602', 'insufficient_scope'],
  otherResource: [403, '602', null],
  partnerDenied: [403, '403', null],
  badProof: [401, '603', 'invalid_dpop_proof'],
  wantsNonce: [401, '603', 'use_dpop_nonce'],
  issuerDown: [503, '503', null],
  storeFull: [503, '503', null],
  upstreamDown: [502, '501', null],
  upstreamSlow: [504, '501', null],
  busy: [503, '503', null],
  leaving: [503, '503', null],
} as const satisfies Record<string, Row>

interface Provocation {
  readonly row: Row
  /** What the client does, with this interaction id; null: it could not say one. */
  readonly act: (interactionId: string) => Promise<Answer>
  /** What the log tells the operator. */
  readonly detail: string | RegExp
  /** What the challenge names behind error and error_description. */
  readonly named?: string
  readonly allow?: string
  /** What the challenge says of DPoP. `tried`: it stands alone, with the error; `offered`: after that of Bearer, without. */
  readonly dpop?: 'tried' | 'offered'
}

interface Answer {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly text: string
  /** The bytes never became a request, so the id is not the client's. */
  readonly minted: boolean
}

const world = await createWorld()
const [strangers, counting, broken, endpoint] = await Promise.all([
  createAuthority('Strangers CA'),
  startCounting(),
  RecordingUpstream.start(),
  startIntrospectionServer(world.issuer),
])
const [stranger, expired, revoked] = await Promise.all([
  strangers.issue({ commonName: 'client-a' }),
  world.clientCa.issue({
    commonName: 'client-old',
    notBefore: new Date(Date.now() - 7_200_000),
    notAfter: new Date(Date.now() - 3_600_000),
  }),
  world.clientCa.issue({ commonName: 'client-gone' }),
])
world.write('clients.crl', await world.clientCa.crl({ revoked: [revoked] }))
world.write('endpoint-ca.pem', endpoint.caPem)
chmodSync(world.write('secret', RS_SECRET), 0o600)
/** It knows no token, so none is active. */
const introspection = `{ url: "${endpoint.url}", ca: endpoint-ca.pem, auth: { method: client_secret_basic, clientId: "${RS_ID}", clientSecretFile: secret } }`

const postern = await startPostern(
  world,
  policyText(world, {
    upstream: counting.url,
    clients: '{ trust: pki, ca: [client-ca.pem], crl: [clients.crl] }',
    limits: '{ headersTimeout: 3s, bodyBytes: 1KiB, proofs: 1, requests: 3 }',
    issuer: 'maxLifetime: 15m',
    // Port 1 answers nobody.
    moreIssuers: `  dark:
    issuer: https://dark.example
    audience: [https://${HOST}]
    algorithms: [ES256]
    keys: { url: https://127.0.0.1:1/jwks }
    flow: { preset: rfc9068 }
  opaque:
    issuer: https://opaque.example
    audience: [https://${HOST}]
    tokens: opaque
    introspection: ${introspection}
    flow: { preset: rfc9068 }
  revoking:
    issuer: https://revoking.example
    audience: [https://${HOST}]
    algorithms: [ES256]
    keys: { url: ${world.issuer.jwksUrl}, ca: issuer-ca.pem }
    revocation: introspect
    introspection: ${introspection}
    flow: { preset: rfc9068 }`,
    moreUpstreams: `  broken: { url: ${broken.url}, timeouts: { response: 300ms } }
  gone: { url: 'http://127.0.0.1:1' }`,
    apis: `${USUAL_APIS}
  - name: Dark
    base: /dark
    security: [oauth2]
    flow: authorization_code
    issuer: dark
    routes:
      GET /{id}: { scopes: none }
  - name: Asked
    base: /asked
    security: [oauth2]
    flow: authorization_code
    scopes: none
    routes:
      GET /opaque: { issuer: opaque }
      GET /jwt: { issuer: revoking }
  - name: Narrow
    base: /narrow
    security: [mtls, oauth2]
    flow: authorization_code
    scopes: none
    routes:
      GET /partners: { certificates: [{ commonName: client-b }] }
      GET /payments: { acr: ["urn:bank:gold", "urn:bank:silver"], maxAuthAge: 5m }
      GET /consents/{consentId}: { claims: { consent_id: { equals: path.consentId } } }
  - name: Keys
    base: /keys
    security: [oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: none }
      GET /{id}/once: { scopes: none, rate: { requests: 1, per: 1h, by: address } }
      GET /{id}/fresh: { scopes: none, dpop: { nonce: required } }
  - name: Broken
    base: /broken
    security: public
    upstream: broken
    routes:
      GET /{id}: {}
  - name: Gone
    base: /gone
    security: public
    upstream: gone
    routes:
      GET /{id}: {}
`,
  }),
  {},
  'serving',
)
t.teardown(async () => {
  await postern.stop()
  counting.close()
  await broken.stop()
  await endpoint.close()
  await world.close()
})
// The dark issuer never lets the process become ready; the others must have been asked.
await untilAsync(
  async () => {
    const { text } = await postern.admin('/readyz?verbose')
    return ['main', 'revoking'].every(name => text.includes(`[+]keys ${name} ok`))
  },
  () => 'the keys of the issuers did not come',
)

const now = Math.floor(Date.now() / 1000)
const userToken = (claims: Overrides = {}) =>
  boundToken(world, world.client, 'authorization_code', { scope: 'basic', ...claims })

/** A refusal over https; what is not said is good: the client, its token, its route. */
const asks =
  (options: Ask): Provocation['act'] =>
  async interactionId =>
    answerOf(
      await ask(world, postern, {
        client: world.client,
        token: userToken(),
        ...options,
        headers: { 'x-fapi-interaction-id': interactionId, ...options.headers },
      }),
    )

const opaqueToken = randomBytes(24).toString('base64url')

const key = newProofKey()
const keyToken = userToken({ cnf: { jkt: key.jkt } })

/** A token with a proof, which is good but for what is said. */
const proves =
  (path: string, claims: Overrides = {}): Provocation['act'] =>
  interactionId =>
    asks({
      path,
      token: undefined,
      headers: {
        Authorization: `DPoP ${keyToken}`,
        DPoP: proofFor(key, { htu: `https://${HOST}${path}`, token: keyToken }, claims),
      },
    } as unknown as Ask)(interactionId)

/** Nothing of the good client. */
const anonymous = { client: undefined, token: undefined } as unknown as Ask

const withClaims = (claims: Overrides, header: Overrides = {}): Provocation['act'] =>
  asks({
    token: world.issuer.token(
      { scope: 'basic', cnf: { 'x5t#S256': world.client.thumbprint }, ...claims },
      header,
    ),
  })

function answerOf({ status, rawHeaders, text }: Answered): Answer {
  const headers: [string, string][] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    headers.push([rawHeaders[i] as string, rawHeaders[i + 1] as string])
  return { status, headers, text, minted: false }
}

const writes =
  (bytes: (interactionId: string) => string): Provocation['act'] =>
  async interactionId => {
    const client = await connectRaw(world, postern)
    try {
      client.write(bytes(interactionId))
      return rawAnswerOf(await client.answer(), true)
    } finally {
      client.destroy()
    }
  }

function rawAnswerOf({ status, headers, body }: RawMessage, minted: boolean): Answer {
  return { status, headers, text: body.toString(), minted }
}

const PROVOCATIONS: Readonly<Partial<Record<DenialCode, Provocation>>> = {
  request_malformed: {
    row: ROW.framing,
    act: asks({ ...anonymous, path: '/open/a?b=%zz' }),
    detail: 'malformed percent-encoding in the query',
  },
  path_ambiguous: {
    row: ROW.framing,
    act: asks({ path: '/accounts/../accounts/1' }),
    detail: 'empty or dot segment',
  },
  host_unknown: {
    row: ROW.framing,
    act: asks({ headers: { Host: 'other.bank.example' } }),
    detail: 'the Host is not in server.publicUrl',
  },
  header_too_large: {
    row: ROW.largeHeader,
    act: writes(
      id =>
        `GET /open/a HTTP/1.1\r\nHost: ${HOST}\r\nx-fapi-interaction-id: ${id}\r\nX-Pad: ${'x'.repeat(40_000)}\r\n\r\n`,
    ),
    detail: 'HPE_HEADER_OVERFLOW',
  },
  request_timeout: {
    row: ROW.slow,
    act: writes(id => `GET /open/a HTTP/1.1\r\nHost: ${HOST}\r\nx-fapi-interaction-id: ${id}\r\nX-Half:`),
    detail: 'ERR_HTTP_REQUEST_TIMEOUT',
  },
  body_too_large: {
    row: ROW.largeBody,
    act: asks({ ...anonymous, method: 'POST', path: '/open/a', body: 'x'.repeat(2048) }),
    detail: 'more than 1024 bytes',
  },
  route_unknown: {
    row: ROW.noRoute,
    act: asks({ path: '/accounts' }),
    detail: 'no route has this path',
  },
  method_not_allowed: {
    row: ROW.noMethod,
    act: asks({ method: 'PUT', path: '/open/a', body: 'x' }),
    detail: 'the path has DELETE, GET, OPTIONS, POST',
    allow: 'DELETE, GET, OPTIONS, POST',
  },
  credentials_missing: {
    row: ROW.noCredentials,
    act: asks({ token: undefined } as unknown as Ask),
    detail: 'no Authorization header',
  },
  credentials_malformed: {
    row: ROW.badCredentials,
    act: asks({ headers: { Authorization: `Bearer ${userToken()} ${userToken()}` } }),
    detail: 'not one scheme and one token',
  },
  credentials_multiple: {
    row: ROW.badCredentials,
    act: asks({ headers: { Authorization: [`Bearer ${userToken()}`, `Bearer ${userToken()}`] } }),
    detail: 'several Authorization headers',
  },
  certificate_missing: {
    row: ROW.unauthenticated,
    act: asks({ client: undefined } as unknown as Ask),
    detail: 'no certificate on this connection',
  },
  certificate_untrusted: {
    row: ROW.unauthenticated,
    act: asks({ client: stranger, token: boundToken(world, stranger, 'authorization_code') }),
    detail: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  },
  certificate_expired: {
    row: ROW.unauthenticated,
    act: asks({ client: expired, token: boundToken(world, expired, 'authorization_code') }),
    detail: /^valid \d{4}-.*Z to \d{4}-.*Z$/,
  },
  certificate_revoked: {
    row: ROW.unauthenticated,
    act: asks({ client: revoked, token: boundToken(world, revoked, 'authorization_code') }),
    detail: `serial ${revoked.certificate.serialNumber}`,
  },
  certificate_not_allowed: {
    row: ROW.partnerDenied,
    act: asks({ path: '/narrow/partners' }),
    detail: 'not in certificates of the route',
  },
  token_malformed: {
    row: ROW.unauthenticated,
    act: asks({ token: userToken().replace(/\.[^.]*$/, '') }),
    detail: 'not three parts separated by dots',
  },
  token_issuer_unknown: {
    row: ROW.unauthenticated,
    act: withClaims({ iss: 'https://evil.example' }),
    detail: 'iss is "https://evil.example"',
  },
  token_algorithm_not_allowed: {
    row: ROW.unauthenticated,
    act: withClaims({}, { alg: 'HS256' }),
    detail: 'alg is "HS256"',
  },
  token_signature_invalid: {
    row: ROW.unauthenticated,
    act: asks({ token: signedByAnother() }),
    detail: '1 keys tried',
  },
  token_type_wrong: {
    row: ROW.unauthenticated,
    act: withClaims({}, { typ: 'JWT' }),
    detail: 'typ is "JWT"',
  },
  token_inactive: {
    row: ROW.unauthenticated,
    act: asks({ ...anonymous, path: '/asked/opaque', token: opaqueToken }),
    detail: 'opaque says that the token is not active',
    dpop: 'offered',
  },
  token_revoked: {
    row: ROW.unauthenticated,
    act: interactionId =>
      asks({
        ...anonymous,
        path: '/asked/jwt',
        token: world.issuer.token({ iss: 'https://revoking.example' }),
      })(interactionId),
    detail: 'revoking says that the token is not active',
    dpop: 'offered',
  },
  token_claim_missing: {
    row: ROW.unauthenticated,
    act: withClaims({ jti: undefined }),
    detail: 'jti is absent or of the wrong type',
  },
  token_audience_wrong: {
    row: ROW.unauthenticated,
    act: withClaims({ aud: 'https://other.bank.example' }),
    detail: `aud does not name https://${HOST}`,
  },
  token_expired: {
    row: ROW.unauthenticated,
    act: withClaims({ iat: now - 600, exp: now - 300 }),
    detail: /^exp was 3\d\d s ago$/,
  },
  token_not_yet_valid: {
    row: ROW.unauthenticated,
    act: withClaims({ nbf: now + 250 }),
    detail: /^nbf or iat is 2\d\d s ahead$/,
  },
  token_lifetime_too_long: {
    row: ROW.unauthenticated,
    act: withClaims({ iat: now, exp: now + 901 }),
    detail: 'exp - iat is 901 s, more than 900 s',
  },
  binding_missing: {
    row: ROW.unauthenticated,
    act: withClaims({ cnf: undefined }),
    detail: 'the token has no cnf',
  },
  binding_mismatch: {
    row: ROW.unauthenticated,
    act: asks({ client: world.otherClient }),
    detail: `bound to ${world.client.thumbprint.slice(0, 8)}…, presented ${world.otherClient.thumbprint.slice(0, 8)}…`,
  },
  proof_missing: {
    row: ROW.unauthenticated,
    act: asks({ path: '/keys/1', token: keyToken }),
    detail: 'cnf has jkt',
    dpop: 'offered',
  },
  proof_invalid: {
    row: ROW.badProof,
    act: proves('/keys/1', { htm: 'PUT' }),
    detail: 'htm is another method',
    dpop: 'tried',
  },
  proof_nonce_required: {
    row: ROW.wantsNonce,
    act: proves('/keys/1/fresh'),
    detail: 'no nonce',
    dpop: 'tried',
  },
  proof_replayed: {
    row: ROW.badProof,
    act: async interactionId => {
      const twice = proves('/keys/1', { jti: 'twice' })
      if ((await twice(randomUUID())).status !== 200) throw new Error('a good proof was refused')
      return twice(interactionId)
    },
    detail: 'the jti was used before',
    dpop: 'tried',
  },
  // The one proof that there is room for is that of proof_replayed.
  store_unavailable: {
    row: ROW.storeFull,
    act: proves('/keys/1'),
    detail: '1 used proofs are remembered',
  },
  rate_limited: {
    row: ROW.tooMany,
    act: async interactionId => {
      const once = asks({ path: '/keys/1/once', ...anonymous })
      if ((await once(randomUUID())).status !== 401) throw new Error('limited at once')
      return once(interactionId)
    },
    detail: 'more than 1 in 3600 s by address',
  },
  flow_unknown: {
    row: ROW.forbidden,
    act: withClaims({ sub: 'client-1', auth_time: now }),
    detail: 'rule 1 of rfc9068 says client_credentials, but auth_time shows a user',
  },
  flow_not_allowed: {
    row: ROW.forbidden,
    act: withClaims({ sub: 'client-1' }),
    detail: 'client_credentials (rule 1 of rfc9068), the route wants authorization_code',
  },
  scope_insufficient: {
    row: ROW.forbidden,
    act: withClaims({ scope: 'contact notes' }),
    detail: 'lacks one of basic, detailed',
    named: 'scope="basic"',
  },
  stepup_required: {
    row: ROW.wantsStepUp,
    act: asks({
      path: '/narrow/payments',
      token: userToken({ acr: 'urn:bank:bronze', auth_time: now - 900 }),
    }),
    detail:
      /^acr is none of urn:bank:gold, urn:bank:silver and the user authenticated 9\d\d s ago, more than 300 s$/,
    // RFC 9470 section 3
    named: 'acr_values="urn:bank:gold urn:bank:silver", max_age="300"',
  },
  claim_mismatch: {
    row: ROW.otherResource,
    act: asks({ path: '/narrow/consents/1', token: userToken({ consent_id: '2' }) }),
    detail: 'not so: consent_id equals path.consentId',
  },
  issuer_unavailable: {
    row: ROW.issuerDown,
    act: interactionId =>
      asks({ path: '/dark/1', token: world.issuer.token({ iss: 'https://dark.example' }) })(interactionId),
    detail: 'no keys of dark so far',
  },
  upstream_unavailable: {
    row: ROW.upstreamDown,
    act: asks({ ...anonymous, path: '/gone/1' }),
    detail: 'gone: ECONNREFUSED',
  },
  upstream_timeout: {
    row: ROW.upstreamSlow,
    act: interactionId => {
      broken.script(hang())
      return asks({ ...anonymous, path: '/broken/1' })(interactionId)
    },
    detail: 'broken: no answer within 300 ms',
  },
  upstream_malformed: {
    row: ROW.upstreamDown,
    act: interactionId => {
      broken.script(raw('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'))
      return asks({ ...anonymous, path: '/broken/1' })(interactionId)
    },
    detail: 'broken: repeated Content-Length',
  },
  overloaded: {
    row: ROW.busy,
    act: duringARush,
    detail: 'as many requests as server.limits.requests are being handled',
  },
  draining: {
    row: ROW.leaving,
    act: upgradeDuringShutdown,
    detail: 'an upgrade during shutdown',
  },
}

/** A token of a client that knows the issuer's key id and not its key. */
function signedByAnother(): string {
  const [header, payload] = userToken().split('.') as [string, string]
  const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Overrides
  return signToken(decode(payload), decode(header), newSigningKey('ES256').privateKey)
}

/** Three others wait for the API meanwhile. */
async function duringARush(interactionId: string): Promise<Answer> {
  const usual = counting.respond
  const held: ServerResponse[] = []
  counting.respond = (_, response) => void held.push(response)
  const path = '/open/a'
  const others = [1, 2, 3].map(() => ask(world, postern, { path }))
  await until(
    () => held.length === others.length,
    () => `${held.length} wait`,
  )
  const answer = await asks({ ...anonymous, path })(interactionId)
  counting.respond = usual
  for (const response of held) response.end()
  await Promise.all(others)
  return answer
}

/** The last act: the process ends after it. */
async function upgradeDuringShutdown(interactionId: string): Promise<Answer> {
  const client: RawClient = await connectRaw(world, postern, world.client)
  client.write(`GET /open/a HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  if ((await client.answer()).status !== 200) throw new Error('not served before the shutdown')
  postern.child.kill('SIGTERM')
  await untilAsync(
    async () => (await postern.admin('/readyz')).text.includes('draining'),
    () => 'readiness did not end',
  )
  const lines = [
    'GET /accounts/1/live HTTP/1.1',
    `Host: ${HOST}`,
    `Authorization: Bearer ${userToken()}`,
    `x-fapi-interaction-id: ${interactionId}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  ]
  client.write(`${lines.join('\r\n')}\r\n\r\n`)
  const answer = rawAnswerOf(await client.answer(), false)
  await client.closed()
  return answer
}

/** Requests of these acts that are good ones, which shows that counting works. */
const GOOD_ONES: Readonly<Partial<Record<DenialCode, number>>> = {
  draining: 1,
  proof_replayed: 1,
  overloaded: 3,
}

interface Provoked {
  readonly sent: string
  readonly answer: Answer | Error
  /** Requests that reached the API behind meanwhile. */
  readonly forwarded: number
}

const codes = Object.keys(DENIALS) as DenialCode[]
const provoked = new Map<DenialCode, Provoked>()
// The process is over after `draining`.
for (const code of codes.toSorted((a, b) => Number(a === 'draining') - Number(b === 'draining'))) {
  const provocation = PROVOCATIONS[code]
  if (provocation === undefined) continue
  const sent = randomUUID().toUpperCase()
  const before = counting.requests.length
  const answer = await provocation.act(sent).catch((problem: unknown) => problem as Error)
  const own = GOOD_ONES[code] ?? 0
  provoked.set(code, { sent, answer, forwarded: counting.requests.length - before - own })
}
await postern.stop()
const log = postern.log()

t.test('every code of the catalogue is provoked here, but for faults of Postern itself', async t => {
  const known = codes.filter(code => !EXEMPT.includes(code))
  t.strictSame(
    known.filter(code => PROVOCATIONS[code] === undefined),
    [],
  )
  t.strictSame(
    Object.keys(PROVOCATIONS).filter(code => !codes.includes(code as DenialCode)),
    [],
  )
  t.ok(EXEMPT.length <= 1, EXEMPT.join(', '))
  t.strictSame(
    codes.filter(code => EXEMPT.includes(code) && provoked.has(code)),
    [],
  )
})

for (const [code, { sent, answer, forwarded }] of provoked) {
  const { row, detail, named, allow, dpop } = PROVOCATIONS[code] as Provocation
  const [status, fdx, error] = row
  t.test(
    `${code}: the client gets ${status} and ${fdx}, the operator the reason, the API nothing`,
    async t => {
      if (answer instanceof Error) throw answer
      const values = (name: string) =>
        answer.headers.filter(([field]) => field.toLowerCase() === name).map(([, value]) => value)
      const { message } = DENIALS[code]
      t.equal(answer.status, status)
      t.strictSame(JSON.parse(answer.text), { code: fdx, message }) // §13.2
      t.strictSame(values('content-type'), ['application/json'])
      t.strictSame(values('content-length'), [String(Buffer.byteLength(answer.text))])
      t.strictSame(values('cache-control'), ['no-store'])
      t.strictSame(values('server'), [])

      // BT-05 to BT-08, RFC 6750 section 3
      const also = named === undefined ? '' : `, ${named}`
      const challenges =
        error === null
          ? []
          : error === BARE
            ? ['Bearer']
            : [
                `${dpop === 'tried' ? `${DPOP},` : 'Bearer'} error="${error}", error_description="${message}"${also}`,
                ...(dpop === 'offered' ? [DPOP] : []),
              ]
      t.strictSame(values('www-authenticate'), challenges)
      t.strictSame(values('allow'), allow === undefined ? [] : [allow])

      // F1-10, F1-11
      const dates = values('date')
      t.equal(dates.length, 1)
      t.ok(Math.abs(Date.parse(dates[0] as string) - Date.now()) < 300_000, String(dates[0]))
      const [interactionId = '', ...more] = values('x-fapi-interaction-id')
      t.strictSame(more, [])
      if (answer.minted)
        t.match(interactionId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      else t.equal(interactionId, sent)

      t.equal(forwarded, 0)
      const lines = log.filter(line => line.msg === 'request' && line.interactionId === interactionId)
      t.equal(lines.length, 1)
      t.match(lines[0], { code, status, outcome: status >= 500 ? 'failed' : 'denied' })
      if (typeof detail === 'string') t.equal(lines[0]?.detail, detail)
      else t.match(lines[0]?.detail, detail)
      // The words for the operator are not for the client.
      t.notOk(answer.text.includes(String(lines[0]?.detail)))
    },
  )
}

t.test('what the upstream did wrong it did to one request, and it gets no second one', async t => {
  t.equal(broken.requests.length, 1)
})

t.test('no token and no part of one is in what the process wrote', async t => {
  t.ok(log.length > provoked.size)
  t.notMatch(postern.output(), /eyJ/)
  t.notMatch(postern.output(), /[\w-]{80,}/)
  t.notOk(postern.output().includes(opaqueToken))
  t.notOk(postern.output().includes(RS_SECRET))
})
