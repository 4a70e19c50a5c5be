/** Objects, authorization details, step-up, certificates and clients, against the real process. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import t from 'tap'
import type { Issued } from '../support/pki.js'
import {
  type Answered,
  ask,
  boundToken,
  createWorld,
  HOST,
  MAIN,
  policyText,
  startCounting,
  startPostern,
} from '../support/postern.js'

const world = await createWorld()
const upstream = await startCounting()
const named = await world.clientCa.issue({ commonName: 'client-1', sanUri: ['spiffe://bank/client-1'] })
const spkiOf = ({ certificate }: Issued) =>
  createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64')

const postern = await startPostern(
  world,
  policyText(world, {
    upstream: upstream.url,
    moreIssuers: `  mapped:
    issuer: https://mapped.example
    audience: [https://${HOST}]
    algorithms: [ES256]
    keys: { url: ${world.issuer.jwksUrl}, cooldown: 1s, ca: issuer-ca.pem }
    flow: { preset: rfc9068 }
    clients:
      partner-b: { certificates: [{ spki: "${spkiOf(world.otherClient)}" }] }
      "*": { certificates: [{ commonName: client.id }] }`,
    apis: `
  - name: Consents
    base: /consents
    security: [mtls, oauth2]
    flow: authorization_code
    errors: problem
    scopes: none
    routes:
      GET /{consentId}:
        claims: { fdxConsentId: { equals: path.consentId, otherwise: 404 } }
      GET /{consentId}/plain:
        errors: fdx
        claims: { fdxConsentId: { equals: path.consentId } }
  - name: Clusters
    base: /clusters
    security: [mtls, oauth2]
    flow: authorization_code
    scopes: none
    routes:
      GET /any:
        claims: { authorization_details: { type: fdx_v1.0 } }
      GET /transactions:
        claims:
          authorization_details:
            type: fdx_v1.0
            where: { consentRequest.resources: { some: { dataClusters: { includes: TRANSACTIONS } } } }
  - name: Payments
    base: /payments
    security: [mtls, oauth2]
    flow: authorization_code
    scopes: none
    routes:
      POST /strong: { acr: [urn:bank:gold, urn:bank:silver], maxAuthAge: 5m }
  - name: Partners
    base: /partners
    security: [mtls]
    certificates: [{ commonName: client-b, issuer: CN=Test client CA }, { uri: "spiffe://bank/client-1" }]
    routes:
      GET /list: {}
      GET /everybody: { certificates: any }
  - name: Mapped
    base: /mapped
    security: [mtls, oauth2]
    issuer: mapped
    flow: client_credentials
    scopes: none
    routes:
      GET /events: {}
`,
  }),
)
t.teardown(async () => {
  await postern.stop()
  upstream.close()
  await world.close()
})

const get = (path: string, claims: Record<string, unknown> = {}, client = world.client, method = 'GET') =>
  ask(world, postern, {
    path,
    client,
    method,
    token: boundToken(world, client, 'authorization_code', claims),
  })

/** Everything that a client can see but the date and the id of the interaction, which are never the same. */
function visible({ status, rawHeaders, text }: Answered) {
  const headers: [string, string][] = []
  for (let at = 0; at < rawHeaders.length; at += 2)
    headers.push([rawHeaders[at] as string, rawHeaders[at + 1] as string])
  return {
    status,
    headers: headers.filter(([name]) => !/^(?:date|x-fapi-interaction-id)$/i.test(name)),
    text,
  }
}

t.test('a consent of somebody else cannot be told from a path that does not exist', async t => {
  const mine = { fdxConsentId: 'c-1' }
  t.equal((await get('/consents/c-1', mine)).status, 200)
  const before = upstream.requests.length
  const [foreign, unknown] = [await get('/consents/c-2', mine), await get('/nowhere/c-2', mine)]
  t.equal(foreign.status, 404)
  t.same(visible(foreign), visible(unknown))
  for (const [path, claims] of [
    ['/consents/c-1', {}],
    ['/consents/C-1', mine],
    ['/consents/c-1%20', mine],
    ['/consents/c-1', { fdxConsentId: ['c-1'] }],
    ['/consents/c-1', { fdxConsentId: null }],
  ] as const)
    t.same(visible(await get(path, claims)), visible(unknown), path)
  t.equal(upstream.requests.length, before, 'nothing was forwarded')
  const line = await postern.logged(({ path, status }) => path === '/consents/c-2' && status === 404)
  t.equal(line.code, 'claim_mismatch', 'the log has the truth')
  t.equal(line.route, 'GET /consents/{consentId}')
  t.notMatch(JSON.stringify(line.detail), /c-1/)
  t.match(
    (await postern.admin('/metrics')).text,
    /postern_denials_total\{route="GET \/consents\/\{consentId\}",code="claim_mismatch"\} [1-9]/,
  )
})

t.test('a consent id that needs escapes is decoded once', async t => {
  t.equal((await get('/consents/a%20b', { fdxConsentId: 'a b' })).status, 200)
  t.equal((await get('/consents/a%20b', { fdxConsentId: 'a%20b' })).status, 404)
})

