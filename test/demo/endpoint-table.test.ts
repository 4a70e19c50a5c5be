import t from 'tap'
import { parseEndpointTables, readEndpointTable, scopesOf } from '../../demo/endpoint-table.js'

const table = (...rows: string[]) =>
  [
    'Text before, with a | in it.',
    '',
    '| Method | Endpoint | Security Protocol | Scopes Required | OAuth Flow |',
    '|--------|----------|-------------------|-----------------|------------|',
    ...rows,
  ].join('\n')

const scopesOfCell = (cell: string) =>
  parseEndpointTables(table(`| GET |\`/a\`| OAuth 2.0 | ${cell} | Client Credentials |`))[0]?.scopes

t.test('the shipped table has every row, once', async t => {
  const rows = readEndpointTable()
  t.equal(rows.length, 17)
  t.equal(new Set(rows.map(({ method, endpoint }) => `${method} ${endpoint}`)).size, 17)
  t.equal(rows.filter(row => row.mutualTls).length, 12)
  t.equal(rows.filter(row => row.flow === 'authorization_code').length, 9)
  t.equal(rows.filter(row => row.scopes.kind === 'none').length, 3)
  t.equal(scopesOf(rows).length, 11)
})

t.test('a scope cell says any, all, optional or none', async t => {
  t.strictSame(scopesOfCell('NA'), { kind: 'none' })
  t.strictSame(scopesOfCell('`a`'), { kind: 'all', scopes: ['a'], optional: [] })
  t.strictSame(scopesOfCell('`a`, `b`'), { kind: 'all', scopes: ['a', 'b'], optional: [] })
  t.strictSame(scopesOfCell('`a`, `b` (optional)'), { kind: 'all', scopes: ['a'], optional: ['b'] })
  t.strictSame(scopesOfCell('`a` or `b`'), { kind: 'any', scopes: ['a', 'b'] })
  t.strictSame(
    scopesOfCell('`a` or`b`'),
    { kind: 'any', scopes: ['a', 'b'] },
    'a missing blank changes nothing',
  )
})

t.test('what cannot be read is an error with its line, never a weaker rule', async t => {
  for (const cell of [
    '',
    'none',
    '`a` and `b`',
    '`a` or `b`, `c`',
    '`a` or `b` (optional)',
    '`a` if rich',
    'a',
  ]) {
    t.throws(() => scopesOfCell(cell), /^line 5: /, cell)
  }
  const row = (text: string) => () => parseEndpointTables(table(text))
  t.throws(row('| GET | `/a` | TLS | NA | Client Credentials |'), /unknown security protocol "tls"/)
  t.throws(row('| GET | `/a` | OAuth 2.0 | NA | Implicit |'), /unknown OAuth flow "Implicit"/)
  t.throws(row('| GET | a | OAuth 2.0 | NA | Client Credentials |'), /"a" is not a path/)
  t.throws(row('| get | `/a` | OAuth 2.0 | NA | Client Credentials |'), /"get" is not a method/)
})

t.test('other tables are left alone', async t => {
  t.strictSame(parseEndpointTables('| Scope | Description |\n|---|---|\n| `a` | reads |'), [])
})
