import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import { type Http2Head, readHttp2Head } from '../../src/request/http2-head.js'

// RFC 9113 section 8, also where the library behind Node refuses it first: another version of it may not (HP-31).

const HEAD = [':method', 'GET', ':scheme', 'https', ':authority', 'api', ':path', '/a?b']

function read(fields: readonly string[], isWhole = true, mostBytes = 16_384): Http2Head | string {
  const head = readHttp2Head({ fields, isWhole, mostBytes })
  return head instanceof Denial ? `${head.code}: ${head.detail}` : head
}

t.test('a head is told in the words of HTTP/1.1', async t => {
  t.same(read([...HEAD, 'x-a', '1', 'te', 'trailers', 'x-a', '2']), {
    method: 'GET',
    target: '/a?b',
    headers: ['host', 'api', 'x-a', '1', 'te', 'trailers', 'x-a', '2'],
  })
  t.match(read([...HEAD, 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2']), {
    headers: ['host', 'api', 'x', 'y', 'cookie', 'a=1; b=2'],
  })
  t.match(read([...HEAD, 'host', 'API']), { headers: ['host', 'api'] }, 'the same host twice is one')
  const hostOnly = HEAD.filter((_, index) => index !== 4 && index !== 5)
  t.match(read([...hostOnly, 'host', 'api']), { headers: ['host', 'api'] })
  t.match(read(hostOnly), { headers: [] }, 'none is for the reader of all requests to refuse')
  t.match(
    read([...HEAD, 'host', 'api', 'host', 'api']),
    { headers: ['host', 'api', 'host', 'api'] },
    'so are two',
  )
})

t.test('a body has its length, or comes in chunks', async t => {
  t.match(read(HEAD, false), { headers: ['host', 'api', 'transfer-encoding', 'chunked'] })
  t.match(read([...HEAD, 'content-length', '3'], false), { headers: ['host', 'api', 'content-length', '3'] })
  t.match(read(HEAD, true), { headers: ['host', 'api'] })
})

t.test('what section 8 calls malformed is refused', async t => {
  const replaced = (name: string, value: string) => HEAD.with(HEAD.indexOf(name) + 1, value)
  const without = (name: string) => HEAD.toSpliced(HEAD.indexOf(name), 2)
  const cases: Record<string, readonly string[]> = {
    'a pseudo-header field after others': ['x', '1', ...HEAD],
    'one after host': [...HEAD.slice(0, 6), 'host', 'api', ...HEAD.slice(6)],
    'one after a cookie': [...HEAD.slice(0, 6), 'cookie', 'a=1', ...HEAD.slice(6)],
    'an unknown one': [...HEAD, ':protocol', 'websocket'],
    ':status': [':status', '200', ...HEAD],
    'one twice': [':path', '/b', ...HEAD],
    'no :method': without(':method'),
    'no :scheme': without(':scheme'),
    'no :path': without(':path'),
    CONNECT: replaced(':method', 'CONNECT'),
    ':scheme http': replaced(':scheme', 'http'),
    'absolute-form': replaced(':path', 'https://api/a'),
    'an empty :path': replaced(':path', ''),
    'an asterisk': replaced(':path', '*'),
    'another host': [...HEAD, 'host', 'other'],
    'upper case': [...HEAD, 'X-A', '1'],
    'an empty name': [...HEAD, '', '1'],
    'a space in a name': [...HEAD, 'x a', '1'],
    'a colon in a name': [...HEAD, 'x:a', '1'],
    'a line end in a name': [...HEAD, 'x\r\na', '1'],
    connection: [...HEAD, 'connection', 'close'],
    'http2-settings': [...HEAD, 'http2-settings', ''],
    'keep-alive': [...HEAD, 'keep-alive', '1'],
    'proxy-connection': [...HEAD, 'proxy-connection', 'close'],
    'transfer-encoding': [...HEAD, 'transfer-encoding', 'chunked'],
    upgrade: [...HEAD, 'upgrade', 'h2c'],
    te: [...HEAD, 'te', 'trailers, gzip'],
    'a length with a sign': [...HEAD, 'content-length', '+1'],
    'a list of lengths': [...HEAD, 'content-length', '1, 1'],
    'CR in a value': [...HEAD, 'x', 'a\rb'],
    'LF in a value': [...HEAD, 'x', 'a\nb'],
    'NUL in a value': [...HEAD, 'x', 'a\0b'],
    'a space before a value': [...HEAD, 'x', ' a'],
    'a tab after a value': [...HEAD, 'x', 'a\t'],
    'LF in a cookie': [...HEAD, 'cookie', 'a\nb'],
    'LF in a host': [...HEAD, 'host', 'api\n'],
  }
  for (const [name, fields] of Object.entries(cases)) t.match(read(fields), /^request_malformed: /, name)
})

t.test('fields are counted with 32 bytes each (section 6.5.2)', async t => {
  const bytes = HEAD.join('').length + (32 * HEAD.length) / 2
  t.match(read(HEAD, true, bytes), { target: '/a?b' })
  t.match(read(HEAD, true, bytes - 1), /^header_too_large: /)
})
