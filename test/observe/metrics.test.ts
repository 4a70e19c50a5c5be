import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { CombinedMetrics } from '../../src/observe/combined-metrics.js'
import { DEFAULTS_ACROSS, METRICS } from '../../src/observe/metric-table.js'
import { Metrics } from '../../src/observe/metrics.js'
import { ROOT } from '../support/root.js'

const PARTS = { hash: 'a', certificates: [], lists: [], addresses: [] }
const NOBODY = { fetched: [], asked: [] }

t.test('an issuer that is gone leaves no series behind', async t => {
  const metrics = new Metrics('test')
  const names = ['kept', 'gone']
  metrics.policyInUse({ ...PARTS, fetched: names, asked: names }, 1)
  for (const issuer of names) {
    metrics.keysRefresh(issuer, 'success', 1)
    metrics.keysRefresh(issuer, 'failure', 2)
    metrics.introspection(issuer, 'active', 0.1)
    metrics.introspection(issuer, 'unavailable', null)
  }
  const series = async (issuer: string) =>
    (await metrics.expose()).text.split('\n').filter(line => line.includes(`issuer="${issuer}"`)).length
  const before = await series('kept')
  t.equal(await series('gone'), before)
  t.ok(before > 5)
  metrics.policyInUse({ ...PARTS, fetched: ['kept'], asked: ['kept'] }, 2)
  t.equal(await series('gone'), 0)
  t.equal(await series('kept'), before)
  metrics.policyInUse({ ...PARTS, fetched: [], asked: ['kept'] }, 3)
  const { text } = await metrics.expose()
  t.notMatch(text, /^postern_keys_last_success_timestamp_seconds\{/m, 'its keys are from a file now')
  t.match(text, /^postern_introspection_total\{issuer="kept"/m)
})

t.test('an address that is gone leaves no series behind, and its late requests make none', async t => {
  const metrics = new Metrics('test')
  const use = (...addresses: string[]) =>
    metrics.policyInUse(
      {
        ...{ ...PARTS, fetched: [], asked: [] },
        addresses: addresses.map(address => ({ upstream: address[0] as string, address, isHealthy: true })),
      },
      1,
    )
  const series = async () => {
    const { text } = await metrics.expose()
    return text.split('\n').filter(line => /^postern_upstream_(?:healthy|ejections|retries)/.test(line))
  }
  use('a1', 'a2', 'b1')
  t.equal((await series()).length, 3 + 3 + 2 * 4, 'all there from the start, at 0')
  metrics.upstreamHealth('a', 'a2', 'ejected')
  metrics.upstreamRetry('b', 'answered')
  t.ok((await series()).includes('postern_upstream_healthy{upstream="a",address="a2"} 0'))
  t.ok((await series()).includes('postern_upstream_ejections_total{upstream="a",address="a2"} 1'))
  t.ok((await series()).includes('postern_upstream_retries_total{upstream="b",result="answered"} 1'))
  use('a1')
  metrics.upstreamHealth('a', 'a2', 'returned')
  metrics.upstreamRetry('b', 'answered')
  t.equal((await series()).length, 1 + 1 + 4)
  t.notOk((await series()).some(line => /a2|"b"/.test(line)))
})

t.test('the start is no reload', async t => {
  const metrics = new Metrics('test')
  metrics.policyInUse({ ...PARTS, fetched: [], asked: [] }, 7)
  const { text } = await metrics.expose()
  t.match(text, /^postern_reload_total\{result="success"\} 0$/m)
  t.match(text, /^postern_reload_total\{result="failure"\} 0$/m)
  t.match(text, /^postern_reload_last_success_timestamp_seconds 7$/m)
})

t.test('the alert on stale keys asks for failures, not for an age that a long refresh reaches', async t => {
  const file = join(ROOT, 'deploy/prometheus/alerts.yml')
  const { groups } = parse(readFileSync(file, 'utf8'))
  const rules: { alert: string; expr: string }[] = groups.flatMap(({ rules }: { rules: unknown }) => rules)
  const stale = rules.find(({ alert }) => alert === 'PosternKeysStale')
  t.notMatch(stale?.expr, /last_success/)
  t.match(stale?.expr, /result="failure"/)
  t.match(stale?.expr, /unless/)
})

const MEASURES = {
  route: 'r',
  method: 'GET',
  status: 200,
  outcome: 'allowed',
  code: null,
  seconds: 0.02,
  decisionSeconds: 0.001,
  upstream: 'u',
  upstreamSeconds: 0.01,
} as const

/** A process that has answered so many requests. */
function busy(requests: number, prepare: (metrics: Metrics) => void = () => {}): Metrics {
  const metrics = new Metrics('test')
  for (let i = 0; i < requests; i++) {
    metrics.requestStarted()
    metrics.requestEnded(MEASURES)
  }
  prepare(metrics)
  return metrics
}

const REQUESTS = 'postern_requests_total{route="r",method="GET",status="200",outcome="allowed"}'
const COUNT = 'postern_request_duration_seconds_count{route="r"}'

async function samples(combined: CombinedMetrics) {
  const { text } = await combined.expose()
  const lines = text.split('\n').filter(line => !line.startsWith('#') && line !== '')
  return new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
}

t.test('the metrics of several processes are those of one', async t => {
  const primary = new Metrics('test')
  primary.policyInUse({ ...PARTS, ...NOBODY, certificates: [{ name: 'c', notAfter: 50 }] }, 9)
  const combined = new CombinedMetrics(primary)
  const prepare = (at: number) => (metrics: Metrics) => {
    metrics.policyInUse({ ...PARTS, ...NOBODY, certificates: [{ name: 'c', notAfter: at }] }, null)
    metrics.keysRefresh('main', 'success', at)
    metrics.requestStarted()
  }
  combined.heard(1, await busy(3, prepare(40)).snapshot())
  combined.heard(2, await busy(4, prepare(60)).snapshot())
  const seen = await samples(combined)
  t.equal(seen.get(REQUESTS), 7)
  t.equal(seen.get(COUNT), 7)
  t.equal(seen.get('postern_request_duration_seconds_bucket{le="0.025",route="r"}'), 7)
  t.equal(seen.get('postern_requests_in_flight'), 2)
  t.equal(seen.get('postern_keys_last_success_timestamp_seconds{issuer="main"}'), 40, 'the oldest')
  t.equal(seen.get('postern_certificate_expiry_timestamp_seconds{name="c"}'), 40, 'the first to expire')
  t.equal(seen.get('postern_reload_last_success_timestamp_seconds'), 9, 'the primary says when')
  t.equal(seen.get('postern_policy_info{hash="a"}'), 1, 'no sum')
  t.equal([...seen.keys()].filter(name => name.startsWith('postern_build_info')).length, 1)
  t.ok((seen.get('nodejs_eventloop_lag_p99_seconds') ?? 0) < 60, 'a lag is no sum')
})

t.test('counters go on when a process ends, gauges do not', async t => {
  const combined = new CombinedMetrics(new Metrics('test'))
  const inFlight = (metrics: Metrics) => metrics.requestStarted()
  combined.heard(1, await busy(3, inFlight).snapshot())
  combined.heard(2, await busy(4, inFlight).snapshot())
  combined.ended(1)
  combined.heard(3, await busy(5).snapshot())
  combined.ended(3)
  combined.ended(4)
  const seen = await samples(combined)
  t.equal(seen.get(REQUESTS), 12)
  t.equal(seen.get(COUNT), 12)
  t.equal(seen.get('postern_requests_in_flight'), 1)
})

t.test('a process that is gone leaves no series of an issuer or upstream that is gone', async t => {
  const combined = new CombinedMetrics(new Metrics('test'))
  const asking = (metrics: Metrics) => {
    for (const issuer of ['kept', 'gone']) {
      metrics.keysRefresh(issuer, 'success', 1)
      metrics.introspection(issuer, 'active', 0.1)
    }
  }
  combined.heard(1, await busy(1, asking).snapshot())
  combined.ended(1)
  combined.keepOnly({ issuer: ['kept'], upstream: ['other'] })
  const { text } = await combined.expose()
  t.notMatch(text, 'issuer="gone"')
  t.notMatch(text, 'upstream="u"')
  t.match(text, /^postern_introspection_total\{issuer="kept"/m)
  t.match(text, /^postern_keys_refresh_total\{issuer="kept"/m)
  t.equal((await samples(combined)).get(REQUESTS), 1)
})

t.test('every gauge says what it is of several processes', async t => {
  const snapshot = await new Metrics('test').snapshot()
  const ours = Object.values(METRICS) as readonly { readonly name: string; readonly across?: string }[]
  for (const { name, type, aggregator } of snapshot) {
    const spec = ours.find(one => one.name === name)
    if (spec !== undefined && String(type) === 'gauge') t.type(spec.across, 'string', name)
    if (spec !== undefined && String(type) !== 'gauge') t.equal(aggregator, 'sum', name)
    if (/eventloop_lag|start_time|_fds$|version/.test(name)) t.equal(aggregator, DEFAULTS_ACROSS[name], name)
    t.match(aggregator, /^(?:sum|min|max|first)$/, `${name} is not lost`)
  }
})
