/** The results as an aligned table, one line per row of the endpoint table, and the details of what failed. */
import { asksForNoScope, type SituationName, situationNames } from './situations.js'
import type { Result } from './walk-endpoints.js'

/** Characters of an answer's body that are worth showing. */
const shownBody = 600

export function resultTable(results: readonly Result[]): string {
  const rows = [...new Set(results.map(({ attempt }) => attempt.row))]
  const lines = [
    ['', ...situationNames],
    ...rows.map(row => {
      const ofRow = results.filter(({ attempt }) => attempt.row === row)
      const cell = (situation: SituationName) => {
        const ofCell = ofRow.filter(({ attempt }) => attempt.situation === situation)
        const note = situation === 'wrong scope' && asksForNoScope(row) ? ' (a)' : ''
        return ofCell.map(mark).join(' ') + note
      }
      return [`${row.method.padEnd(6)} ${row.endpoint}`, ...situationNames.map(cell)]
    }),
  ]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0))) ?? []
  const text = lines.map(line =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  if (rows.some(asksForNoScope)) {
    text.push('', '(a) the row asks for no scope, so a token with an unrelated one has to pass')
  }
  return text.join('\n')
}

function mark({ status, complaints }: Result): string {
  return `${complaints.length === 0 ? '✓' : '✗'} ${status || 'none'}`
}

export function failureDetails(results: readonly Result[]): string {
  return results
    .filter(({ complaints }) => complaints.length > 0)
    .map(({ attempt, sent, status, headers, body, complaints }) => {
      const { expected, row, situation } = attempt
      const wanted =
        expected.outcome === 'allowed'
          ? '2xx'
          : `${expected.status} ${expected.error ?? 'without an error code'}`
      return [
        `✗ ${row.method} ${row.endpoint}: ${situation}`,
        `    sent      ${sent}`,
        `    expected  ${wanted}`,
        `    got       ${status || 'no answer'}; ${Object.entries(headers)
          .map(([name, value]) => `${name}: ${value}`)
          .join('; ')}`,
        `    body      ${body.slice(0, shownBody) || '(empty)'}`,
        ...complaints.map(complaint => `    wrong     ${complaint}`),
      ].join('\n')
    })
    .join('\n\n')
}
