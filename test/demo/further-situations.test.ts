import t from 'tap'
import { furtherAttemptsOf, furtherClients, furtherSituationNames } from '../../demo/further-situations.js'

const attempts = furtherClients.flatMap(furtherAttemptsOf)

t.test(
  'every situation is tried by some client, and every client is right and without the issuer',
  async t => {
    t.strictSame(
      furtherSituationNames.filter(name => !attempts.some(({ situation }) => situation === name)),
      [],
    )
    for (const client of furtherClients) {
      const tried = furtherAttemptsOf(client).map(({ situation }) => situation)
      t.ok(tried.includes('good') && tried.includes('issuer down'), client.name)
    }
  },
)

t.test('a token that is refused once it is revoked was let through before', async t => {
  for (const client of furtherClients.filter(({ format }) => format === 'opaque')) {
    const revoked = furtherAttemptsOf(client).filter(({ tokenFor }) => tokenFor === 'revoked')
    t.strictSame(
      revoked.map(({ after, expected }) => [after, expected.outcome]),
      [
        ['nothing', 'allowed'],
        ['revocation', 'denied'],
      ],
      client.name,
    )
    t.equal(new Set(revoked.map(({ flow }) => flow)).size, 1, 'it is the same token')
  }
})

t.test('a proof that is sent again was sent just before, with the same token', async t => {
  for (const [index, attempt] of attempts.entries()) {
    if (attempt.proof !== 'the one before') continue
    const { client, flow, tokenFor, proof, expected } = attempts[index - 1] ?? {}
    t.strictSame([client, flow, tokenFor], [attempt.client, attempt.flow, attempt.tokenFor])
    t.strictSame([proof, expected], ['own key', { outcome: 'allowed' }])
  }
})

t.test('only a client without DPoP is bound to its certificate', async t => {
  for (const { client, situation, expected } of attempts) {
    if (situation !== 'other certificate') continue
    t.equal(expected.outcome, client.binding === 'DPoP' ? 'allowed' : 'denied', client.name)
  }
})
