/** The results as aligned tables, one line per row of the endpoint table or per client, and the details of what failed. */
import { type FurtherSituationName, furtherSituationNames } from './further-situations.js'
import type { Delivery } from './send-request.js'
import { asksForNoScope, type Expectation, type SituationName, situationNames } from './situations.js'
import type { Result } from './walk-endpoints.js'
import type { FurtherResult } from './walk-further.js'

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
  const text = aligned(lines)
  if (rows.some(asksForNoScope)) {
    text.push('', '(a) the row asks for no scope, so a token with an unrelated one has to pass')
  }
  return text.join('\n')
}

/** One line per client of further.yaml; a dash where a client has nothing to do wrong. */
export function furtherTable(results: readonly FurtherResult[]): string {
  const names = [...new Set(results.map(({ attempt }) => attempt.client.name))]
  const lines = names.map(name => {
    const ofClient = results.filter(({ attempt }) => attempt.client.name === name)
    const cell = (situation: FurtherSituationName) =>
      ofClient
        .filter(({ attempt }) => attempt.situation === situation)
        .map(mark)
        .join(' ') || '-'
    return [name, ...furtherSituationNames.map(cell)]
  })
  return aligned([['', ...furtherSituationNames], ...lines]).join('\n')
}

function aligned(lines: readonly (readonly string[])[]): string[] {
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0))) ?? []
  return lines.map(line =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function mark({ status, complaints }: Delivery): string {
  return `${complaints.length === 0 ? '✓' : '✗'} ${status || 'none'}`
}

export function failureDetails(results: readonly Delivery[]): string {
  return results
    .filter(({ complaints }) => complaints.length > 0)
    .map(({ title, expected, sent, status, headers, body, complaints }) => {
      return [
        `✗ ${title}`,
        `    sent      ${sent}`,
        `    expected  ${inWords(expected)}`,
        `    got       ${status || 'no answer'}; ${Object.entries(headers)
          .map(([name, value]) => `${name}: ${value}`)
          .join('; ')}`,
        `    body      ${body.slice(0, shownBody) || '(empty)'}`,
        ...complaints.map(complaint => `    wrong     ${complaint}`),
      ].join('\n')
    })
    .join('\n\n')
}

function inWords(expected: Expectation): string {
  if (expected.outcome === 'allowed') return '2xx'
  const error = expected.outcome === 'denied' ? expected.error : undefined
  return `${expected.status} ${error ?? 'without an error code'}`
}
