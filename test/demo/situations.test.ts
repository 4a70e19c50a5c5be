import t from 'tap'
import { readEndpointTable, scopesOf } from '../../demo/endpoint-table.js'
import { sampleBody, samplePath } from '../../demo/sample-requests.js'
import { attemptsOf, situationNames } from '../../demo/situations.js'

const rows = readEndpointTable()
const allScopes = scopesOf(rows)

t.test('every row is tried in every situation, with a request that can be made', async t => {
  for (const row of rows) {
    const tried = new Set(attemptsOf(row, allScopes).map(({ situation }) => situation))
    t.strictSame([...tried], [...situationNames], `${row.method} ${row.endpoint}`)
    t.notMatch(samplePath(row), /[{}]/)
    t.doesNotThrow(() => sampleBody(row))
  }
})

t.test('only rows without scopes or without mutual TLS allow anything but the good situation', async t => {
  for (const row of rows) {
    for (const { situation, expected, token, certificate } of attemptsOf(row, allScopes)) {
      if (expected.outcome !== 'allowed' || situation === 'good') continue
      const reason =
        situation === 'wrong scope'
          ? row.scopes.kind === 'none'
          : !row.mutualTls && token?.client === 'data-provider' && certificate !== 'data-recipient'
      t.ok(reason, `${row.method} ${row.endpoint}: ${situation}`)
    }
  }
})

t.test('each alternative of "any" is tried alone, and an optional scope with and without', async t => {
  const good = (endpoint: string) =>
    rows
      .filter(row => row.endpoint === endpoint)
      .flatMap(row => attemptsOf(row, allScopes))
      .filter(({ situation }) => situation === 'good')
      .map(({ token }) => token?.scopes)
  t.strictSame(good('/fdx/v6/core/accounts'), [['fdx:accountbasic:read'], ['fdx:accountdetailed:read']])
  t.strictSame(good('/fdx/v6/core/accounts/{accountId}/contact'), [
    ['fdx:customercontact:read', 'fdx:customerpersonal:read'],
    ['fdx:customercontact:read'],
  ])
})

t.test(
  'a mutual TLS row is tried with unbound tokens, which alone show that it asks for a certificate',
  async t => {
    for (const row of rows.filter(({ mutualTls }) => mutualTls)) {
      const unbound = attemptsOf(row, allScopes).filter(({ token }) => token?.client === 'data-provider')
      t.strictSame(unbound.map(({ certificate }) => certificate).sort(), ['noCertificate', 'other-recipient'])
      t.ok(
        unbound.every(({ expected }) => expected.outcome === 'denied' && expected.error === 'invalid_token'),
      )
    }
  },
)
