import fc from 'fast-check'
import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import { excerpt } from '../../src/policy/excerpt.js'
import { JsonProblem, MAX_JSON_DEPTH, readJsonObject } from '../../src/policy/strict-json.js'
import { MAX_TOKEN_BYTES } from '../../src/request/credentials.js'
import { readCompactJws, unverifiedIssuer } from '../../src/sources/compact-jws.js'
import { encode } from '../support/token-issuer.js'

const HEADER = encode('{"alg":"ES256","typ":"at+jwt","kid":"k"}')
const PAYLOAD = encode('{"iss":"https://issuer.example"}')

function problemOf(text: string | Uint8Array): string | null {
  const result = readJsonObject(typeof text === 'string' ? Buffer.from(text) : text)
  return result instanceof JsonProblem ? result.detail : null
}

function malformed(token: string): string | null {
  const result = readCompactJws(token)
  if (!(result instanceof Denial)) return null
  return result.code === 'token_malformed' ? result.detail : `not token_malformed but ${result.code}`
}

t.test('one JSON object is read as JSON.parse reads it', async t => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 8 })), value => {
      const text = JSON.stringify(value, null, 1)
      t.same(readJsonObject(Buffer.from(text)), JSON.parse(text))
    }),
    { numRuns: 300 },
  )
})

t.test('a member name that occurs twice in one object is refused', async t => {
  const texts = [
    '{"a":1,"a":2}',
    '{"a":1,"b":{},"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"b":{"a":1,"a":1}}',
    '{"b":[1,{"a":[],"a":{}}]}',
    '{"":1,"":2}',
    '{"a\\"":1,"a\\"":2}',
    '{ "a" : "}" , "a" : 1 }',
    '{"__proto__":1,"__proto__":2}',
  ]
  for (const text of texts) t.match(problemOf(text), /^duplicate member name at offset \d+$/, text)
  const good = [
    '{"a":{"a":{"a":1}}}',
    '{"a":"a","b":"a"}',
    '{"a":["a","a"],"b":[{"a":1},{"a":1}]}',
    '{"a":"\\"a\\":1,"}',
  ]
  for (const text of good) t.equal(problemOf(text), null, text)
})

t.test('nesting is bounded', async t => {
  const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  t.equal(problemOf(nested(MAX_JSON_DEPTH)), null)
  t.match(problemOf(nested(MAX_JSON_DEPTH + 1)), /deeper than 16/)
  t.match(problemOf(`${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`), /deeper than 16/)
})

t.test('what is not an object in UTF-8 is refused', async t => {
  for (const text of ['[]', '1', 'null', '"a"', 'true']) t.equal(problemOf(text), 'not a JSON object', text)
  for (const text of ['', '{', '{"a":1}x', "{'a':1}", '{"a":01}', '\ufeff{}', '{"a":1,}', 'NaN'])
    t.equal(problemOf(text), 'not JSON', text)
  t.equal(problemOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'not JSON', 'invalid UTF-8')
})

t.test('the time to read is linear in the size', async t => {
  const members = Array.from({ length: 60_000 }, (_, index) => `"${index}":""`).join(',')
  const began = performance.now()
  t.equal(problemOf(`{${members}}`), null)
  t.ok(performance.now() - began < 2000, 'half a megabyte within two seconds on the slowest machine')
})

