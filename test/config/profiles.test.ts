import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Problem } from '../../src/config/problem.js'
import type { Configuration } from '../../src/config/settings.js'
import { PROFILE_NAMES, PROFILES } from '../../src/policy/profiles.js'
import { describeResource, metadataDocument } from '../../src/policy/resource-metadata.js'
import { loadAndSend } from '../support/load-and-send.js'
import { createAuthority } from '../support/pki.js'

const DAY = 24 * 60 * 60 * 1000
const ca = await createAuthority('CA', { notAfter: new Date(Date.now() + 100 * DAY) })
const server = await ca.issue({
  sanDns: ['localhost'],
  key: 'rsa-2048',
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
  notAfter: new Date(Date.now() + 60 * DAY),
})
const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' })
const directory = t.testdir()
let count = 0

interface Parts {
  readonly tls?: string
  readonly server?: string
  readonly issuer?: string
  readonly defaults?: string
  readonly api?: string
  readonly route?: string
  readonly top?: string
}

/** A policy of one route on line 20, or one less with an issuer of one line, with nothing to report unless a part says otherwise. */
function policy(parts: Parts): string {
  return `version: 1
server:
  listen: 127.0.0.1:0
  publicUrl: https://localhost:8443${parts.server === undefined ? '' : `\n  ${parts.server}`}
  tls: { profile: ${parts.tls ?? 'fapi1-advanced'}, certificates: [{ cert: server.pem, key: server.key }], clients: { ca: [ca.pem] } }
issuers:
  main:
    issuer: https://issuer.example
    audience: https://localhost:8443
    keys: { file: jwks.json }
    flow: { preset: rfc9068 }
    ${parts.issuer ?? 'algorithms: [ES256]\n    maxLifetime: 15m'}
upstreams: { provider: { url: http://127.0.0.1:8080 } }
defaults: { upstream: provider, issuer: main${parts.defaults ?? ''} }
apis:
  - name: A
    base: /a
    ${parts.api ?? 'security: [mtls, oauth2]'}
    routes: { GET /x: { flow: authorization_code, scopes: { all: [r] }${parts.route ?? ''} } }
${parts.top ?? ''}`
}

async function load(parts: Parts): Promise<Configuration | readonly Problem[]> {
  const here = join(directory, String(count++))
  mkdirSync(here)
  const files = {
    'server.pem': server.certificatePem,
    'server.key': server.keyPem,
    'ca.pem': ca.certificatePem,
    'jwks.json': JSON.stringify({ keys: [jwk] }),
    'p.yaml': policy(parts),
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(here, name), text)
  return loadAndSend(join(here, 'p.yaml'), {})
}

async function loaded(parts: Parts): Promise<Configuration> {
  const result = await load(parts)
  if ('settings' in result) return result
  throw new Error(JSON.stringify(result, null, 1))
}

const short = (found: readonly Problem[]) => found.map(one => `${one.line}:${one.column} ${one.message}`)
const warnings = async (parts: Parts) => (await loaded(parts)).warnings
const routeOf = async (parts: Parts) => (await loaded(parts)).routes.routes[0]

async function reports(t: Test, parts: Parts, ...expected: readonly string[]): Promise<void> {
  const found = await warnings(parts)
  t.strictSame(short(found), expected)
  t.ok(
    found.every(({ hint }) => hint !== ''),
    'each has a hint',
  )
}

async function refuses(t: Test, parts: Parts, expected: RegExp): Promise<void> {
  const result = await load(parts)
  t.notOk('settings' in result, String(expected))
  if (!('settings' in result)) t.match(short(result).join('\n'), expected)
}

t.test('without a profile nothing is claimed, and nothing changes', async t => {
  t.match(await routeOf({}), {
    profile: 'custom',
    headers: 'tolerant',
    token: { binding: 'required', maxLifetimeSeconds: null },
  })
  await reports(t, {})
})

t.test('the nearest level says the profile', async t => {
  t.equal((await routeOf({ defaults: ', profile: fapi2' }))?.profile, 'fapi2')
  const api = 'security: [mtls, oauth2]\n    profile: fdx-green'
  t.equal((await routeOf({ defaults: ', profile: fapi2', api }))?.profile, 'fdx-green')
  t.equal((await routeOf({ api, route: ', profile: fapi1-advanced' }))?.profile, 'fapi1-advanced')
  await refuses(t, { route: ', profile: fapi1' }, /^20:\d+ "profile" must be fapi1-advanced, fapi2,/)
})

