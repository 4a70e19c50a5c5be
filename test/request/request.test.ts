import fc from 'fast-check'
import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import { type Ambiguity, canonicalPath } from '../../src/request/canonical-path.js'
import { MAX_TOKEN_BYTES, readCredentials } from '../../src/request/credentials.js'
import { clientInteractionId } from '../../src/request/interaction-id.js'
import { type RequestHead, readRequest } from '../../src/request/request-facts.js'

const SERVED = { hosts: new Set(['api.bank.example', 'localhost:8443']), via: 'postern-1234' }

function head(changes: Partial<RequestHead> = {}): RequestHead {
  return {
    method: 'GET',
    url: '/a',
    httpVersion: '1.1',
    rawHeaders: ['Host', 'api.bank.example'],
    ...changes,
  }
}

function codeOf(verdict: unknown): string {
  return verdict instanceof Denial ? verdict.code : 'ok'
}

t.test('a path with one reading passes as it is', async t => {
  for (const path of [
    '/',
    '/a',
    '/a/b-c_d.e~f',
    "/a!$&'()*+,=:@",
    '/caf%C3%A9',
    '/caf%c3%a9',
    '/a/..b',
    '/a/...',
    '/x/http:/y',
    '/100%25',
    '/a%20b',
    '/a%3Fb',
    '/a/',
  ])
    t.same(canonicalPath(path), { path, ambiguities: [] })
})

t.test('what a route may allow is named, and the path stays as it came', async t => {
  const cases: readonly (readonly [path: string, ...held: Ambiguity[]])[] = [
    ['/a%2Fb', 'encodedSlash'],
    ['/a%2fb', 'encodedSlash'],
    ['/a;b', 'semicolon'],
    ['/a;b=c/d', 'semicolon'],
    ['/a%3bb', 'semicolon'],
    ['/%61dmin', 'encodedUnreserved'],
    ['/a%7Eb', 'encodedUnreserved'],
    ['/a%2541', 'encodedPercent'],
    ['/a%252fb', 'encodedSlash', 'encodedPercent'],
    ['/a%253Bb', 'semicolon', 'encodedPercent'],
    ['/a%25%34%31', 'encodedUnreserved', 'encodedPercent'],
    ['/a;%2F%7e%2541', 'encodedSlash', 'semicolon', 'encodedUnreserved', 'encodedPercent'],
  ]
  for (const [path, ...ambiguities] of cases) t.same(canonicalPath(path), { path, ambiguities })
})

t.test('a path with two readings is refused', async t => {
  const paths = [
    '//a',
    '/a//b',
    '/a/./b',
    '/a/../b',
    '/a/..',
    '/a/.',
    '/..',
    '/a%2f%2fb',
    '/a/%2F',
    '/a%2F..%2Fb',
    '/a%252F%252E%252E%252Fb',
    '/a\\b',
    '/a%5cb',
    '/a%5Cb',
    '/%2e%2e/a',
    '/a/%2e',
    '/a%255cb',
    '/a%2500',
    '/a%25252fb',
    '/a%25ff',
    '/a%25%2541',
    '/%EF%BC%8E%EF%BC%8E/a',
    '/a%EF%BC%8Fb',
    '/a%EF%BC%BCb',
    '/a%EF%BC%9Bb',
    '/a%EF%BC%852e',
    '/a%00',
    '/a%0d%0a',
    '/a%7f',
    '/a%',
    '/a%2',
    '/a%zz',
    '/a<b',
    '/a"b',
    '/a{b}',
    '/a|b',
    '/a^b',
    '/a`b',
    '/caf\u00e9',
    '/%ff',
    '/%c0%af',
    '/%ed%a0%80',
    `/${'a'.repeat(5000)}`,
    '',
    'a',
    '*',
    '/a#b',
    '/a?b',
    '/a b',
  ]
  for (const path of paths) t.equal(codeOf(canonicalPath(path)), 'path_ambiguous', JSON.stringify(path))
})

t.test('whatever the path, it passes unchanged or not at all, and no decoding of it moves', async t => {
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '%2e',
    '%2F',
    '%5c',
    '%25',
    '%',
    ';',
    '\\',
    'a',
    'B',
    '%41',
    '%c3%a9',
    '\0',
    '?',
    '#',
    ':',
    '@',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
      const path = `/${pieces.join('')}`
      const verdict = canonicalPath(path)
      if (verdict instanceof Denial || verdict.ambiguities.length > 0) return
      t.equal(verdict.path, path)
      const decoded = decodeURIComponent(path)
      t.equal(decoded.split('/').length, path.split('/').length, `${path}: decoding makes no segment`)
      t.notOk(/\\|;|\0|\/\.{0,2}\/|\/\.{1,2}$/.test(decoded), path)
      t.equal(new URL(`https://h${path}`).pathname, path, 'a URL parser keeps every byte')
    }),
    { numRuns: 2000 },
  )
})

t.test('a request with one reading becomes facts', async t => {
  const facts = readRequest(head({ url: '/a/b?c=d%20e' }), SERVED)
  t.match(facts, {
    method: 'GET',
    target: '/a/b?c=d%20e',
    path: '/a/b',
    query: 'c=d%20e',
    host: 'api.bank.example',
  })
  t.match(readRequest(head({ url: 'https://API.bank.example:443/a?b' }), SERVED), {
    target: '/a?b',
    path: '/a',
  })
  t.match(readRequest(head({ rawHeaders: ['hOst', 'LOCALHOST:8443'] }), SERVED), { host: 'localhost:8443' })
})

