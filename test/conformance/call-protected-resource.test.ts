import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Answered } from '../support/postern.js'
import { type Resource, startResourceServer, valuesOf } from './resource-server.js'

// The happy path of FAPI 1.0 and FAPI 2.0: CS-07 to CS-12, CS-14; F1-01, F1-08 to F1-17, F1-23, F2-04, F2-14.

const server = await startResourceServer('fapi1-advanced', 'fapi2')
t.teardown(server.close)
const { client2 } = server
const resources = server.resources.filter(({ path }) => path !== '/nonce/1')

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const HTTP_DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/
const FIVE_MINUTES_MS = 5 * 60 * 1000

/** Some letters of either case, as CreateRandomFAPIInteractionId has them. */
function mixedCaseId(): string {
  return [...randomUUID()].map((c, index) => (index % 2 === 0 ? c.toUpperCase() : c)).join('')
}

/** What the suite looks at in every answer of a resource. */
function conforms(t: Test, answered: Answered): void {
  t.equal(answered.status, 200, 'EnsureHttpStatusCodeIs200or201')
  t.equal(answered.text, '{"ok":true}')
  const [date = '', ...moreDates] = valuesOf(answered, 'date')
  t.match(date, HTTP_DATE, 'CheckForDateHeaderInResourceResponse')
  t.ok(Math.abs(Date.parse(date) - Date.now()) < FIVE_MINUTES_MS, 'CheckForDateHeaderInResourceResponse')
  t.strictSame(moreDates, [], 'one Date')
  const [id = '', ...moreIds] = valuesOf(answered, 'x-fapi-interaction-id')
  t.match(id, UUID, 'CheckForFAPIInteractionIdInResourceResponse')
  t.strictSame(moreIds, [], 'one interaction id')
  const [type = '', ...moreTypes] = valuesOf(answered, 'content-type')
  t.match(type, /^application\/json(?:; ?charset=utf-8)?$/i, 'EnsureResourceResponseReturnedJsonContentType')
  t.strictSame(moreTypes, [], 'one content type')
}

const each = (words: string, test: (t: Test, resource: Resource) => Promise<void>) => {
  for (const resource of resources) t.test(`${words}, ${resource.name}`, t => test(t, resource))
}

t.test('the policies leave nothing of the profiles that they claim', async t => {
  for (const family of ['fapi1-advanced', 'fapi2'] as const) {
    const warnings = server
      .at(family)
      .log()
      .filter(({ msg }) => msg === 'policy warning')
      .map(({ problem }) => String(problem))
    t.strictSame(
      warnings.filter(problem => !problem.includes('the server certificate expires')),
      [],
      family,
    )
  }
})

each(
  'CallProtectedResource: the first client gets what it asks for, with every header',
  async (t, resource) => {
    for (const address of ['198.51.100.119', '2001:DB8::1893:25c8:1946']) {
      const id = mixedCaseId()
      const answered = await server.call(resource, {
        headers: {
          'x-fapi-auth-date': 'Tue, 11 Sep 2012 19:43:31 GMT',
          'x-fapi-customer-ip-address': address,
          'x-fapi-interaction-id': id,
          Accept: 'application/json',
        },
      })
      conforms(t, answered)
      t.equal(answered.headers['x-fapi-interaction-id'], id, 'EnsureMatchingFAPIInteractionId')
    }
  },
)

each(
  'CallProtectedResource: the second client, with no header of FAPI, gets the same',
  async (t, resource) => {
    const answers = [
      await server.call(resource, { client: client2 }),
      await server.call(resource, { client: client2 }),
    ]
    for (const answered of answers) conforms(t, answered)
    const ids = answers.map(({ headers }) => headers['x-fapi-interaction-id'])
    t.not(ids[0], ids[1], 'each interaction has an id of its own')
  },
)

each(
  'SetUtf8JsonAccept, SetPermissiveAccept: whatever the client accepts, it is served',
  async (t, resource) => {
    const variants: Record<string, string>[] = [
      { Accept: 'application/json;charset=UTF-8', 'Accept-Charset': 'UTF-8' },
      { Accept: 'application/json, application/*+json, */*' },
      {},
    ]
    for (const headers of variants) conforms(t, await server.call(resource, { headers }))
  },
)

t.test('a refusal has the same headers as an answer, in UTF-8', async t => {
  for (const resource of resources) {
    const answered = await server.call(resource, { token: 'none', anonymous: true, dpop: null })
    t.equal(answered.status, 401)
    t.match(valuesOf(answered, 'date'), [HTTP_DATE])
    t.match(valuesOf(answered, 'x-fapi-interaction-id'), [UUID])
    t.match(valuesOf(answered, 'content-type'), [/^application\/json(?:; ?charset=utf-8)?$/i])
    t.match(answered.json(), { code: String, message: String })
  }
})
