/** bench/record.json: the run that later ones are compared with. Ratios are compared, since machines differ. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../test/support/root.js'
import type { Conditions } from './conditions.js'
import type { Ratio, Ratios } from './ratios.js'
import type { Results } from './results.js'

const FILE = join(ROOT, 'bench', 'record.json')
/** Less is within the noise of two runs. */
const MOST_LOSS = 1.1

export interface Run {
  readonly conditions: Conditions
  readonly ratios: Ratios
  readonly results: Results
}

export interface Comparison {
  readonly ratio: string
  readonly before: Ratio
  readonly now: Ratio
  readonly verdict: 'lost' | 'gained' | 'same' | 'uncertain'
}

export function readRecord(): Run | null {
  return existsSync(FILE) ? (JSON.parse(readFileSync(FILE, 'utf8')) as Run) : null
}

export function writeRecord(run: Run): void {
  writeFileSync(FILE, `${JSON.stringify(run, rounded, 1)}\n`)
}

/** What both runs have measured. Figures from a noisy machine are shown, and nobody is blamed for them. */
export function compare(record: Run, ratios: Ratios): readonly Comparison[] {
  return Object.entries(ratios).flatMap(([ratio, now]) => {
    const before = record.ratios[ratio]
    return before === undefined ? [] : [{ ratio, before, now, verdict: verdictOf(before, now) }]
  })
}

function verdictOf(before: Ratio, now: Ratio): Comparison['verdict'] {
  const change = now.value / before.value
  if (change <= MOST_LOSS && change >= 1 / MOST_LOSS) return 'same'
  if (!before.isCertain || !now.isCertain) return 'uncertain'
  return change > MOST_LOSS ? 'lost' : 'gained'
}

/** Four digits say all that such a figure can. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value
}