t.test('without otherwise the refusal says what it is', async t => {
  const answer = await get('/consents/c-2/plain', { fdxConsentId: 'c-1' })
  t.equal(answer.status, 403)
  t.equal(answer.json().code, '602')
})

t.test('authorization details grant by type, and by data cluster', async t => {
  const detail = (type: string, ...dataClusters: string[]) => ({
    authorization_details: [
      { type, consentRequest: { resources: [{ resourceType: 'ACCOUNT', dataClusters }] } },
    ],
  })
  const cases: [string, Record<string, unknown>, number][] = [
    ['/clusters/any', {}, 403],
    ['/clusters/any', detail('payment_initiation', 'TRANSACTIONS'), 403],
    ['/clusters/any', detail('fdx_v1.0'), 200],
    ['/clusters/transactions', detail('fdx_v1.0', 'ACCOUNT_BASIC'), 403],
    ['/clusters/transactions', detail('unknown', 'TRANSACTIONS'), 403],
    ['/clusters/transactions', detail('fdx_v1.0', 'ACCOUNT_BASIC', 'TRANSACTIONS'), 200],
  ]
  for (const [path, claims, status] of cases) {
    const answer = await get(path, claims)
    t.equal(answer.status, status, `${path} ${JSON.stringify(claims)}`)
    if (status === 403) t.equal(answer.json().code, '602')
  }
})

t.test('weak or old authentication is challenged as RFC 9470 says', async t => {
  const now = Math.floor(Date.now() / 1000)
  const strong = { acr: 'urn:bank:gold', auth_time: now - 60 }
  t.equal((await get('/payments/strong', strong, world.client, 'POST')).status, 200)
  for (const claims of [
    {},
    { acr: 'urn:bank:gold' },
    { auth_time: now },
    { ...strong, acr: 'urn:bank:bronze' },
    { ...strong, auth_time: now - 3600 },
  ]) {
    const answer = await get('/payments/strong', claims, world.client, 'POST')
    t.equal(answer.status, 401)
    t.equal(answer.json().code, '603')
    t.match(
      answer.headers['www-authenticate'],
      /^Bearer error="insufficient_user_authentication", error_description="[^"]+", acr_values="urn:bank:gold urn:bank:silver", max_age="300"$/,
    )
  }
})

t.test('a route lets in the certificates that it lists', async t => {
  const visit = (path: string, client: Issued) => ask(world, postern, { path, client })
  t.equal((await visit('/partners/list', world.otherClient)).status, 200)
  t.equal((await visit('/partners/list', named)).status, 200)
  const refused = await visit('/partners/list', world.client)
  t.equal(refused.status, 403)
  t.equal(refused.json().code, '403')
  t.equal(refused.headers['www-authenticate'], undefined)
  t.equal((await visit('/partners/everybody', world.client)).status, 200)
  const line = await postern.logged(({ code }) => code === 'certificate_not_allowed')
  t.equal(line.route, 'GET /partners/list')
})

t.test('a token serves its client with the certificate of that client only', async t => {
  const visit = (clientId: string, client: Issued) =>
    ask(world, postern, {
      path: '/mapped/events',
      client,
      token: boundToken(world, client, 'client_credentials', {
        iss: 'https://mapped.example',
        client_id: clientId,
        sub: clientId,
      }),
    })
  t.equal((await visit('client-1', named)).status, 200, 'the common name is the client id')
  t.equal((await visit('partner-b', world.otherClient)).status, 200, 'the key is pinned')
  for (const [clientId, client] of [
    ['client-1', world.client],
    ['partner-b', named],
    ['client-b', named],
  ] as const) {
    const answer = await visit(clientId, client)
    t.equal(answer.status, 403, clientId)
    t.equal(answer.json().code, '403')
  }
})

t.test('explain judges by the same rules', async t => {
  const claims = world.write(
    'claims.json',
    JSON.stringify({
      iss: world.issuer.url,
      aud: `https://${HOST}`,
      sub: 'user-1',
      client_id: 'client-1',
      iat: 1,
      exp: 4_000_000_000,
      jti: 'x',
      fdxConsentId: 'c-1',
      cnf: { 'x5t#S256': world.client.thumbprint },
    }),
  )
  const cert = world.write('client.pem', world.client.certificatePem)
  const out = execFileSync(process.execPath, [
    MAIN,
    'explain',
    'GET',
    '/consents/c-2',
    '-c',
    postern.policyFile,
    '--claims',
    claims,
    '--cert',
    cert,
    '--json',
  ])
  const explained = JSON.parse(out.toString()) as {
    code: string
    status: number
    checks: { check: string; pass: boolean; fact: string }[]
  }
  t.equal(explained.code, 'claim_mismatch')
  t.equal(explained.status, 404)
  t.match(
    explained.checks.find(({ check }) => check === 'claim-rules')?.fact,
    /not so: fdxConsentId equals path.consentId/,
  )
  t.same(
    explained.checks.filter(({ pass }) => !pass).map(({ check }) => check),
    ['claim-rules'],
  )
})
