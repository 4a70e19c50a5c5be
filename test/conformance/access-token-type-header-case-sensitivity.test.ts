import t from 'tap'
import { startResourceServer } from './resource-server.js'

// CS-16: RFC 9110 section 11.1; F1-02, F2-04, BT-01, DP-01.

const server = await startResourceServer('fapi1-advanced', 'fapi2')
t.teardown(server.close)

const SPELLINGS = {
  mtls: ['Bearer', 'bEARER', 'bearer', 'BEARER'],
  dpop: ['DPoP', 'dpOp', 'dpop', 'DPOP'],
} as const

for (const resource of server.resources.filter(({ path }) => path !== '/nonce/1'))
  t.test(
    `access-token-type-header-case-sensitivity: the scheme counts in any case, ${resource.name}`,
    async t => {
      for (const scheme of SPELLINGS[resource.constrained])
        t.equal((await server.call(resource, { scheme })).status, 200, scheme)
    },
  )
