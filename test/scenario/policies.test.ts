import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type EndpointRow, namedScopes, readEndpointTable, scopesOf } from '../../demo/endpoint-table.js'
import type { DenialCode } from '../../src/decision/denials.js'
import { thumbprintOf } from '../../src/request/certificate-facts.js'
import {
  type Answered,
  ask,
  type Identity,
  MAIN,
  startCounting,
  startPostern,
  type Trusting,
} from '../support/postern.js'
import { ROOT } from '../support/root.js'
import { createTokenIssuer, type Overrides } from '../support/token-issuer.js'

// The policies.yaml of the repository, with certificates of `postern certs`, judged by demo/api-security.md: every row
// with the right and the wrong token, scope, flow and certificate. Only addresses are set from outside.

/** The Host and audience that the policy names. */
const ORIGIN = 'https://localhost:8443'

const directory = t.testdir()
const inDirectory = (name: string) => join(directory, name)
execFileSync(process.execPath, [MAIN, 'certs', inDirectory('certs')], { stdio: 'pipe' })
const pem = (name: string) => readFileSync(inDirectory(`certs/${name}`), 'utf8')
const identity = (name: string) => {
  const certificatePem = pem(`${name}.pem`)
  return {
    certificatePem,
    keyPem: pem(`${name}.key`),
    thumbprint: thumbprintOf(new X509Certificate(certificatePem).raw),
  }
}
const [client, otherClient] = [identity('client'), identity('other-client')]

// The keys of the authorization server come from a server with the certificate that the policy trusts for it.
const signer = await createTokenIssuer({ tls: false, audience: ORIGIN })
const keyServer = createServer({ cert: pem('server.pem'), key: pem('server.key') }, (request, response) => {
  response.writeHead(request.url === '/jwks' ? 200 : 404, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(signer.jwks))
})
keyServer.listen(0, '127.0.0.1')
await once(keyServer, 'listening')
const issuer = `https://localhost:${(keyServer.address() as AddressInfo).port}`
const counting = await startCounting()

const postern = await startPostern(
  {
    write: (name, text) => {
      writeFileSync(inDirectory(name), text)
      return inDirectory(name)
    },
  },
  readFileSync(join(ROOT, 'policies.yaml'), 'utf8'),
  {
    POSTERN_LISTEN: '127.0.0.1:0',
    POSTERN_ADMIN_LISTEN: '127.0.0.1:0',
    POSTERN_PUBLIC_URL: ORIGIN,
    POSTERN_ISSUER: issuer,
    POSTERN_UPSTREAM: counting.url,
  },
)
/** Keeps a connection for each certificate. */
const agent = new Agent({ keepAlive: true })
t.teardown(async () => {
  agent.destroy()
  await postern.stop()
  counting.close()
  keyServer.close()
  keyServer.closeAllConnections()
  await signer.close()
})

const rows = readEndpointTable()
const everyScope = scopesOf(rows)
const trust: Trusting = { serverCa: { certificatePem: pem('ca.pem') } }

interface Attempt {
  readonly token?: string
  readonly client?: Identity
  readonly method?: string
  readonly path?: string
}

const pathOf = ({ endpoint }: EndpointRow) => endpoint.replaceAll(/\{\w+\}/g, '7f3a')

function send(
  row: EndpointRow,
  { method = row.method, path = pathOf(row), ...attempt }: Attempt,
): Promise<Answered> {
  return ask(trust, postern, {
    ...attempt,
    agent,
    method,
    path,
    headers: { Host: new URL(ORIGIN).host, 'Content-Type': 'application/json' },
    tls: { servername: 'localhost' },
    ...(method === 'POST' || method === 'PATCH' ? { body: '{}' } : {}),
  })
}

const otherFlow = {
  authorization_code: 'client_credentials',
  client_credentials: 'authorization_code',
} as const

