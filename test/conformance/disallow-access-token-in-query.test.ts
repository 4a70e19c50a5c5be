import t from 'tap'
import { startResourceServer } from './resource-server.js'

// CS-13: FAPI 1.0 Part 1 section 6.2.1-3 (F1-03), FAPI 2.0 section 5.3.4-2 (F2-05).

const server = await startResourceServer('fapi1-advanced', 'fapi2')
t.teardown(server.close)

for (const resource of server.resources)
  t.test(`DisallowAccessTokenInQuery: a token in the URL opens nothing, ${resource.name}`, async t => {
    const before = server.upstream.requests.length
    const token = server.tokenFor(resource)
    for (const query of [`access_token=${token}`, `a=1&access_token=${token}`, `%61ccess_token=${token}`]) {
      const path = `${resource.path}?${query}`
      const anonymous = await server.call(resource, { path, token, anonymous: true, dpop: null })
      t.ok([400, 401, 414].includes(anonymous.status), 'without a header')
      const both = await server.call(resource, { path, token })
      t.ok([400, 401, 414].includes(both.status), 'with a header as well')
      t.match(both.json(), { code: String, message: String })
    }
    t.equal(server.upstream.requests.length, before, 'nothing was forwarded')
    t.notMatch(server.at(resource.family).output(), token.slice(0, 60), 'the log does not have the token')
  })
