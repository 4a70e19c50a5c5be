import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse } from 'yaml'
import { Metrics } from '../../src/observe/metrics.js'

const PARTS = { hash: 'a', certificates: [], lists: [], addresses: [] }

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
  const file = join(dirname(fileURLToPath(import.meta.url)), '../../../deploy/prometheus/alerts.yml')
  const { groups } = parse(readFileSync(file, 'utf8'))
  const rules: { alert: string; expr: string }[] = groups.flatMap(({ rules }: { rules: unknown }) => rules)
  const stale = rules.find(({ alert }) => alert === 'PosternKeysStale')
  t.notMatch(stale?.expr, /last_success/)
  t.match(stale?.expr, /result="failure"/)
  t.match(stale?.expr, /unless/)
})
