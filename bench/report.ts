/** docs/performance.md: the figures of a run, for people. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../test/support/root.js'
import { ENOUGH_QUIET, type Summary } from './measure.js'
import { GOALS, memoryPerConnection, type Ratios } from './ratios.js'
import type { Run } from './record.js'
import type { Results } from './results.js'
import { SCENARIOS } from './scenarios.js'
import type { Target } from './targets/target.js'

/** What a table says of a target. */
type Named = Pick<Target, 'name' | 'title' | 'gaps'>

export function writeReport(run: Run, targets: readonly Named[]): void {
  writeFileSync(join(ROOT, 'docs', 'performance.md'), reportOf(run, targets))
}

export function reportOf({ conditions, ratios, results }: Run, targets: readonly Named[]): string {
  const titles = new Map(targets.map(({ name, title }) => [name, title]))
  return `<!-- Made by \`npm run bench\`. Run it again instead of editing. -->

# Performance

What Postern costs, beside others that do the same or less. \`npm run bench\` measures it on your machine; how, and how to read it, is in
[bench/README.md](../bench/README.md). A later run is compared with \`bench/record.json\`.

A figure is processor time for one request, of all processes of the target: the lower quartile of one-second slices in which nobody
else used the core. Compare ratios, and only within this page: absolute figures are those of this machine.

## Goals

Ratio of Postern to the anchor. Lower is better.

| Against | Ratio | Goal | |
|---|---|---|---|
${goalRows(ratios)}

What a request is made of, and what was tried: [decision 27](decisions/0027-what-a-request-costs.md).

## Conditions

${conditionRows(conditions)}
${skippedRows(results)}
Postern writes a line of its log for every request and counts its metrics; nginx, HAProxy, Apache and the prototype log nothing.
Every target passed the checks of \`bench/verify.ts\` before it was measured${gapsText(targets)}.

${SCENARIOS.map(scenario => scenarioSection(scenario, results, titles)).join('')}${rateSection(results, titles)}${connectionsSection(results, titles)}${sizesSection(results)}`
}

function goalRows(ratios: Ratios): string {
  return GOALS.map(({ ratio, text, most }) => {
    const found = ratios[ratio]
    if (found === undefined) return `| ${text} | not measured | ${most.toFixed(2)} | |`
    const met = found.value <= most ? 'met' : 'not met'
    const doubt = found.isCertain ? '' : ' (noisy)'
    return `| ${text} | ${found.value.toFixed(2)}${doubt} | ${most.toFixed(2)} | ${met} |`
  }).join('\n')
}

function conditionRows(conditions: Run['conditions']): string {
  const { machine, versions } = conditions
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`
  const rows: readonly (readonly [string, string])[] = [
    ['Date, duration', `${conditions.date}, ${conditions.minutes} minutes`],
    ['Machine', `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB`],
    ['Kernel', machine.kernel],
    ['Node', `${machine.node}, OpenSSL ${machine.opensslOfNode}`],
    ...Object.entries(versions).map(([name, version]) => [name, version] as const),
    ['Cores', `targets ${conditions.cores}; upstream and load ${conditions.loadCores}`],
    [
      'Tokens, server key',
      `${conditions.algorithm}, ${conditions.serverKey === 'ec' ? 'P-256' : 'RSA 2048'}`,
    ],
    ['Slices', `${conditions.slices} of ${conditions.sliceSeconds} s, or more`],
    [
      'Noise',
      `${percent(conditions.stolen)} of the time stolen, ${percent(conditions.foreign)} used by others on the targets' core (medians); ${conditions.quietSlices} of ${conditions.allSlices} slices quiet`,
    ],
  ]
  return `| | |\n|---|---|\n${rows.map(([name, value]) => `| ${name} | ${value} |`).join('\n')}\n`
}

function skippedRows({ skipped }: Results): string {
  if (skipped.length === 0) return ''
  return `\nLeft out:\n\n${skipped.map(reason => `- ${reason.split('\n')[0]}`).join('\n')}\n`
}

