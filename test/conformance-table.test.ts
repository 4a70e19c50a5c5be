import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from './support/root.js'
import { hasTest } from './support/test-titles.js'

// docs/conformance.md: every clause, and the test that holds it.

const PAGE = 'docs/conformance.md'
const SELF = 'test/conformance-table.test.ts'

/** How many clauses there are of each kind; they are numbered from 01. */
const CLAUSES = {
  F1: 23,
  F2: 17,
  MS: 4,
  BT: 11,
  AT: 19,
  IN: 14,
  MT: 10,
  DP: 32,
  SU: 3,
  PM: 4,
  RA: 2,
  SC: 4,
  CS: 24,
  FD: 8,
} as const
const IDS = Object.entries(CLAUSES).flatMap(([kind, count]) =>
  Array.from({ length: count }, (_, index) => `${kind}-${String(index + 1).padStart(2, '0')}`),
)

interface Row {
  readonly id: string
  readonly what: string
  /** Files with the id in them, or with the test of this title. */
  readonly heldBy: readonly { readonly file: string; readonly title: string | null }[]
  /** `out of scope` or `not held yet`, with the reason. */
  readonly notHeld: { readonly kind: string; readonly reason: string } | null
  readonly cell: string
}

const sources = new Map(
  readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .map(name => `test/${name.split('\\').join('/')}`)
    .filter(name => name.endsWith('.test.ts') && name !== SELF)
    .map(name => [name, readFileSync(join(ROOT, name), 'utf8')]),
)

const rows = [
  ...readFileSync(join(ROOT, PAGE), 'utf8').matchAll(/^\| ([A-Z]\w-\d\d) \| (.*?) \| (.*) \|$/gm),
].map(([, id = '', what = '', cell = '']): Row => {
  const [, kind, reason = ''] = /^(out of scope|not held yet): (.+)$/.exec(cell) ?? []
  return {
    id,
    what,
    cell,
    heldBy: [...cell.matchAll(/`(test\/[^`]+)`(?: "([^"]+)")?/g)].map(([, file = '', title = null]) => ({
      file,
      title,
    })),
    notHeld: kind === undefined ? null : { kind, reason },
  }
})

/** Whether a source names a clause, in words of a comment or a title; `F1-08 to F1-11` names those between as well. */
function names(source: string, id: string): boolean {
  if (new RegExp(`\\b${id}\\b`).test(source)) return true
  const [kind = '', number = ''] = id.split('-')
  return [...source.matchAll(new RegExp(`\\b${kind}-(\\d\\d) to (?:${kind}-)?(\\d\\d)\\b`, 'g'))].some(
    ([, from, to]) => Number(from) <= Number(number) && Number(number) <= Number(to),
  )
}

t.test('every clause has one row, and no row is about anything else', async t => {
  t.strictSame(
    rows.map(({ id }) => id),
    IDS,
  )
  for (const { id, what } of rows) t.ok(what.length > 5, `${id} is told in words`)
})

t.test('every clause is held by a test, or it is said why it is not', async t => {
  for (const { id, heldBy, notHeld, cell } of rows) {
    t.not(heldBy.length === 0, notHeld === null, `${id} is one of both: ${cell}`)
    if (notHeld !== null) {
      t.ok(notHeld.reason.length > 20, `${id}: the reason`)
      continue
    }
    const told = heldBy.map(({ file, title }) => (title === null ? `\`${file}\`` : `\`${file}\` "${title}"`))
    t.equal(told.join('<br>'), cell, `${id}: files and titles, and nothing else`)
  }
})

t.test('the tests that are named are there', async t => {
  for (const { id, heldBy } of rows)
    for (const { file, title } of heldBy) {
      const source = sources.get(file)
      if (source === undefined) t.fail(`${id}: there is no ${file}`)
      else if (title === null) t.ok(names(source, id), `${id} is named in ${file}`)
      else t.ok(hasTest(source, title), `${id}: ${file} has the test "${title}"`)
    }
})

t.test('what is out of scope or not held yet is named in no test', async t => {
  for (const { id, notHeld } of rows.filter(row => row.notHeld !== null))
    t.strictSame(
      [...sources].filter(([, source]) => names(source, id)).map(([file]) => file),
      [],
      `${id}: ${notHeld?.kind}`,
    )
})

t.test('no test names a clause that does not exist', async t => {
  const pattern = new RegExp(`\\b(?:${Object.keys(CLAUSES).join('|')})-\\d\\d\\b`, 'g')
  for (const [file, source] of sources)
    t.strictSame(
      [...source.matchAll(pattern)].map(([id]) => id).filter(id => !IDS.includes(id)),
      [],
      file,
    )
})

t.test('every test of the conformance suite is in the table', async t => {
  const named = new Set(rows.flatMap(({ heldBy }) => heldBy.map(({ file }) => file)))
  t.ok(existsSync(join(ROOT, 'test/conformance')))
  t.strictSame(
    [...sources.keys()].filter(file => file.startsWith('test/conformance/') && !named.has(file)),
    [],
  )
})