t.test('a compact JWS is three parts of canonical base64url with JSON objects', async t => {
  t.same(readCompactJws(`${HEADER}.${PAYLOAD}.AA`), {
    header: { alg: 'ES256', typ: 'at+jwt', kid: 'k' },
    claims: { iss: 'https://issuer.example' },
  })
  t.same(readCompactJws(`${encode('{"alg":"x"}')}.${encode('{}')}.`), {
    header: { alg: 'x', typ: null, kid: null },
    claims: {},
  })
  const bad: Record<string, RegExp> = {
    'opaque-token': /not three parts/,
    [`${HEADER}.${PAYLOAD}`]: /not three parts/,
    [`${HEADER}.${PAYLOAD}.AA.AA`]: /not three parts/,
    [`${HEADER}.AA.AA.AA.AA`]: /encrypted JWT/,
    [`${HEADER}.AA.AA.AA.AA.AA`]: /not three parts/,
    '...': /not three parts/,
    '..': /header: not JSON/,
    [`${HEADER}..AA`]: /payload: not JSON/,
    [`.${PAYLOAD}.AA`]: /header: not JSON/,
    [`${HEADER}.${PAYLOAD}.AB`]: /signature: not canonical/, // spare bits set
    [`${HEADER}.${PAYLOAD}.A`]: /signature: not canonical/,
    [`${HEADER}.${PAYLOAD}.AA==`]: /signature: not canonical/,
    [`${HEADER}.${PAYLOAD}.A+`]: /signature: not canonical/,
    [`${HEADER}.${PAYLOAD}.AA `]: /signature: not canonical/,
    [`${HEADER}=.${PAYLOAD}.AA`]: /header: not canonical/,
    [`${HEADER}.${PAYLOAD}\n.AA`]: /payload: not canonical/,
    [`${encode('[]')}.${PAYLOAD}.AA`]: /header: not a JSON object/,
    [`${HEADER}.${encode('"text"')}.AA`]: /payload: not a JSON object/,
    [`${HEADER}.${encode('{"iss":"a","iss":"b"}')}.AA`]: /payload: duplicate/,
    [`${encode('{"alg":"ES256","alg":"none"}')}.${PAYLOAD}.AA`]: /header: duplicate/,
    [`${encode('{}')}.${PAYLOAD}.AA`]: /alg is absent/,
    [`${encode('{"alg":["ES256"]}')}.${PAYLOAD}.AA`]: /alg is absent or not a string/,
    [`${encode('{"alg":"ES256","kid":1}')}.${PAYLOAD}.AA`]: /kid is not a string/,
    [`${encode('{"alg":"ES256","typ":null}')}.${PAYLOAD}.AA`]: /typ is not a string/,
    [`${encode(`{"alg":"ES256","kid":"${'k'.repeat(257)}"}`)}.${PAYLOAD}.AA`]: /kid is longer than 256/,
    [`${encode('{"alg":"ES256","crit":["exp"]}')}.${PAYLOAD}.AA`]: /^crit$/,
    [`${encode('{"alg":"ES256","crit":[]}')}.${PAYLOAD}.AA`]: /^crit$/,
    [`${encode('{"alg":"ES256","b64":false,"crit":["b64"]}')}.${PAYLOAD}.AA`]: /^crit$/,
    [`${HEADER}.${'A'.repeat(MAX_TOKEN_BYTES)}.AA`]: /longer than/,
  }
  for (const [token, expected] of Object.entries(bad)) t.match(malformed(token), expected, token.slice(0, 60))
})

t.test('any text at all is read or refused', async () => {
  const part = fc.oneof(fc.string(), fc.json().map(encode), fc.constantFrom(HEADER, PAYLOAD, ''))
  fc.assert(
    fc.property(fc.array(part, { maxLength: 7 }), parts => {
      const token = parts.join('.')
      readCompactJws(token)
      unverifiedIssuer(token)
    }),
    { numRuns: 1000 },
  )
})

t.test('the unverified issuer of a token', async t => {
  t.equal(unverifiedIssuer(`${HEADER}.${PAYLOAD}.AA`), 'https://issuer.example')
  for (const token of [
    '',
    'opaque',
    'a.b.c',
    `${HEADER}.${encode('null')}.AA`,
    `${HEADER}.${encode('{"iss":["a"]}')}.AA`,
    'x'.repeat(20_000),
  ])
    t.equal(unverifiedIssuer(token), null)
})

t.test('an excerpt for the log is short and on one line', async t => {
  t.equal(excerpt('a\n"b"'), '"a\\n\\"b\\""')
  t.equal(excerpt('x'.repeat(1000)).length, 83)
})
