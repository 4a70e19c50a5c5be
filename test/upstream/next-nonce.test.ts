import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import { valuesOf } from '../../src/request/headers.js'
import { responseHeaders } from '../../src/upstream/response-headers.js'

// RFC 9449 section 8.2

const headersOf = (status: number, headers: readonly string[], nextNonce: string | null) => {
  const rules = { interactionId: 'id', isPublic: false, now: new Date(0), closes: false, nextNonce }
  const result = responseHeaders({ status, headers }, rules)
  if (result instanceof Denial) throw new Error(result.detail)
  return { nonce: valuesOf(result, 'dpop-nonce'), caching: valuesOf(result, 'cache-control'), all: result }
}
const UPSTREAM = [
  'Cache-Control',
  'max-age=60',
  'ETag',
  '"x"',
  'cache-control',
  'public',
  'DPoP-Nonce',
  'upstream',
]

t.test('an answer that succeeds carries the next nonce, once, and is not cached', async t => {
  for (const status of [200, 201, 204]) {
    const { nonce, caching, all } = headersOf(status, UPSTREAM, 'next')
    t.strictSame(nonce, ['next'])
    t.strictSame(caching, ['no-store'])
    t.strictSame(valuesOf(all, 'etag'), ['"x"'])
  }
})

t.test('other answers do not, and neither does one without a nonce', async t => {
  for (const [status, next] of [
    [304, 'next'],
    [404, 'next'],
    [500, 'next'],
    [200, null],
  ] as const) {
    const { nonce, caching } = headersOf(status, UPSTREAM, next)
    t.strictSame(nonce, [])
    t.strictSame(caching, ['max-age=60', 'public'])
  }
  t.strictSame(headersOf(404, [], 'next').caching, ['no-store'])
})