t.test('a profile sets what nobody wrote, and what somebody wrote stays', async t => {
  const open = { api: 'security: [oauth2]', tls: 'fapi2' }
  t.match(await routeOf({ ...open, route: ', profile: fapi2' }), { token: { binding: 'required' } })
  t.match(await routeOf({ ...open, route: ', profile: fdx-green' }), {
    headers: 'strict',
    token: { binding: 'if-present', maxLifetimeSeconds: 900 },
  })
  t.match(await routeOf({ ...open, route: ', profile: fdx-blue' }), {
    headers: 'strict',
    token: { binding: 'required', maxLifetimeSeconds: 900 },
  })
  t.match(await routeOf({ ...open, route: ', profile: fdx-blue, headers: tolerant, binding: if-present' }), {
    headers: 'tolerant',
    token: { binding: 'if-present' },
  })
  await refuses(
    t,
    { api: 'flow: authorization_code', route: ', profile: fapi2' },
    /"GET \/x" has no security/,
  )
})

t.test('what conforms is not reported', async t => {
  for (const profile of ['fapi1-advanced', 'fapi2', 'custom'])
    await reports(t, { defaults: `, profile: ${profile}` })
  await reports(t, { api: 'security: [oauth2]', tls: 'fapi2', defaults: ', profile: fapi2' })
})

t.test('an unbound token never passes an mTLS route of a FAPI profile, whatever the TLS profile', async t => {
  for (const profile of ['fapi1-advanced', 'fapi2', 'fdx-blue'])
    for (const tls of ['compatible', 'fapi1-advanced'])
      await refuses(
        t,
        { tls, route: `, binding: if-present, profile: ${profile}` },
        /20:\d+ a token that is not bound to the client certificate would pass, which the profile .* forbids/,
      )
})

t.test('algorithms that FAPI excludes do not load on routes of its profiles', async t => {
  const issuer = 'algorithms: [ES256, RS256]\n    maxLifetime: 15m'
  for (const profile of ['fapi1-advanced', 'fapi2', 'fdx-blue'])
    await refuses(
      t,
      { tls: 'compatible', issuer, route: `, profile: ${profile}` },
      /12:25 RS256 is no algorithm of/,
    )
  await refuses(
    t,
    { tls: 'compatible', issuer: 'algorithms: [EdDSA]', route: ', profile: fapi1-advanced' },
    /12:18 EdDSA is no algorithm of FAPI 1\.0 Advanced/,
  )
  await loaded({ tls: 'compatible', issuer, route: ', profile: fdx-green' })
  await loaded({ tls: 'fapi2', issuer: 'algorithms: [EdDSA]', route: ', profile: fapi2' })
})

t.test('every setting that leaves its profile is reported where it stands', async t => {
  const oauth2 = { api: 'security: [oauth2]' }
  await reports(
    t,
    { ...oauth2, route: ', profile: fapi1-advanced' },
    '19:15 [oauth2] alone is not FAPI 1.0 Advanced-grade: no client certificate is asked for',
  )
  await reports(
    t,
    { ...oauth2, tls: 'fapi2', route: ', profile: fapi2, binding: if-present' },
    '19:15 [oauth2] alone is not FAPI 2.0-grade: a stolen token is good for anybody, unless it is bound',
    '20:98 a token that is bound to no key of the client would pass, which FAPI 2.0 does not have',
  )
  await reports(
    t,
    { tls: 'fapi2', route: ', profile: fapi1-advanced' },
    '5:19 the cipher suites of fapi2 are more than FAPI 1.0 Advanced allows, which routes have as their profile',
  )
  await reports(
    t,
    { issuer: 'algorithms: [ES256]', route: ', profile: fapi2' },
    '7:3 a revoked token passes until it expires, which leaves FAPI 2.0',
  )
  await reports(
    t,
    { issuer: 'algorithms: [ES256]\n    maxLifetime: 1h', route: ', profile: fdx-green, headers: tolerant' },
    '7:3 a revoked token passes until it expires, which leaves FDX Green',
    '13:18 tokens may live longer than FDX Green lets them, which routes have as their profile',
    '20:102 requests without the headers that FDX Green asks for are let in',
  )
  const typ = await warnings({
    issuer: 'algorithms: [ES256]\n    maxLifetime: 15m\n    typ: [at+jwt, jwt]',
    route: ', profile: fapi2',
  })
  t.match(short(typ).join('\n'), '14:10 typ jwt leaves FAPI 2.0')
})

t.test('routes without tokens leave every profile but custom', async t => {
  const api = 'security: [mtls]\n    profile: fapi2'
  const found = await load({ api })
  t.ok(!('settings' in found), 'flow and scopes have no meaning there')
  const text = policy({ api }).replace('flow: authorization_code, scopes: { all: [r] }', '')
  const here = join(directory, 'mtls')
  mkdirSync(here)
  for (const [name, content] of Object.entries({
    'server.pem': server.certificatePem,
    'server.key': server.keyPem,
    'ca.pem': ca.certificatePem,
    'jwks.json': JSON.stringify({ keys: [jwk] }),
    'p.yaml': text,
  }))
    writeFileSync(join(here, name), content)
  const result = await loadAndSend(join(here, 'p.yaml'), {})
  t.ok('settings' in result)
  if ('settings' in result) {
    t.match(short(result.warnings).join('\n'), '19:15 not FAPI 2.0: no access token is asked for')
    t.strictSame(result.routes.ownRoutes, [], 'nothing to describe: no token, no metadata')
  }
})

