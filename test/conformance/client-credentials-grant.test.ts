import t from 'tap'
import { startResourceServer } from './resource-server.js'

// CS-24: the profile fapi_client_credentials_grant asks the same of a resource server; F2-17, FD-03.

const server = await startResourceServer('fapi2')
t.teardown(server.close)
const { client1, client2, resource, upstream } = server
const { machineMtls, machineDpop } = resource

for (const target of [machineMtls, machineDpop]) {
  t.test(`client-credentials-grant: either client is served as itself, ${target.name}`, async t => {
    for (const client of [client1, client2]) {
      t.equal((await server.call(target, { client })).status, 200, client.id)
      const seen = upstream.requests.at(-1)?.headers
      t.equal(seen?.['postern-client-id'], client.id)
      t.equal(seen?.['postern-flow'], 'client_credentials')
    }
  })

  t.test(`client-credentials-grant: a token of a user opens nothing here, ${target.name}`, async t => {
    const before = upstream.requests.length
    const token = server.tokenFor(target, client1, { sub: client1.user })
    t.equal((await server.call(target, { token })).status, 403)
    t.equal(upstream.requests.length, before)
  })
}

for (const target of [resource.mtls, resource.dpop])
  t.test(`client-credentials-grant: its token opens nothing of a user, ${target.name}`, async t => {
    const before = upstream.requests.length
    const token = server.tokenFor(target, client1, { sub: client1.id })
    t.equal((await server.call(target, { token })).status, 403)
    t.equal(upstream.requests.length, before)
  })