t.test('a request with two readings is refused', async t => {
  const host = ['Host', 'api.bank.example']
  const cases: [string, Partial<RequestHead>, string][] = [
    ['no Host', { rawHeaders: [] }, 'request_malformed'],
    ['two Hosts', { rawHeaders: [...host, ...host] }, 'request_malformed'],
    ['a Host with a path', { rawHeaders: ['Host', 'a/b@c'] }, 'request_malformed'],
    ['an empty Host', { rawHeaders: ['Host', ''] }, 'request_malformed'],
    ['another Host', { rawHeaders: ['Host', 'evil.example'] }, 'host_unknown'],
    ['another port', { rawHeaders: ['Host', 'api.bank.example:8443'] }, 'host_unknown'],
    ['another authority in the target', { url: 'https://evil.example/a' }, 'host_unknown'],
    [
      'another served host in the target than in Host',
      { url: 'https://localhost:8443/a' },
      'request_malformed',
    ],
    ['a plain http target', { url: 'http://api.bank.example/a' }, 'request_malformed'],
    ['user information in the target', { url: 'https://x@api.bank.example/a' }, 'request_malformed'],
    ['an asterisk', { method: 'OPTIONS', url: '*' }, 'request_malformed'],
    ['a fragment', { url: '/a#b' }, 'request_malformed'],
    ['a fragment in the query', { url: '/a?b#c' }, 'request_malformed'],
    ['raw UTF-8', { url: '/caf\u00e9' }, 'request_malformed'],
    ['a malformed escape in the query', { url: '/a?b=%zz' }, 'request_malformed'],
    ['CONNECT', { method: 'CONNECT', url: 'api.bank.example:443' }, 'request_malformed'],
    ['TRACE', { method: 'TRACE' }, 'request_malformed'],
    [
      'chunked HTTP/1.0',
      { httpVersion: '1.0', rawHeaders: [...host, 'Transfer-Encoding', 'chunked'] },
      'request_malformed',
    ],
    [
      'both framings',
      { rawHeaders: [...host, 'Transfer-Encoding', 'chunked', 'Content-Length', '5'] },
      'request_malformed',
    ],
    ['gzip, chunked', { rawHeaders: [...host, 'Transfer-Encoding', 'gzip, chunked'] }, 'request_malformed'],
    [
      'two Content-Types',
      { rawHeaders: [...host, 'Content-Type', 'a/b', 'content-type', 'c/d'] },
      'request_malformed',
    ],
    ['our own Via', { rawHeaders: [...host, 'Via', '1.1 other, 1.1 postern-1234'] }, 'request_malformed'],
  ]
  for (const [name, changes, code] of cases) t.equal(codeOf(readRequest(head(changes), SERVED)), code, name)
})

t.test('one token in one Authorization header is the only way to bring a token', async t => {
  t.same(readCredentials(['Authorization', 'Bearer abc.def-_~+/=='], ''), {
    scheme: 'bearer',
    token: 'abc.def-_~+/==',
  })
  for (const scheme of ['bearer', 'BEARER', 'bEARER'])
    t.match(readCredentials(['authorization', `${scheme} t`], ''), { scheme: 'bearer' })
  t.match(readCredentials(['Authorization', 'dpOp t'], 'a=1'), { scheme: 'dpop' })
  const cases: [string, string[], string, string][] = [
    ['nothing', [], '', 'credentials_missing'],
    ['Basic', ['Authorization', 'Basic YTpi'], '', 'credentials_missing'],
    ['no token', ['Authorization', 'Bearer'], '', 'credentials_malformed'],
    ['an empty token', ['Authorization', 'Bearer '], '', 'credentials_malformed'],
    ['two tokens', ['Authorization', 'Bearer a b'], '', 'credentials_malformed'],
    ['a comma', ['Authorization', 'Bearer a, Bearer b'], '', 'credentials_malformed'],
    ['a tab', ['Authorization', 'Bearer\ta'], '', 'credentials_missing'],
    ['two headers', ['Authorization', 'Bearer a', 'authorization', 'Bearer a'], '', 'credentials_multiple'],
    ['two schemes', ['Authorization', 'Bearer a', 'Authorization', 'DPoP b'], '', 'credentials_multiple'],
    ['header and query', ['Authorization', 'Bearer a'], 'access_token=b', 'credentials_multiple'],
    ['query', [], 'a=1&access_token=b', 'credentials_malformed'],
    ['encoded name', [], '%61ccess_token=b', 'credentials_malformed'],
    ['name without value', [], 'access_token', 'credentials_malformed'],
    ['after a semicolon', [], 'a=1;access_token=b', 'credentials_malformed'],
    ['too long', ['Authorization', `Bearer ${'a'.repeat(MAX_TOKEN_BYTES + 1)}`], '', 'token_malformed'],
  ]
  for (const [name, headers, query, code] of cases)
    t.equal(codeOf(readCredentials(headers, query)), code, name)
  t.match(
    readCredentials(['Authorization', 'Bearer a'], 'my_access_token=b&Access_Token=c'),
    { token: 'a' },
    'other names are not tokens',
  )
})

t.test('a valid interaction id is echoed to the letter, anything else is not', async t => {
  const id = '9F5B2c1a-0000-4aaa-8AAA-0123456789ab'
  t.equal(clientInteractionId(['X-FAPI-Interaction-ID', id]), id)
  for (const headers of [
    [],
    ['x-fapi-interaction-id', ''],
    ['x-fapi-interaction-id', `${id}, ${id}`],
    ['x-fapi-interaction-id', id, 'x-fapi-interaction-id', id],
    ['x-fapi-interaction-id', '{}'],
  ])
    t.equal(clientInteractionId(headers), null)
})
