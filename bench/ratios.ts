/** Postern against the anchors: the figures that can be compared between machines. Lower is better in all of them. */
import { ENOUGH_QUIET, type Summary } from './measure.js'
import type { Results } from './results.js'

export interface Ratio {
  readonly value: number
  /** Whether enough slices of both sides were quiet. */
  readonly isCertain: boolean
}

export type Ratios = Readonly<Record<string, Ratio>>

export interface Goal {
  readonly ratio: string
  readonly text: string
  readonly most: number
}

export const GOALS: readonly Goal[] = [
  { ratio: 'many / haproxy', text: 'known tokens: HAProxy that judges the same policy', most: 0.5 },
  { ratio: 'many / haproxy-cache', text: 'known tokens: HAProxy with a hand-made token cache', most: 1 },
  { ratio: 'many / nginx', text: 'known tokens: nginx without a policy', most: 2.5 },
  { ratio: 'many / http-proxy', text: 'known tokens: a bare http-proxy prototype', most: 0.5 },
  { ratio: 'cold / haproxy', text: 'every token new: HAProxy that judges the same policy', most: 1.3 },
  { ratio: '1m / haproxy', text: 'answers of 1 MiB: HAProxy', most: 1.15 },
  { ratio: '1m-up / haproxy', text: 'requests of 1 MiB: HAProxy', most: 1.15 },
  { ratio: 'hs / nginx', text: 'full handshakes with client certificates: nginx', most: 1.3 },
  { ratio: 'rate p99 / haproxy', text: 'p99 at 70 % of its own saturation: HAProxy', most: 2 },
  {
    ratio: 'one worker / two',
    text: 'throughput of one worker against two on two free cores (at least 1.8 times)',
    most: 1 / 1.8,
  },
]

/** A ratio of figures whose answers were wrong does not exist. */
export function ratiosOf({ rows, rates, sizes, connections }: Results, throughputCores: number): Ratios {
  const ratios: Record<string, Ratio> = {}
  const set = (name: string, of: Summary, to: Summary, read: (summary: Summary) => number) => {
    const value = read(of) / read(to)
    if (of.problems.length + to.problems.length > 0 || !Number.isFinite(value)) return
    ratios[name] = { value: round(value), isCertain: Math.min(of.quiet, to.quiet) >= ENOUGH_QUIET }
  }
  for (const { scenario, summary } of rows.filter(({ target }) => target === 'postern'))
    for (const anchor of rows.filter(row => row.scenario === scenario && row.target !== 'postern'))
      set(`${scenario} / ${anchor.target}`, summary, anchor.summary, ({ cpuUs }) => cpuUs)

  const atRate = (target: string, kind: string) =>
    rates.find(row => row.target === target && row.kind === kind)?.summary
  for (const [kind, name] of [
    ['own', 'rate p99 / haproxy'],
    ['same', 'same rate p99 / haproxy'],
  ] as const) {
    const [of, to] = [atRate('postern', kind), atRate('haproxy', kind)]
    if (of !== undefined && to !== undefined) set(name, of, to, ({ p99Us }) => p99Us)
  }
  for (const kind of ['routes', 'tokens'] as const) {
    const [least, ...more] = sizes.filter(row => row.kind === kind)
    for (const row of more)
      if (least !== undefined)
        set(`${row.size} ${kind} / ${least.size}`, row.summary, least.summary, ({ cpuUs }) => cpuUs)
  }
  const [oneWorker, twoWorkers] = sizes.filter(({ kind }) => kind === 'workers')
  if (oneWorker !== undefined && twoWorkers !== undefined) {
    set('cost of two workers / one', twoWorkers.summary, oneWorker.summary, ({ cpuUs }) => cpuUs)
    if (throughputCores >= 2)
      set('one worker / two', oneWorker.summary, twoWorkers.summary, summary => summary.requestsPerSecond)
  }
  const own = memoryPerConnection(connections, 'postern')
  for (const anchor of ['haproxy', 'nginx']) {
    const value = own / memoryPerConnection(connections, anchor)
    if (Number.isFinite(value))
      ratios[`memory of a connection / ${anchor}`] = { value: round(value), isCertain: true }
  }
  return ratios
}

/** KiB, from the fewest connections to the most. */
export function memoryPerConnection(rows: Results['connections'], target: string): number {
  const own = rows.filter(row => row.target === target)
  const [first, last] = [own[0], own.at(-1)]
  if (first === undefined || last === undefined) return Number.NaN
  return ((last.memoryMiB - first.memoryMiB) * 1024) / (last.open - first.open)
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