/** A token as oidc-provider writes them: of client credentials, sub is the client. */
function tokenOf(flow: EndpointRow['flow'], scopes: readonly string[], bound: typeof client | null): string {
  const claims: Overrides = {
    iss: issuer,
    client_id: 'data-recipient',
    sub: flow === 'authorization_code' ? 'jane' : 'data-recipient',
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
    ...(bound !== null && { cnf: { 'x5t#S256': bound.thumbprint } }),
  }
  return signer.token(claims)
}

/** Each list of scopes that must be enough: of alternatives each alone, and optional ones with and without. */
function sufficient({ scopes }: EndpointRow): (readonly string[])[] {
  if (scopes.kind === 'none') return [[], [everyScope[0] as string]]
  if (scopes.kind === 'any') return [...scopes.scopes.map(scope => [scope]), scopes.scopes, everyScope]
  return [scopes.scopes, [...scopes.scopes, ...scopes.optional], [...everyScope].reverse()]
}

/** Lists of scopes that must not be enough. */
function insufficient({ scopes }: EndpointRow): (readonly string[])[] {
  if (scopes.kind === 'none') return []
  const named = namedScopes(scopes)
  const required = scopes.scopes
  return [
    [],
    everyScope.filter(scope => !required.includes(scope)),
    named.map(scope => scope.toUpperCase()),
    named.map(scope => `${scope}x`),
    required.map(scope => scope.replace(/:[^:]*$/, '')),
    ...(scopes.kind === 'all' && scopes.scopes.length > 1
      ? scopes.scopes.map(one => required.filter(s => s !== one))
      : []),
  ]
}

const CHALLENGE: Partial<Record<DenialCode, string>> = {
  credentials_missing: 'Bearer',
  certificate_missing: 'Bearer error="invalid_token"',
  binding_missing: 'Bearer error="invalid_token"',
  binding_mismatch: 'Bearer error="invalid_token"',
  flow_not_allowed: 'Bearer error="insufficient_scope"',
  scope_insufficient: 'Bearer error="insufficient_scope"',
}

/** What the log must say of a request; looked at when a row is done, because the log is written with a delay. */
interface Expected {
  readonly what: string
  readonly interactionId: unknown
  readonly code: DenialCode
}

async function inLog(t: Test, expected: readonly Expected[]) {
  for (const { what, interactionId, code } of expected) {
    const line = await postern.logged(line => line.interactionId === interactionId)
    t.equal(line.code, code, `${what}: ${code}`)
  }
}

async function refused(
  t: Test,
  what: string,
  answer: Promise<Answered>,
  status: number,
  code: DenialCode,
): Promise<Expected> {
  const before = counting.requests.length
  const { status: found, headers, json } = await answer
  t.equal(found, status, `${what}: ${status}`)
  t.equal(counting.requests.length, before, `${what}: the API saw nothing`)
  t.match(json(), { code: status === 401 ? '603' : '602' }, what)
  const challenge = String(headers['www-authenticate'])
  const expected = CHALLENGE[code] as string
  t.ok(
    challenge.startsWith(expected) && challenge.includes('error=') === expected.includes('error='),
    `${what}: ${challenge}`,
  )
  return { what, interactionId: headers['x-fapi-interaction-id'], code }
}

async function allowed(t: Test, what: string, row: EndpointRow, attempt: Attempt) {
  const before = counting.requests.length
  const { status, headers } = await send(row, attempt)
  t.equal(status, 200, `${what} ${headers['www-authenticate'] ?? ''}`)
  const seen = counting.requests.slice(before)
  t.equal(seen.length, 1, what)
  t.equal(seen[0]?.method, row.method, what)
  t.equal(seen[0]?.url, pathOf(row), what)
  return seen[0]?.headers ?? {}
}

t.test('the table of the demo has its 17 rows', async t => {
  t.equal(rows.length, 17)
})

