import t from 'tap'
import {
  ask,
  boundToken,
  createWorld,
  policyText,
  startCounting,
  startPostern,
  until,
  untilAsync,
} from '../support/postern.js'
import type { FailMode } from '../support/token-issuer.js'

// The risks of the OWASP API Security Top 10 (2023) that no other test of the running process shows. SECURITY.md has the table.

const world = await createWorld()
const upstream = await startCounting()
t.teardown(async () => {
  upstream.close()
  await world.close()
})

t.test(
  'owasp-api10: an issuer that misbehaves is an outage, is followed nowhere, and is forgiven',
  async t => {
    const { issuer, client } = world
    const keys = `{ url: ${issuer.jwksUrl}, cooldown: 1s, ca: issuer-ca.pem }`
    const postern = await startPostern(world, policyText(world, { upstream: upstream.url, keys }))
    t.teardown(() => postern.stop())
    const request = () => {
      const token = boundToken(world, client, 'authorization_code', { scope: 'basic' })
      return ask(world, postern, { path: '/accounts/1', client, token })
    }
    t.equal((await request()).status, 200)
    issuer.rotate() // every token from here on names a key that Postern has to ask for
    const before = upstream.requests.length
    for (const mode of ['redirect', 'huge', 'not-json'] satisfies FailMode[]) {
      issuer.failMode = mode
      const { fetches } = issuer
      let refused = await request()
      await untilAsync(
        async () => {
          refused = await request()
          return issuer.fetches > fetches
        },
        () => `${mode}: the issuer is not asked again`,
      )
      t.equal(refused.status, 503, mode)
    }
    t.equal(upstream.requests.length, before, 'nothing passed meanwhile')
    t.notOk(
      issuer.requests.some(target => target.includes('redirected')),
      'the redirect was not followed',
    )
    issuer.failMode = null
    await untilAsync(
      async () => (await request()).status === 200,
      () => 'the issuer is well again, and is not asked',
    )
    await until(
      () => postern.log().some(line => line.code === 'issuer_unavailable'),
      () => 'the log does not say that the issuer was unavailable',
    )
  },
)
