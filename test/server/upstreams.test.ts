import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Grant } from '../../src/checks/authorise.js'
import type { Configuration } from '../../src/config/settings.js'
import type { UpstreamPolicy } from '../../src/policy/upstream.js'
import { permittedTunnels } from '../../src/server/permitted-tunnels.js'
import { sourceIdentity } from '../../src/server/token-sources.js'
import {
  closeUpstreams,
  type RunningUpstreams,
  runUpstreams,
  takeOverUpstreams,
  upstreamAddresses,
} from '../../src/server/upstreams.js'
import { RecordingUpstream } from '../support/recording-upstream.js'

// What a reload leaves of the upstreams that were there.

const POLICY: UpstreamPolicy = {
  name: 'api',
  urls: ['http://127.0.0.1:81', 'http://127.0.0.1:82'],
  ca: null,
  connectTimeoutMs: 1000,
  responseTimeoutMs: 1000,
  connections: 8,
  authorization: 'forward',
  clientCert: 'strip',
  engine: 'builtin',
  retry: { attempts: 1, budgetPercent: 10 },
  health: null,
}
const HEALTH = { path: '/up', intervalMs: 1000, timeoutMs: 500, healthyAfter: 1, unhealthyAfter: 1 }
const METER = { retried: () => {}, healthChanged: () => {} }
const NOTHING: RunningUpstreams = new Map()

function run(changes: Partial<UpstreamPolicy> = {}, before = NOTHING): RunningUpstreams {
  return runUpstreams(new Map([['api', { ...POLICY, ...changes }]]), 'via', METER, before)
}

/** Takes the first address out. */
function eject(running: RunningUpstreams): void {
  const health = running.get('api')?.addresses[0]?.health
  for (let i = 0; i < 5; i++) health?.settle(health.begin(0), 'failed', { now: 0, isLast: false })
}

const states = (running: RunningUpstreams) => upstreamAddresses(running).map(({ isHealthy }) => isHealthy)
const enginesOf = (running: RunningUpstreams) => running.get('api')?.addresses.map(({ engine }) => engine)

t.test('an upstream that has not changed stays as it is, its budget and all', async t => {
  const before = run()
  t.equal(run({}, before).get('api'), before.get('api'))
})

t.test('an address stays as it is when others come and go, and when retry changes', async t => {
  const before = run()
  eject(before)
  const other = run({ urls: ['http://127.0.0.1:83', 'http://127.0.0.1:81'] }, before)
  t.strictSame(states(other), [true, false])
  t.equal(enginesOf(other)?.[1], enginesOf(before)?.[0])
  t.not(enginesOf(other)?.[0], enginesOf(before)?.[1])
  t.strictSame(states(run({ retry: null }, before)), [false, true])
})

t.test('an address whose settings have changed begins anew', async t => {
  const before = run()
  eject(before)
  const after = run({ connections: 9 }, before)
  t.strictSame(states(after), [true, true])
  t.not(enginesOf(after)?.[0], enginesOf(before)?.[0])
})

t.test('other checks know nothing of what the ones before found; connections stay', async t => {
  const before = run({ health: HEALTH })
  before.get('api')?.addresses[0]?.health.checked(false, HEALTH, 0)
  const after = run({}, before)
  t.strictSame(states(before), [false, true])
  t.strictSame(states(after), [true, true], 'without checks it could never come back')
  t.equal(enginesOf(after)?.[0], enginesOf(before)?.[0])
})

