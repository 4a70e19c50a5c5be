import t from 'tap'
import { requestHead } from '../../src/upstream/request-head.js'

t.test('a request is written as it is, and kept alive', async t => {
  t.equal(
    requestHead('GET', '/a?b=\xe9', ['Host', 'api.example', 'X', 'a\tb \xff', 'x', '']),
    'GET /a?b=\xe9 HTTP/1.1\r\nHost: api.example\r\nX: a\tb \xff\r\nx: \r\nConnection: keep-alive\r\n\r\n',
  )
})

t.test('nothing ends its line early, or loses a bit on its way to bytes', async t => {
  const enders = ['\r', '\n', '\r\n', '\0', '\x01', '\x7f', '\u010d', '\u{1f600}']
  for (const ender of enders) {
    const text = `a${ender}Content-Length: 5`
    t.throws(() => requestHead('GET', '/', ['X', text]), `value with ${JSON.stringify(ender)}`)
    t.throws(() => requestHead('GET', '/', [text, 'x']), `name with ${JSON.stringify(ender)}`)
    t.throws(() => requestHead('GET', `/${text}`, []), `target with ${JSON.stringify(ender)}`)
    t.throws(() => requestHead(`GET${ender}`, '/', []), `method with ${JSON.stringify(ender)}`)
  }
  for (const target of ['', '/ HTTP/1.1', '/\t']) t.throws(() => requestHead('GET', target, []), target)
  for (const name of ['', 'X ', 'X:', ' X', '"X"']) t.throws(() => requestHead('GET', '/', [name, 'x']), name)
  for (const method of ['', 'G T', 'GET/']) t.throws(() => requestHead(method, '/', []), method)
})
