/** The table that a run ends with, for a terminal and for docs/reliability.md. */
import type { Result } from './run-scenario.js'
import { mib } from './trend.js'

const COLUMNS = [
  'scenario',
  'requests',
  'wrong',
  'lost',
  'explained',
  'sent again',
  'slowest ms',
  'sockets left',
  'RSS MiB/min',
  'heap half',
  'heap end',
  'heap after',
  '',
] as const

function rowOf(result: Result): readonly string[] {
  const { name, requests, wrong, lost, explained, retried, slowest, leaked, rssGrowth, heap, verdict } =
    result
  const counts = [requests, wrong, lost, explained, retried, Math.round(slowest), leaked].map(String)
  const heaps = heap === null ? ['-', '-', '-'] : [heap.half, heap.end, heap.after].map(mib)
  return [name, ...counts, rssGrowth?.toFixed(2) ?? '-', ...heaps, verdict]
}

export function textTable(results: readonly Result[]): string {
  return aligned([COLUMNS, ...results.map(rowOf)])
}

export function markdownTable(results: readonly Result[]): string {
  return markdown([COLUMNS, ...results.map(rowOf)])
}

/** Columns as wide as their widest cell: the first to the left, figures to the right. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? []
  return rows
    .map(row =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export function markdown(rows: readonly (readonly string[])[]): string {
  const [head = [], ...rest] = rows
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, column) => (column === 0 ? '---' : '---:'))), ...rest.map(line)].join(
    '\n',
  )
}

/** `7 passed, 0 failed` */
export function summary(results: readonly Result[]): string {
  const count = (wanted: Result['verdict']) => results.filter(({ verdict }) => verdict === wanted).length
  return `${count('passed')} passed, ${count('failed')} failed`
}