for (const row of rows) {
  const home = row.mutualTls ? client : null
  const right = (bound: typeof client | null = home) =>
    tokenOf(row.flow, sufficient(row)[0] as string[], bound)
  const shown = (one: Identity | null) => (one === null ? {} : { client: one })

  t.test(
    `${row.method} ${row.endpoint} is served to those that the table says, and to nobody else`,
    async t => {
      for (const scopes of sufficient(row)) {
        const token = tokenOf(row.flow, scopes, home)
        const headers = await allowed(t, `good: ${scopes.join(' ') || 'no scope'}`, row, {
          token,
          ...shown(home),
        })
        // F1-06
        t.equal(headers['postern-client-id'], 'data-recipient')
        t.equal(headers['postern-flow'], row.flow)
        t.equal(headers['postern-scopes'], scopes.length === 0 ? undefined : scopes.join(' '))
        t.equal(headers['postern-route'], `${row.method} ${row.endpoint}`)
      }

      const cases: [what: string, attempt: Attempt, status: number, code: DenialCode][] = [
        ['no token', shown(home), 401, 'credentials_missing'],
        ...insufficient(row).map((scopes): [string, Attempt, number, DenialCode] => [
          `wrong scope: ${scopes.join(' ') || 'none'}`,
          { token: tokenOf(row.flow, scopes, home), ...shown(home) },
          403,
          'scope_insufficient',
        ]),
        // FD-03, over the certificate of the client, so that nothing but the flow is wrong
        [
          'wrong flow',
          { token: tokenOf(otherFlow[row.flow], everyScope, client), client },
          403,
          'flow_not_allowed',
        ],
      ]
      if (row.mutualTls) {
        cases.push(
          ['no certificate', { token: right() }, 401, 'certificate_missing'],
          ['unbound, no certificate', { token: right(null) }, 401, 'certificate_missing'],
          ['unbound', { token: right(null), client }, 401, 'binding_missing'],
          ['other certificate', { token: right(), client: otherClient }, 401, 'binding_mismatch'],
        )
        const own = { token: right(otherClient), client: otherClient }
        await allowed(t, 'the other client with a token of its own', row, own)
      } else {
        // RFC 8705 section 3: a binding that is there counts everywhere.
        cases.push(
          ['bound, no certificate', { token: right(client) }, 401, 'binding_mismatch'],
          [
            'bound, other certificate',
            { token: right(client), client: otherClient },
            401,
            'binding_mismatch',
          ],
        )
        await allowed(t, 'unbound, whatever certificate', row, { token: right(null), client: otherClient })
        await allowed(t, 'bound to the certificate shown', row, { token: right(client), client })
      }
      const expected: Expected[] = []
      for (const [what, attempt, status, code] of cases)
        expected.push(await refused(t, what, send(row, attempt), status, code))
      await inLog(t, expected)
    },
  )
}

t.test('what is not in the table is not there: other methods, other paths', async t => {
  const before = counting.requests.length
  const token = tokenOf('authorization_code', everyScope, client)
  const known = new Set(rows.map(row => `${row.method} ${row.endpoint}`))
  const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
  const status = async (row: EndpointRow, attempt: Attempt) =>
    (await send(row, { token, client, ...attempt })).status
  const seen = new Set<string>()
  for (const row of rows) {
    if (!seen.has(row.endpoint))
      for (const method of methods.filter(method => !known.has(`${method} ${row.endpoint}`)))
        t.equal(await status(row, { method }), 405, `${method} ${row.endpoint}`)
    seen.add(row.endpoint)
    const path = pathOf(row)
    for (const other of [`${path}/`, path.toUpperCase(), `/v1${path}`, `${path}/7f3a/7f3a/7f3a`])
      t.equal(await status(row, { path: other }), 404, other)
    for (const other of [
      `${path}//`,
      `/${path}`,
      path.replace(/([^/]+)$/, './$1'),
      `${path}/..`,
      `${path};a=b`,
    ])
      t.equal(await status(row, { path: other }), 400, other)
  }
  t.equal(await status(rows[0] as EndpointRow, { path: '/' }), 404)
  t.equal(counting.requests.length, before)
})
