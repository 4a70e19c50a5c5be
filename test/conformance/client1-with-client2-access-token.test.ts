import t from 'tap'
import { ask } from '../support/postern.js'
import { startResourceServer } from './resource-server.js'

// CS-15: RFC 8705 section 3, RFC 9449 section 7.1; F1-18, F1-19, F2-03, F2-08, MT-01, MT-02, DP-18.

const server = await startResourceServer('fapi1-advanced', 'fapi2')
t.teardown(server.close)
const { client1, client2, resource } = server

for (const resource of server.resources.filter(({ path }) => path !== '/nonce/1'))
  t.test(
    `client1-with-client2-access-token: a stolen token is no good without its certificate or key, ${resource.name}`,
    async t => {
      t.equal((await server.call(resource)).status, 200, 'client 1 with its own')
      t.equal((await server.call(resource, { client: client2 })).status, 200, 'client 2 with its own')
      const before = server.upstream.requests.length
      for (const [thief, owner] of [
        [client1, client2],
        [client2, client1],
      ] as const) {
        const token = server.tokenFor(resource, owner)
        const answered = await server.call(resource, { client: thief, token })
        t.equal(answered.status, 401, `${thief.id} with the token of ${owner.id}`)
        t.match(answered.headers['www-authenticate'], 'error="invalid_token"')
      }
      const unbound = server.tokenFor(resource, client1, { cnf: undefined })
      t.equal((await server.call(resource, { token: unbound })).status, 401, 'a token that is not bound')
      const { family, path } = resource
      const bare = { path, token: server.tokenFor(resource) }
      t.equal((await ask(server.world, server.at(family), bare)).status, 401, 'neither certificate nor proof')
      t.equal(server.upstream.requests.length, before, 'nothing was forwarded')
    },
  )

t.test('a route may ask for a certificate although the token is bound to a DPoP key', async t => {
  // F2-03: an ecosystem may demand mTLS as transport whatever binds the token.
  const token = server.tokenFor(resource.dpop)
  const dpop = () => server.proof(resource.mtls, token)
  const good = await server.call(resource.mtls, { token, scheme: 'DPoP', dpop: dpop() })
  t.equal(good.status, 200, 'any trusted certificate, and the key of the token')
  const withoutCertificate = await ask(server.world, server.at('fapi2'), {
    path: resource.mtls.path,
    headers: { Authorization: `DPoP ${token}`, DPoP: dpop() },
  })
  t.equal(withoutCertificate.status, 401, 'no certificate')
})