function scenarioSection(
  { name, title }: { readonly name: string; readonly title: string },
  { rows }: Results,
  titles: ReadonlyMap<string, string>,
): string {
  const own = rows.filter(row => row.scenario === name)
  if (own.length === 0) return ''
  const postern = own.find(({ target }) => target === 'postern')?.summary.cpuUs ?? Number.NaN
  const lines = own.map(({ target, summary }) => {
    const ratio = target === 'postern' ? '' : (postern / summary.cpuUs).toFixed(2)
    return `| ${titles.get(target) ?? target} | ${figure(summary.cpuUs)} | ${figure(summary.medianUs)} | ${ratio} | ${rateText(summary)} | ${ms(summary.p50Us)} | ${ms(summary.p99Us)} | ${summary.peakMiB.toFixed(0)} | ${quietText(summary)} |`
  })
  return `## ${name}: ${title}

| | us a request | median | Postern / it | requests/s | p50 ms | p99 ms | peak MiB | quiet |
|---|---|---|---|---|---|---|---|---|
${lines.join('\n')}

`
}

function rateSection({ rates }: Results, titles: ReadonlyMap<string, string>): string {
  if (rates.length === 0) return ''
  const lines = rates.map(
    ({ target, kind, offered, summary }) =>
      `| ${titles.get(target) ?? target} | ${kind === 'own' ? 'its own' : "the slower one's"} | ${offered} | ${ms(summary.p50Us)} | ${ms(summary.p99Us)} | ${quietText(summary)} |`,
  )
  return `## rate: latency at 70 % of saturation

10,000 known tokens. Requests are sent when they are due; latency counts from then, whether or not a connection was free.

| | saturation | requests/s | p50 ms | p99 ms | quiet |
|---|---|---|---|---|---|
${lines.join('\n')}

`
}

function connectionsSection({ connections }: Results, titles: ReadonlyMap<string, string>): string {
  if (connections.length === 0) return ''
  const targets = [...new Set(connections.map(({ target }) => target))]
  const sizes = [...new Set(connections.map(row => row.connections))]
  const memory = (target: string, size: number) =>
    connections.find(row => row.target === target && row.connections === size)?.memoryMiB.toFixed(0) ?? ''
  const lines = targets.map(
    target =>
      `| ${titles.get(target) ?? target} | ${sizes.map(size => memory(target, size)).join(' | ')} | ${memoryPerConnection(connections, target).toFixed(1)} |`,
  )
  return `## connections: memory in MiB

Of processes that have done nothing else, with so many open TLS connections and 200 requests/s.

| | ${sizes.join(' | ')} | KiB a connection |
|---|${sizes.map(() => '---|').join('')}---|
${lines.join('\n')}

`
}

function sizesSection({ sizes }: Results): string {
  return (['routes', 'tokens', 'workers'] as const)
    .map(kind => {
      const rows = sizes.filter(row => row.kind === kind)
      const [least] = rows
      if (least === undefined) return ''
      const lines = rows.map(
        ({ size, summary }) =>
          `| ${size} | ${figure(summary.cpuUs)} | ${(summary.cpuUs / least.summary.cpuUs).toFixed(2)} | ${rateText(summary)} | ${summary.peakMiB.toFixed(0)} | ${quietText(summary)} |`,
      )
      return `## ${kind}: Postern with so many

| ${kind} | us a request | to the least | requests/s | peak MiB | quiet |
|---|---|---|---|---|---|
${lines.join('\n')}

`
    })
    .join('')
}

function gapsText(targets: readonly Named[]): string {
  const gaps = targets.flatMap(({ title, gaps = {} }) =>
    Object.entries(gaps).map(([question, reason]) => `${title} not "${question}": ${reason}`),
  )
  return gaps.length === 0 ? '' : `; ${gaps.join('; ')}`
}

function figure(us: number): string {
  return us >= 1000 ? us.toFixed(0) : us.toFixed(1)
}

function ms(us: number): string {
  return (us / 1000).toFixed(2)
}

/** A rate that the load could not exceed is a lower bound. */
function rateText({ requestsPerSecond, loadBusy, problems }: Summary): string {
  const wrong = problems.length === 0 ? '' : ` (wrong: ${problems.join(', ')})`
  const rate = requestsPerSecond >= 100 ? requestsPerSecond.toFixed(0) : requestsPerSecond.toFixed(1)
  return `${loadBusy > 0.94 ? 'over ' : ''}${rate}${wrong}`
}

function quietText({ quiet, slices }: Summary): string {
  return `${quiet}/${slices}${quiet < ENOUGH_QUIET ? ' (noisy)' : ''}`
}
