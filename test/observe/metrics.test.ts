import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse } from 'yaml'
import { Metrics } from '../../src/observe/metrics.js'

const PARTS = { hash: 'a', certificates: [], lists: [] }

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