t.test('each demand of each profile names its clause', async t => {
  for (const name of PROFILE_NAMES)
    for (const [demand, value] of Object.entries(PROFILES[name])) {
      if (demand === 'title' || value === null) continue
      const clause = typeof value === 'string' ? value : (value as { clause: string }).clause
      t.match(clause, /FAPI|FDX|RFC/, `${name} ${demand}`)
    }
})

t.test('a route where the metadata is served does not load', async t => {
  const second = (key: string, more = '') =>
    `  - { name: B, base: /.well-known, security: public, routes: { "${key}": {${more}} } }\n`
  await refuses(
    t,
    { top: second('GET /oauth-protected-resource') },
    /21:64 GET \/\.well-known\/oauth-protected-resource is where the metadata/,
  )
  await refuses(
    t,
    { top: second('HEAD /oauth-protected-resource/a') },
    /21:64 HEAD .*\/a is where the metadata/,
  )
  await refuses(
    t,
    { top: second('GET /y', ' id: GET /.well-known/oauth-protected-resource ') },
    /is where the metadata/,
  )
  await loaded({ top: second('GET /oauth-protected-resource'), server: 'resourceMetadata: false' })
  const { routes } = await loaded({ top: second('GET /{rest...}') })
  t.match(routes.match('GET', { path: '/.well-known/oauth-protected-resource/a', ambiguities: [] }), {
    route: { upstream: null },
  })
  t.match(routes.match('GET', { path: '/.well-known/other', ambiguities: [] }), {
    route: { upstream: 'provider' },
  })
})

t.test('metadata of a base with parameters is that of the path that is asked for', async t => {
  const { routes } = await loaded({ api: 'security: [mtls, oauth2]' })
  t.equal(routes.routes.length, 1)
  t.strictSame(
    routes.ownRoutes.map(({ id }) => id),
    ['', '/a'].flatMap(base =>
      ['GET', 'HEAD'].map(method => `${method} /.well-known/oauth-protected-resource${base}`),
    ),
  )
  const metadata = routes.ownRoutes[0]?.metadata
  t.ok(metadata)
  if (metadata)
    t.match(
      JSON.parse(metadataDocument(metadata, 'localhost:8443', '/.well-known/oauth-protected-resource/t/1')),
      {
        resource: 'https://localhost:8443/t/1',
      },
    )
})

t.test('DPoP is in the metadata where a token rule offers it', async t => {
  const [route] = (await loaded({})).routes.routes
  if (route?.token == null) return t.fail('a token route')
  const offer = { ...route.token.dpop, algorithms: ['ES256', 'PS256'], satisfiesBinding: true }
  const token = { ...route.token, dpop: offer }
  const issuers = new Map([['main', 'https://issuer.example']])
  t.strictSame(describeResource(null, [{ ...route, token }], issuers)?.dpop_signing_alg_values_supported, [
    'ES256',
    'PS256',
  ])
  return undefined
})

t.test('trusted terminators are read strictly, and never without a warning', async t => {
  const top = (entry: string) => ({ top: `trustedTerminators: [${entry}]\n` })
  const pin = 'A'.repeat(43)
  const { settings } = await loaded(
    top(`{ address: [10.0.0.0/8, "2001:db8::1"], certificate: { x5t#S256: ${pin} }, header: xfcc }`),
  )
  t.strictSame(settings.terminators, [
    {
      networks: [
        { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
        { address: '2001:db8::1', prefix: 128, family: 'ipv6' },
      ],
      header: 'xfcc',
      certificate: { thumbprints: [pin], subject: null },
    },
  ])
  await reports(
    t,
    top('{ address: 10.0.0.5, header: client-cert }'),
    '21:22 whoever connects from 10.0.0.5/32 can claim any client certificate in Client-Cert',
  )
  const bad: readonly (readonly [entry: string, words: RegExp])[] = [
    ['{ address: 10.0.0.0/33, header: xfcc }', /must be an address or a network/],
    ['{ address: edge.example, header: xfcc }', /must be an address or a network/],
    ['{ header: xfcc }', /"address" is missing/],
    ['{ address: 10.0.0.1 }', /"header" is missing/],
    ['{ address: 10.0.0.1, header: x-ssl }', /"header" must be client-cert or xfcc/],
    ['{ address: 0.0.0.0/0, header: xfcc }', /everybody would be a trusted terminator/],
    ['{ address: 10.0.0.1, certificate: {}, header: xfcc }', /"certificate" names none/],
    ['{ address: 10.0.0.1, certificate: { x5t#S256: abc }, header: xfcc }', /must be the x5t#S256/],
  ]
  for (const [entry, words] of bad) await refuses(t, top(entry), words)
})
