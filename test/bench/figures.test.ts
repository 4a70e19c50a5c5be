import t from 'tap'
import { type Slice, sliceOf, summarise } from '../../bench/measure.js'
import { GOALS, memoryPerConnection, ratiosOf } from '../../bench/ratios.js'
import { compare, type Run } from '../../bench/record.js'
import { reportOf } from '../../bench/report.js'
import type { Results, Row } from '../../bench/results.js'

const RESULT = {
  seconds: 1,
  requests: 1000,
  others: 0,
  statuses: { 200: 1300 },
  errors: { connect: 0, tls: 0 },
  handshakes: 0,
  bytesIn: 2_000_000,
  bytesOut: 0,
  open: 64,
  outOfTokens: false,
  tokensUsed: 0,
  backlog: 0,
  p50Us: 100,
  p99Us: 900,
  p999Us: 1000,
  targetCpuUs: 200_000,
  ownCpuUs: 0,
  busyMs: 210,
  stolenMs: 0,
  loadBusyMs: 500,
  loadStolenMs: 0,
  rssKb: 0,
  pssKb: 0,
  peakKb: 2048,
}

const slice = (cpuUs: number, changes: Partial<Slice> = {}): Slice => ({
  ...sliceOf(RESULT, null),
  cpuUs,
  ...changes,
})

const row = (target: string, cpuUs: readonly number[], changes: Partial<Slice> = {}): Row => ({
  scenario: 'many',
  target,
  summary: summarise(cpuUs.map(us => slice(us, changes))),
})

const results = (...rows: Row[]): Results => ({ rows, rates: [], connections: [], sizes: [], skipped: [] })

t.test('a slice is the processor time of the target for one answer', async t => {
  const found = sliceOf(RESULT, null)
  t.equal(found.cpuUs, 200)
  t.ok(found.isQuiet)
  t.same(found.problems, [])
  t.equal(sliceOf(RESULT, 1_000_000).cpuUs, 100_000, 'large bodies are counted by their bytes')
})

t.test('a slice is not quiet when others took the core, or the hypervisor did', async t => {
  t.notOk(sliceOf({ ...RESULT, busyMs: 400 }, null).isQuiet, 'others')
  t.notOk(sliceOf({ ...RESULT, stolenMs: 50 }, null).isQuiet, 'stolen from the target')
  t.notOk(sliceOf({ ...RESULT, loadStolenMs: 50 }, null).isQuiet, 'stolen from the load')
})

t.test('an answer that is not 2xx, or none at all, is a problem', async t => {
  t.same(sliceOf({ ...RESULT, statuses: { 200: 5, 502: 2 } }, null).problems, ['2 answers 502'])
  t.same(sliceOf({ ...RESULT, errors: { tls: 3 } }, null).problems, ['3 errors (tls)'])
})

t.test('the figure of record is the lower quartile of the quiet slices', async t => {
  const noisy = [1, 2].map(us => slice(us, { isQuiet: false, foreign: 0.5 }))
  const summary = summarise([...noisy, ...[130, 100, 120, 110].map(us => slice(us))])
  t.equal(summary.cpuUs, 110)
  t.equal(summary.quiet, 4)
  t.equal(summary.slices, 6)
})

t.test('without enough quiet slices the least disturbed ones count, and are known to be few', async t => {
  const summary = summarise(
    [0.9, 0.2, 0.3, 0.4].map(foreign => slice(foreign * 1000, { isQuiet: false, foreign })),
  )
  t.equal(summary.quiet, 0)
  t.equal(summary.cpuUs, 200)
})

t.test('a ratio is Postern to the anchor, and certain only when both sides were quiet', async t => {
  const quiet = ratiosOf(results(row('postern', [50, 50, 50]), row('haproxy', [100, 100, 100])), 1)
  t.same(quiet['many / haproxy'], { value: 0.5, isCertain: true })
  const noisy = row('haproxy', [100, 100, 100], { isQuiet: false })
  t.equal(ratiosOf(results(row('postern', [50, 50, 50]), noisy), 1)['many / haproxy']?.isCertain, false)
})

t.test('wrong answers have no ratio, however fast they came', async t => {
  const wrong = row('postern', [1, 1, 1], { problems: ['3 answers 502'] })
  t.same(ratiosOf(results(wrong, row('haproxy', [100, 100, 100])), 1), {})
})

t.test('memory of a connection is what the most of them need beyond the fewest', async t => {
  const rows = [
    { target: 'postern', connections: 10, open: 10, memoryMiB: 60 },
    { target: 'postern', connections: 1000, open: 1000, memoryMiB: 80 },
  ]
  t.equal(Math.round(memoryPerConnection(rows, 'postern')), Math.round((20 * 1024) / 990))
})

const CONDITIONS = {
  date: '2030-01-02',
  minutes: 30,
  machine: {
    cpu: 'A processor',
    cores: 2,
    memoryGiB: 4,
    kernel: 'Linux 6',
    node: 'v24',
    opensslOfNode: '3',
  },
  versions: { nginx: 'nginx/1' },
  algorithm: 'ES256',
  serverKey: 'ec',
  cores: '0',
  loadCores: '1',
  slices: 10,
  sliceSeconds: 1,
  stolen: 0.01,
  foreign: 0.02,
  quietSlices: 5,
  allSlices: 6,
}

const run = (value: number, isCertain = true): Run => ({
  conditions: CONDITIONS,
  ratios: { 'many / haproxy': { value, isCertain } },
  results: results(),
})

t.test('a ratio that is more than 10 % worse than the record is lost', async t => {
  const verdict = (before: Run, now: Run) => compare(before, now.ratios)[0]?.verdict
  t.equal(verdict(run(1), run(1.2)), 'lost')
  t.equal(verdict(run(1), run(1.09)), 'same')
  t.equal(verdict(run(1), run(0.8)), 'gained')
  t.equal(verdict(run(1), run(1.2, false)), 'uncertain', 'a noisy machine blames nobody')
  t.same(compare({ ...run(1), ratios: {} }, run(2).ratios), [], 'what was never measured is no loss')
})

t.test('the report says which goals are met, which are not, and which nobody measured', async t => {
  const rows = [row('postern', [70, 70, 70]), row('haproxy', [100, 100, 100])]
  const measured = results(...rows)
  const targets = [{ name: 'haproxy', title: 'HAProxy', gaps: { 'token: future': 'no nbf' } }]
  const ratios = { ...ratiosOf(measured, 1), 'cold / haproxy': { value: 1.2, isCertain: false } }
  const text = reportOf({ conditions: CONDITIONS, ratios, results: measured }, targets)
  t.match(text, '| known tokens: HAProxy that judges the same policy | 0.70 | 0.50 | not met |')
  t.match(text, '| every token new: HAProxy that judges the same policy | 1.20 (noisy) | 1.30 | met |')
  t.equal(text.match(/not measured/g)?.length, GOALS.length - 2)
  t.match(text, 'HAProxy not "token: future": no nbf')
  t.match(text, '5 of 6 slices quiet')
  t.match(text, /\| HAProxy \| 100\.0 \| 100\.0 \| 0\.70 \|/)
})
