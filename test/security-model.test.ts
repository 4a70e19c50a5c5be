import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, parse } from 'node:path'
import t from 'tap'
import { ROOT } from './support/root.js'
import { hasTest } from './support/test-titles.js'

// SECURITY.md: every attack, the defence, and the tests that hold it.

const CLASSES = [
  'Spoofing and authentication',
  'Tampering and smuggling',
  'Repudiation and logs',
  'Disclosure',
  'Denial of service',
  'Elevation and authorisation',
  'Supply chain',
]
const OWASP = 'OWASP API Security Top 10 (2023)'
/** Tests that speak to the running process. */
const BLACK_BOX = /^test\/(?:scenario|wire|conformance)\//

interface Row {
  readonly attack: string
  readonly defence: string
  readonly heldBy: readonly { readonly file: string; readonly title: string }[]
  readonly cell: string
}

const promises = /^### What Postern promises$([\s\S]*?)^### /m.exec(
  readFileSync(join(ROOT, 'SECURITY.md'), 'utf8'),
)?.[1]
const sections = new Map(
  (promises ?? '')
    .split(/^#### /m)
    .slice(1)
    .map(section => {
      const [title = '', ...lines] = section.split('\n')
      return [
        title,
        lines
          .filter(line => line.startsWith('| '))
          .slice(1)
          .map(readRow),
      ]
    }),
)

function readRow(line: string): Row {
  const [attack = '', defence = '', cell = '', ...more] = line.slice(2, -2).split(' | ')
  if (more.length > 0 || !line.endsWith(' |')) throw new Error(`not three cells: ${line}`)
  const heldBy = [...cell.matchAll(/`(test\/[^`]+)` "([^"]+)"/g)].map(([, file = '', title = '']) => ({
    file,
    title,
  }))
  return { attack, defence, heldBy, cell }
}

t.test('every class of threats has rows, and no other section is there', async t => {
  t.same([...sections.keys()], [...CLASSES, OWASP])
  for (const [title, rows] of sections) t.ok(rows.length > 0, title)
})

t.test('every defence names the attack and at least one test, and says nothing else', async t => {
  for (const title of CLASSES)
    for (const { attack, defence, heldBy, cell } of sections.get(title) ?? []) {
      t.ok(attack.length > 10 && defence.length > 5, attack)
      t.ok(heldBy.length > 0, `${attack}: a test`)
      t.equal(heldBy.map(({ file, title }) => `\`${file}\` "${title}"`).join('<br>'), cell)
    }
})

t.test('the tests that are named are there', async t => {
  for (const rows of sections.values())
    for (const { attack, heldBy } of rows)
      for (const { file, title } of heldBy) {
        const path = join(ROOT, file)
        if (existsSync(path))
          t.ok(hasTest(readFileSync(path, 'utf8'), title), `${attack}: ${file} has the test "${title}"`)
        else t.fail(`${attack}: there is no ${file}`)
      }
})

t.test('a suite that is named is run by a test', async t => {
  const named = new Set([...sections.values()].flat().flatMap(({ heldBy }) => heldBy.map(({ file }) => file)))
  for (const file of [...named].filter(name => !name.endsWith('.test.ts'))) {
    const { dir, name } = parse(file)
    const tests = readdirSync(join(ROOT, dir)).filter(other => other.endsWith('.test.ts'))
    t.ok(
      tests.some(other => readFileSync(join(ROOT, dir, other), 'utf8').includes(`'./${name}.js'`)),
      file,
    )
  }
})

t.test('each OWASP risk is held from outside, or said to be out of scope', async t => {
  const rows = sections.get(OWASP) ?? []
  t.same(
    rows.map(({ attack }) => attack.split(' ')[0]),
    Array.from({ length: 10 }, (_, index) => `API${index + 1}`),
  )
  for (const { attack, defence, heldBy } of rows)
    t.equal(
      heldBy.some(({ file }) => BLACK_BOX.test(file)),
      !defence.startsWith('Out of scope: '),
      attack,
    )
})