t.test('of an address that was replaced nobody is told, and of one that stays they are', t => {
  const told: string[] = []
  const meter = {
    ...METER,
    healthChanged: (_: string, url: string, change: string) => told.push(`${url} ${change}`),
  }
  const use = (changes: Partial<UpstreamPolicy>, before: RunningUpstreams) => {
    const running = runUpstreams(new Map([['api', { ...POLICY, ...changes }]]), 'via', meter, before)
    takeOverUpstreams(running, before, () => true)
    return running
  }
  /** Requests of this policy to its first address end late, and fail. */
  const fail = (running: RunningUpstreams) => {
    const { addresses, balanced } = running.get('api') ?? {}
    const [address] = addresses ?? []
    if (address === undefined) throw new Error('no address')
    for (let i = 0; i < 5; i++) balanced?.settle(address, address.health.begin(0), 'failed', 'reset')
    return address.health.isHealthy
  }
  const first = use({}, NOTHING)
  const other = use({ connections: 9 }, first)
  t.notOk(fail(first))
  t.strictSame(told, [], 'the present one is well')
  const retrying = use({ connections: 9, retry: null }, other)
  t.notOk(fail(other))
  t.strictSame(told, [`${POLICY.urls[0]} ejected`], 'the address is the same one')
  t.strictSame(states(retrying), [false, true])
  t.end()
})

t.test('checks end with the policy that asked for them, and when the process ends', async t => {
  const upstream = await RecordingUpstream.start()
  t.teardown(() => upstream.stop())
  const urls = [upstream.url]
  const end = [
    (running: RunningUpstreams) => takeOverUpstreams(run({ urls }, running), running, () => true),
    (running: RunningUpstreams) => closeUpstreams(running),
  ]
  for (const endChecks of end) {
    const running = run({ urls, health: HEALTH })
    upstream.requests.length = 0
    takeOverUpstreams(running, NOTHING, () => true)
    await upstream.arrived(1)
    endChecks(running)
    await upstream.abandoned()
    const count = upstream.requests.length
    await delay(1300)
    t.equal(upstream.requests.length, count)
  }
})

t.test('a tunnel is permitted while its route and its issuer are as they were granted', async t => {
  const route = { method: 'GET', template: '/live', token: { issuers: ['main', 'other'] } }
  const JWT = { tokens: 'jwt', revocation: 'none', introspection: null }
  const configuration = (routes: readonly object[], main: object = {}, other: object = {}) =>
    ({
      routes: { routes },
      settings: {
        issuers: new Map([
          ['main', { ...JWT, rules: { name: 'main', algorithms: ['ES256'] }, keys: { text: 'a' }, ...main }],
          ['other', { ...JWT, rules: { name: 'other' }, keys: { text: 'a' }, ...other }],
        ]),
      },
    }) as unknown as Configuration
  const first = configuration([route])
  const permits = (now: Configuration) => {
    const identities = [...now.settings.issuers].map(
      ([name, issuer]) => [name, { settings: sourceIdentity(issuer) }] as const,
    )
    return permittedTunnels(now, new Map(identities))
  }
  permits(first)
  const grantBy = (rules: unknown) => ({ match: { route }, token: { rules } }) as unknown as Grant
  const grant = grantBy(first.settings.issuers.get('main')?.rules)
  const copy = structuredClone(route)
  const rows: readonly (readonly [words: string, Configuration, boolean])[] = [
    ['the same', configuration([copy]), true],
    ['another issuer is another', configuration([copy], {}, { keys: { text: 'b' } }), true],
    ['other rules', configuration([copy], { rules: { name: 'main', algorithms: ['PS256'] } }), false],
    ['other keys', configuration([copy], { keys: { text: 'b' } }), false],
    ['the issuer is asked', configuration([copy], { revocation: 'introspect' }), false],
    ['no route', configuration([]), false],
    ['another method', configuration([{ ...copy, method: 'POST' }]), false],
    ['another route', configuration([{ ...copy, mtls: true }]), false],
  ]
  for (const [words, now, expected] of rows) t.equal(permits(now)(grant), expected, words)
  const opaque = { tokens: 'opaque', introspection: { rules: { name: 'main', mayLack: ['exp'] }, url: 'a' } }
  const asking = configuration([route], opaque)
  permits(asking)
  const asked = grantBy(asking.settings.issuers.get('main')?.introspection?.rules)
  t.ok(permits(configuration([copy], structuredClone(opaque)))(asked))
  const elsewhere = { ...opaque, introspection: { ...opaque.introspection, url: 'b' } }
  t.notOk(permits(configuration([copy], structuredClone(elsewhere)))(asked))
})
