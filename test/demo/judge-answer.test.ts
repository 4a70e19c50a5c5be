import t from 'tap'
import { complaintsAbout } from '../../demo/judge-answer.js'
import type { Expectation } from '../../demo/situations.js'

const id = 'c770aef3-6784-41f7-8e0e-ff5f97bddb3a'
const always = { 'x-fapi-interaction-id': id, date: 'Fri, 29 Nov 2024 14:00:00 GMT' }
const refusal = {
  ...always,
  'content-type': 'application/json',
  'cache-control': 'no-store',
  'www-authenticate': 'Bearer realm="fdx", error="insufficient_scope", scope="a"',
}
const entity = '{"code":"602","message":"not authorised"}'
const denied: Expectation = { outcome: 'denied', status: 403, error: 'insufficient_scope' }
const allowed: Expectation = { outcome: 'allowed' }

const judge = (status: number, headers: Record<string, string>, body: string, expected: Expectation) =>
  complaintsAbout({ status, headers: new Headers(headers), body }, expected, id)

t.test('a right answer draws no complaint', async t => {
  t.strictSame(judge(204, always, '', allowed), [])
  t.strictSame(judge(403, refusal, entity, denied), [])
})

t.test('each thing that is wrong draws one', async t => {
  const wrong: [string, string[]][] = [
    ['a denial instead of 2xx', judge(403, always, entity, allowed)],
    ['a redirect instead of 2xx', judge(302, always, '', allowed)],
    ['2xx instead of a denial', judge(200, refusal, entity, denied)],
    ['no interaction id', judge(204, { date: always.date }, '', allowed)],
    [
      "another's interaction id",
      judge(204, { ...always, 'x-fapi-interaction-id': id.replace('c', 'd') }, '', allowed),
    ],
    ['no date', judge(204, { 'x-fapi-interaction-id': id }, '', allowed)],
    ['no JSON', judge(403, refusal, 'no', denied)],
    ['JSON null', judge(403, refusal, 'null', denied)],
    ['no message', judge(403, refusal, '{"code":"602"}', denied)],
    ['cacheable', judge(403, { ...refusal, 'cache-control': 'private' }, entity, denied)],
    [
      'another error',
      judge(403, { ...refusal, 'www-authenticate': 'Bearer error="invalid_token"' }, entity, denied),
    ],
    [
      'an error where none belongs',
      judge(403, refusal, entity, { outcome: 'denied', status: 403, error: undefined }),
    ],
  ]
  for (const [what, complaints] of wrong) t.equal(complaints.length, 1, what)
})

t.test('of several challenges, the one with the scheme that was tried says the error', async t => {
  const bearer = 'Bearer error="invalid_token", error_description="a, DPoP b"'
  const dpop = 'DPoP algs="PS256 ES256", error="invalid_dpop_proof"'
  const challenged = (challenge: string, scheme: 'Bearer' | 'DPoP', error: string) =>
    judge(401, { ...refusal, 'www-authenticate': challenge }, entity, {
      outcome: 'denied',
      status: 401,
      error,
      scheme,
    })
  t.strictSame(challenged(dpop, 'DPoP', 'invalid_dpop_proof'), [])
  t.strictSame(challenged(`Bearer, ${dpop}`, 'DPoP', 'invalid_dpop_proof'), [])
  t.strictSame(challenged('Bearer error="invalid_token", DPoP algs="ES256"', 'Bearer', 'invalid_token'), [])
  t.equal(challenged(dpop, 'Bearer', 'invalid_dpop_proof').length, 1, 'another scheme')
  t.equal(
    challenged(`${bearer}, DPoP algs="ES256"`, 'DPoP', 'invalid_token').length,
    1,
    'the error of another',
  )
})

t.test('an answer that blames nobody has no challenge', async t => {
  const unavailable: Expectation = { outcome: 'unavailable', status: 503 }
  const { 'www-authenticate': _, ...blameless } = refusal
  t.strictSame(judge(503, blameless, entity, unavailable), [])
  t.equal(judge(503, refusal, entity, unavailable).length, 1, 'a challenge')
  t.equal(judge(401, blameless, entity, unavailable).length, 1, 'another status')
  t.equal(judge(503, blameless, 'no', unavailable).length, 1, 'no entity')
})
