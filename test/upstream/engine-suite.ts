import { EventEmitter, once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { TAP } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import type { Upstream } from '../../src/policy/upstream.js'
import { Bench, chunked, exchangeOf, get, grantFor, head, INTERACTION } from '../support/engine-bench.js'
import { createAuthority } from '../support/pki.js'
import {
  answer,
  atHead,
  drip,
  hang,
  RecordingUpstream,
  raw,
  rawThenEnd,
  rawThenReset,
  rawWithReset,
  reset,
  type Step,
  stopReading,
  switchAndEcho,
} from '../support/recording-upstream.js'

const warnings: string[] = []
process.on('warning', warning => warnings.push(warning.message))

/** What every engine promises. Each engine has a test file of its own that calls this. */
export function engineSuite(t: TAP, engine: Upstream['engine']): void {
  t.test('what is sent', async t => {
    const bench = await Bench.start(engine, t)
    const { upstream } = bench

    t.test('identity, connection facts and the fields of the client', async t => {
      upstream.script(
        answer(200, 'hello', ['__proto__: x', 'Server: legacy', 'Set-Cookie: a=1', 'Set-Cookie: b=2']),
      )
      const reply = await bench.send(
        get('/x?y=1', 'X-A: 1', 'x-a: 2', 'Authorization: Bearer t', 'postern_subject: admin'),
      )
      t.equal(reply.status, 200)
      t.equal(reply.start, 'HTTP/1.1 200 Scripted')
      t.equal(reply.body.toString(), 'hello')
      t.same(reply.values('server'), [])
      t.same(reply.values('set-cookie'), ['a=1', 'b=2'])
      t.same(reply.values('x-fapi-interaction-id'), [INTERACTION])
      t.equal(reply.values('date').length, 1)
      const [request] = upstream.requests
      t.equal(request?.start, 'GET /x?y=1 HTTP/1.1')
      t.same(request?.values('x-a'), ['1', '2'])
      t.same(request?.values('host'), ['api.example'])
      t.same(request?.values('authorization'), ['Bearer t'])
      t.same(request?.values('postern-subject'), ['sub-1'])
      t.same(request?.values('postern_subject'), [])
      t.same(request?.values('via'), ['1.1 postern-test'])
      t.same(request?.values('x-forwarded-for'), ['192.0.2.7'])
      t.same(request?.values('connection'), ['keep-alive'])
      t.match(await bench.over(1), { status: 200, end: 'complete' })
    })

    for (const bytes of [256, 4096, 4097, 70_000]) {
      t.test(`${bytes} bytes of any value arrive as they were sent, however framed`, async t => {
        const content = Buffer.from(Array.from({ length: bytes }, (_, i) => i & 0xff))
        const text = content.toString('latin1')
        const framed = [
          `Content-Length: ${bytes}\r\n\r\n${text}`,
          `Transfer-Encoding: chunked\r\n\r\n${chunked(text)}`,
        ]
        for (const rest of framed) {
          upstream.script(raw(`HTTP/1.1 200 OK\r\n${rest}`))
          t.ok((await bench.send(get('/bytes'))).body.equals(content))
        }
      })
    }

    const paths = [
      '//a',
      '/a//b',
      '/x/http:/y',
      '/x/https:/y',
      '/a\\b',
      '/a/../b',
      '/a/./b',
      '/%2e%2e/a',
      '/a%2fb',
      '/a%5cb',
      '/a;b',
      '/%00',
      '/a%',
      '/a?b?c',
      '/a?u=http:/x//y',
      '/?',
      '*',
      '/a|b^c{d}"e<f>`',
    ]
    for (const path of paths) {
      t.test(`the bytes of the path: ${path}`, async t => {
        upstream.script(answer(200))
        await bench.send(get(path))
        t.equal(upstream.requests[0]?.start, `GET ${path} HTTP/1.1`)
      })
    }

    const smuggled = 'GET /admin HTTP/1.1\r\nHost: api.example\r\n\r\n'
    for (const method of ['DELETE', 'OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'PROPFIND']) {
      for (const lines of [
        [],
        ['Connection: transfer-encoding'],
        ['Connection: keep-alive, Transfer-Encoding, Content-Length'],
      ]) {
        t.test(`a chunked ${method} with a request for a body is one request ${lines.join()}`, async t => {
          upstream.script(answer(200))
          const client = await bench.client()
          client.write(head(method, '/pub', ...lines, 'Transfer-Encoding: chunked') + chunked(smuggled))
          t.equal((await client.answer(method)).status, 200)
          client.write(get('/next'))
          t.equal((await client.answer()).status, 200)
          client.destroy()
          t.same(
            upstream.requests.map(request => [request.target, request.body.toString()]),
            [
              ['/pub', smuggled],
              ['/next', ''],
            ],
          )
        })
      }
      t.test(`a ${method} with Content-Length and a request for a body is one request`, async t => {
        upstream.script(answer(200))
        const lines = [`Content-Length: ${smuggled.length}`, 'Connection: content-length']
        await bench.send(head(method, '/pub', ...lines) + smuggled, method)
        await bench.send(get('/next'))
        t.same(
          upstream.requests.map(request => [request.target, request.body.toString()]),
          [
            ['/pub', smuggled],
            ['/next', ''],
          ],
        )
      })
      t.test(`a ${method} without a body is framed so`, async t => {
        upstream.script(answer(200))
        await bench.send(head(method, '/pub'), method)
        await bench.send(get('/next'))
        t.same(
          upstream.requests.map(request => request.target),
          ['/pub', '/next'],
        )
        t.same(upstream.requests[0]?.values('transfer-encoding'), [])
      })
    }

    t.test(
      'Expect does not carry a forged identity past the rules, and 100 comes once the upstream is there',
      async t => {
        upstream.script(answer(200))
        const client = await bench.client()
        client.write(
          head('POST', '/x', 'Expect: 100-continue', 'Postern-Subject: admin', 'Content-Length: 4'),
        )
        t.equal((await client.answer()).status, 100)
        client.write('body')
        t.equal((await client.answer()).status, 200)
        client.destroy()
        const [request] = upstream.requests
        t.same(request?.values('postern-subject'), ['sub-1'])
        t.same(request?.values('expect'), [])
        t.equal(request?.body.toString(), 'body')
      },
    )

    t.test('trailers of the request do not become anything', async t => {
      upstream.script(answer(200))
      await bench.send(
        `${head('POST', '/x', 'Transfer-Encoding: chunked')}3\r\nabc\r\n0\r\nPostern-Subject: admin\r\n\r\n`,
      )
      t.same(upstream.requests[0]?.values('postern-subject'), ['sub-1'])
      t.equal(upstream.requests[0]?.body.toString(), 'abc')
      t.notMatch(upstream.connections.at(-1)?.bytes.toString(), /Subject: admin/)
    })

    t.test('200 requests with Keep-Alive do not wedge the pool, and nothing piles up', async t => {
      upstream.script(answer(200))
      const client = await bench.client()
      for (let i = 0; i < 200; i++) {
        client.write(
          get(`/${i}`, 'Keep-Alive: 1', 'Connection: keep-alive', 'TE: trailers', 'Proxy-Connection: x'),
        )
        if ((await client.answer()).status !== 200) t.fail(`request ${i}`)
      }
      client.write(get('/normal'))
      t.equal((await client.answer()).status, 200)
      client.destroy()
      const used = new Set(upstream.requests.map(request => request.connection))
      t.equal(used.size, 1, 'one upstream connection')
      t.same(warnings, [], 'no warning of too many listeners, nor of anything deprecated')
    })

    t.test('an Upgrade that the route does not serve is an ordinary request', async t => {
      for (const protocol of ['h2c', 'websocket', 'TLS/1.0']) {
        upstream.script(answer(200, 'plain'))
        const client = await bench.client()
        client.write(
          get('/x', `Upgrade: ${protocol}`, 'HTTP2-Settings: AAA', 'Connection: Upgrade, HTTP2-Settings'),
        )
        const reply = await client.answer()
        t.match(reply, { status: 200 })
        t.same(reply.values('connection'), ['close'])
        await client.closed()
        t.same(upstream.requests[0]?.values('upgrade'), [])
        t.same(upstream.requests[0]?.values('http2-settings'), [])
        t.same(upstream.requests[0]?.values('connection'), ['keep-alive'])
      }
    })

    t.test('__proto__ and other odd names do no harm', async t => {
      upstream.script(answer(200))
      await bench.send(get('/x', '__proto__: a', '__proto__: b', 'constructor: c', '1: d'))
      t.same(upstream.requests[0]?.values('constructor'), ['c'])
      t.same(upstream.requests[0]?.values('1'), ['d'])
    })
  })

  t.test('an upstream that fails before its answer', async t => {
    const bench = await Bench.start(engine, t, { connectTimeoutMs: 300, responseTimeoutMs: 300 })
    const cases: readonly (readonly [string, Step, number, string])[] = [
      ['resets', reset(), 502, 'upstream_unavailable'],
      ['ends without a byte', rawThenEnd(''), 502, 'upstream_unavailable'],
      ['resets within the head', rawThenReset('HTTP/1.1 200 OK\r\nX: '), 502, 'upstream_unavailable'],
      ['ends within the head', rawThenEnd('HTTP/1.1 200 OK\r\nX: '), 502, 'upstream_unavailable'],
      ['never answers', hang(), 504, 'upstream_timeout'],
      ['never ends its head', drip(['HTTP/1.1 200 OK\r\nX: 1\r\n', 'Y: 2\r\n'], 50), 504, 'upstream_timeout'],
      [
        'sends 1xx for ever',
        drip(Array(40).fill('HTTP/1.1 102 Processing\r\n\r\n'), 20),
        504,
        'upstream_timeout',
      ],
      ['speaks no HTTP', raw('SSH-2.0-OpenSSH_9\r\n\r\n'), 502, 'upstream_malformed'],
      [
        'sends both framings',
        raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      [
        'sends both framings the other way round',
        raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      [
        'sends two lengths',
        raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!'),
        502,
        'upstream_malformed',
      ],
      [
        'sends a negative length',
        raw('HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      [
        'sends another coding',
        raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      ['breaks a field', raw('HTTP/1.1 200 OK\r\nX y: 1\r\n\r\n'), 502, 'upstream_malformed'],
      [
        'folds a field',
        raw('HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      [
        'sends a NUL',
        raw('HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      [
        'sends a huge head',
        raw(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`),
        502,
        'upstream_malformed',
      ],
      [
        'sends a status of no class',
        raw('HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
      ['switches protocols unasked', switchAndEcho(), 502, 'upstream_malformed'],
      [
        'switches to nothing',
        raw('HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
        502,
        'upstream_malformed',
      ],
    ]
    for (const [name, step, status, code] of cases) {
      t.test(name, async t => {
        bench.upstream.script(step)
        const before = bench.outcomes.length
        const reply = await bench.send(`${head('POST', '/x', 'Content-Length: 2')}ab`)
        t.equal(reply.status, status)
        t.same(reply.values('x-code'), [code])
        t.match(await bench.over(before + 1), { code })
        await bench.upstream.abandoned()
        t.equal(bench.upstream.requests.length, 1, 'not sent twice')
      })
    }

    t.test('is not there', async t => {
      const gone = await Bench.start(engine, t)
      await gone.upstream.stop()
      const reply = await gone.send(get('/x'))
      t.match([reply.status, reply.values('x-code')], [502, ['upstream_unavailable']])
    })

    t.test('has a name that nobody knows', async t => {
      const nowhere = await Bench.start(engine, t, { url: 'http://provider.invalid:81' })
      const reply = await nowhere.send(get('/x'))
      t.match([reply.status, reply.values('x-code')], [502, ['upstream_unavailable']])
    })

    t.test('does not take the connection', async t => {
      // TEST-NET-1 (RFC 5737): either nothing answers, or the machine says at once that there is no way.
      const silent = await Bench.start(engine, t, { url: 'http://192.0.2.1:81', connectTimeoutMs: 200 })
      const reply = await silent.send(get('/x'))
      t.ok(reply.status === 504 || reply.status === 502, reply.values('x-code').join())
    })

    t.test('a route may have its own time', async t => {
      const slow = await Bench.start(engine, t, { responseTimeoutMs: 5000 }, 100, { responseTimeoutMs: 100 })
      slow.upstream.script(hang())
      const startedAt = Date.now()
      t.equal((await slow.send(get('/x'))).status, 504)
      t.ok(Date.now() - startedAt < 1000)
    })

    t.test('a client that sends slowly is not the fault of the upstream', async t => {
      bench.upstream.script(answer(200))
      const client = await bench.client()
      client.write(head('POST', '/x', 'Content-Length: 4'))
      for (const byte of 'slow') {
        await delay(200)
        client.write(byte)
      }
      t.equal((await client.answer()).status, 200)
      client.destroy()
    })
  })

  t.test('an idle connection that the upstream closed', async t => {
    const bench = await Bench.start(engine, t)
    const { upstream } = bench

    t.test('is replaced for a GET', async t => {
      upstream.script(answer(200), reset(), answer(200, 'again'))
      await bench.send(get('/first'))
      const reply = await bench.send(get('/second'))
      t.match([reply.status, reply.body.toString()], [200, 'again'])
      t.same(
        upstream.requests.map(request => request.target),
        ['/first', '/second', '/second'],
      )
    })

    t.test('but not for a POST, which might be done twice', async t => {
      upstream.script(answer(200), reset(), answer(200, 'again'))
      await bench.send(get('/first'))
      t.equal((await bench.send(head('POST', '/second'))).status, 502)
      t.equal(upstream.requests.length, 2)
    })

    t.test('nor twice', async t => {
      upstream.script(answer(200), reset(), reset(), answer(200))
      await bench.send(get('/first'))
      t.equal((await bench.send(get('/second'))).status, 502)
      t.equal(upstream.requests.length, 3)
    })

    t.test('nor after a byte of an answer', async t => {
      upstream.script(answer(200), rawThenReset('HTTP/1.1 2'), answer(200))
      await bench.send(get('/first'))
      t.equal((await bench.send(get('/second'))).status, 502)
      t.equal(upstream.requests.length, 2)
    })

    t.test("bytes that come while it is idle are nobody's answer", async t => {
      const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'
      const first = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
      const cases = [
        ['GET', raw(first + poison)],
        ['GET', drip([first, poison], 30)],
        ['HEAD', drip(['HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n', 'poison'], 30)],
      ] as const
      for (const [method, step] of cases) {
        upstream.script(step, answer(200, 'clean'))
        t.equal((await bench.send(head(method, '/first'), method)).status, 200)
        await delay(80)
        t.equal((await bench.send(get('/second'))).body.toString(), 'clean')
        const [one, two] = upstream.requests
        t.not(one?.connection, two?.connection, 'a connection of its own')
      }
    })
  })

  t.test('the answer', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 300 })
    const { upstream } = bench

    t.test('is delivered in each framing', async t => {
      const client = await bench.client()
      const replies: readonly (readonly [Step, string, number, string])[] = [
        [
          raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n'),
          'GET',
          200,
          'abc',
        ],
        [rawThenEnd('HTTP/1.0 200 OK\r\n\r\nuntil the end'), 'GET', 200, 'until the end'],
        [answer(200, ''), 'GET', 200, ''],
        [answer(204), 'GET', 204, ''],
        [raw('HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n'), 'GET', 204, ''],
        [raw('HTTP/1.1 304 Not\r\nContent-Length: 77\r\n\r\n'), 'GET', 304, ''],
        [raw('HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n'), 'HEAD', 200, ''],
        [raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'), 'HEAD', 200, ''],
        [
          raw(
            'HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx',
          ),
          'GET',
          200,
          'x',
        ],
        [answer(302, '', ['Location: http://elsewhere/']), 'GET', 302, ''],
        [raw('HTTP/1.1 200 \xe9\r\nContent-Length: 1\r\n\r\nx'), 'GET', 200, 'x'],
        [answer(500, 'sorry'), 'GET', 500, 'sorry'],
      ]
      for (const [step, method, status, body] of replies) {
        upstream.script(step)
        client.write(head(method, '/x'))
        const reply = await client.answer(method)
        t.match([reply.status, reply.body.toString(), reply.values('date').length], [status, body, 1])
        t.match(await bench.over(bench.outcomes.length), { status, end: 'complete' })
      }
      client.write(head('GET', '/x', 'Connection: close'))
      await client.answer()
      t.same(
        await client.closed(),
        { rest: Buffer.alloc(0), ending: 'ended' },
        'nothing after the last answer',
      )
    })

    t.test('to HTTP/1.0 is not chunked', async t => {
      upstream.script(raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'))
      const client = await bench.client()
      client.write('GET /x HTTP/1.0\r\nHost: api.example\r\n\r\n')
      const { rest } = await client.closed()
      t.match(rest.toString(), /\r\n\r\nabc$/)
    })

    const truncated: readonly (readonly [string, Step])[] = [
      ['ends short of its length', rawThenEnd('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart')],
      ['resets short of its length', rawThenReset('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart')],
      ['resets where its end would have been its length', rawThenReset('HTTP/1.1 200 OK\r\n\r\npart')],
      [
        'resets at once short of its length',
        rawWithReset('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'),
      ],
      [
        'resets at once within chunks',
        rawWithReset('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'),
      ],
      // Node 20 calls such a reset an end, and node:http believes it.
      ...(engine === 'builtin'
        ? ([
            [
              'resets at once where its end would have been its length',
              rawWithReset('HTTP/1.1 200 OK\r\n\r\npart'),
            ],
          ] as const)
        : []),
      [
        'ends within chunks',
        rawThenEnd('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'),
      ],
      [
        'resets within chunks',
        rawThenReset('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'),
      ],
      [
        'breaks a chunk',
        drip(['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n', 'zz\r\n'], 30),
      ],
      ['falls silent', raw('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart')],
    ]
    // Only silence has to be waited out.
    const patient = await Bench.start(engine, t, { responseTimeoutMs: 60_000 })
    for (const [name, step] of truncated)
      for (const request of [get('/x'), `${head('POST', '/x', 'Content-Length: 3')}abc`]) {
        t.test(`that ${name} is seen to be truncated: ${request.split(' ', 1)}`, async t => {
          const place = name === 'falls silent' ? bench : patient
          place.upstream.script(step)
          const before = place.outcomes.length
          const client = await place.client()
          client.write(request)
          const { rest } = await client.closed()
          t.match(rest.toString(), /^HTTP\/1.1 200 .*part/s, 'what came of it')
          t.notMatch(rest.toString(), /0\r\n\r\n$/, 'no last chunk')
          t.match(await place.over(before + 1), { status: 200, end: 'truncated' })
          await place.upstream.abandoned()
        })
      }

    t.test('that drips is not cut off', async t => {
      upstream.script(drip(['HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n', 's', 'l', 'o', 'w'], 200))
      t.equal((await bench.send(get('/x'))).body.toString(), 'slow')
    })

    for (const [name, step] of [
      ['and waits', atHead(answer(413, 'too much', ['Connection: close']))],
      ['and ends', atHead(rawThenEnd('HTTP/1.1 413 Too\r\nContent-Length: 8\r\n\r\ntoo much'))],
      ['and resets', atHead(rawThenReset('HTTP/1.1 413 Too\r\nContent-Length: 8\r\n\r\ntoo much'))],
      [
        'and destroys its socket at once',
        atHead({
          act: socket => {
            socket.write('HTTP/1.1 413 Too\r\nContent-Length: 8\r\n\r\ntoo much', () => socket.destroy())
          },
        }),
      ],
    ] as const) {
      t.test(`that comes early, ${name}, is delivered`, async t => {
        for (let i = 0; i < 20; i++) {
          upstream.script(step)
          const before = bench.outcomes.length
          const client = await bench.client()
          client.write(head('POST', '/x', 'Content-Length: 900000') + 'x'.repeat(600_000))
          const reply = await client.answer()
          t.match(
            [reply.status, reply.body.toString(), reply.values('connection')],
            [413, 'too much', ['close']],
          )
          client.write('x'.repeat(300_000))
          t.same(await client.closed(), { rest: Buffer.alloc(0), ending: 'ended' })
          t.match(await bench.over(before + 1), { status: 413, end: 'complete' })
        }
      })
    }
  })

  t.test('a body', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 500 }, 1000)
    const { upstream } = bench

    t.test('announced as too large is refused before anything is sent', async t => {
      upstream.script(answer(200))
      const before = upstream.connections.length
      const reply = await bench.send(head('POST', '/x', 'Content-Length: 1001', 'Expect: 100-continue'))
      t.match([reply.status, reply.values('x-code')], [413, ['body_too_large']])
      t.equal(upstream.connections.length, before)
    })

    t.test('that turns out too large is refused, and the upstream never sees it end', async t => {
      upstream.script(answer(200))
      const client = await bench.client()
      client.write(head('POST', '/x', 'Transfer-Encoding: chunked'))
      client.write(`3e8\r\n${'x'.repeat(1000)}\r\n`)
      await upstream.until(
        () =>
          upstream.connections.at(-1)?.closed === false &&
          (upstream.connections.at(-1)?.byteCount ?? 0) > 1000,
        2000,
        () => 'first chunk',
      )
      client.write('1\r\nx\r\n')
      const reply = await client.answer()
      t.match([reply.status, reply.values('x-code')], [413, ['body_too_large']])
      await upstream.abandoned()
      t.equal(upstream.requests.length, 0)
      client.destroy()
    })

    t.test('of just the limit passes', async t => {
      upstream.script(answer(200))
      t.equal(
        (await bench.send(head('POST', '/x', 'Transfer-Encoding: chunked') + chunked('x'.repeat(1000))))
          .status,
        200,
      )
      t.equal((await bench.send(head('POST', '/x', 'Content-Length: 1000') + 'x'.repeat(1000))).status, 200)
      t.same(
        upstream.requests.map(request => request.body.length),
        [1000, 1000],
      )
    })

    t.test('that grows too large after the answer began ends both', async t => {
      upstream.script(atHead(raw('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart')))
      const before = bench.outcomes.length
      const client = await bench.client()
      client.write(`${head('POST', '/x', 'Transfer-Encoding: chunked')}1\r\nx\r\n`)
      await client.bytes(15)
      client.write(`3e8\r\n${'x'.repeat(1000)}\r\n`)
      await client.closed()
      t.match(await bench.over(before + 1), { status: 200, end: 'aborted' })
      await upstream.abandoned()
    })

    t.test('and an answer may flow at the same time', async t => {
      upstream.script(atHead(raw('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab')))
      const client = await bench.client()
      client.write(`${head('POST', '/x', 'Transfer-Encoding: chunked')}1\r\n1\r\n`)
      await client.bytes(15)
      client.write('1\r\n2\r\n0\r\n\r\n')
      await upstream.arrived(1)
      upstream.connections.at(-1)?.socket.write('cd')
      const reply = await client.answer()
      t.equal(reply.body.toString(), 'abcd')
      t.equal(upstream.requests[0]?.body.toString(), '12')
      client.destroy()
    })
  })

  t.test('a client that leaves', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 5000 })
    const { upstream } = bench

    const moments: readonly (readonly [string, Step, string, number])[] = [
      ['before the answer', hang(), get('/x'), 0],
      ['while it sends', hang(), `${head('POST', '/x', 'Content-Length: 100')}part`, 0],
      ['within the answer', raw('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'), get('/x'), 20],
    ]
    for (const [name, step, request, bytes] of moments) {
      for (const way of ['reset', 'destroy'] as const) {
        t.test(`${name} by ${way} takes the upstream request with it`, async t => {
          upstream.script(step)
          const before = bench.outcomes.length
          const known = upstream.connections.length
          const client = await bench.client()
          client.write(request)
          await upstream.until(
            () =>
              upstream.connections.slice(known).some(each => each.byteCount > 0) ||
              upstream.requests.length > 0,
            2000,
            () => 'request',
          )
          await client.bytes(bytes)
          client[way]()
          const outcome = await bench.over(before + 1)
          if (bytes === 0) t.equal(outcome, null)
          else t.match(outcome, { status: 200, end: 'aborted' })
          await upstream.abandoned()
        })
      }
    }

    t.test('before forwarding begins is not forwarded', async t => {
      upstream.script(answer(200))
      const socket = { destroyed: true }
      const request = { socket } as unknown as IncomingMessage
      const response = Object.assign(new EventEmitter(), { destroyed: true }) as unknown as ServerResponse
      const grant = grantFor({ method: 'GET', url: '/x', rawHeaders: [] } as unknown as IncomingMessage, {})
      const terms = { bodyBytes: 1, clientStallMs: 1, answerBy: Number.POSITIVE_INFINITY, onAnswer: () => {} }
      t.equal(await bench.engine.attempt(grant, exchangeOf(request, response), terms), null)
      t.equal(upstream.requests.length, 0)
    })
  })

  t.test('connections to the upstream', async t => {
    t.test('are as many as configured, as many wait, and the next is refused at once', async t => {
      const bench = await Bench.start(engine, t, {
        connections: 2,
        connectTimeoutMs: 5000,
        responseTimeoutMs: 5000,
      })
      bench.upstream.script(hang())
      const clients = []
      for (let i = 0; i < 4; i++) {
        const client = await bench.client()
        client.write(get(`/${i}`))
        clients.push(client)
        await delay(20)
      }
      const refused = await bench.send(get('/4'))
      t.match([refused.status, refused.values('x-code')], [502, ['upstream_unavailable']])
      t.same(
        bench.upstream.requests.map(request => request.target),
        ['/0', '/1'],
      )
      clients[2]?.reset() // gives up waiting
      await bench.over(2)
      clients[0]?.reset() // makes room
      await bench.upstream.arrived(3)
      t.same(
        bench.upstream.requests.map(request => request.target),
        ['/0', '/1', '/3'],
      )
      for (const client of clients) client.destroy()
      await bench.over(5)
      bench.upstream.script(answer(200))
      for (let i = 0; i < 5; i++) t.equal((await bench.send(get('/after'))).status, 200)
    })

    t.test('are not waited for longer than it may take to connect', async t => {
      const bench = await Bench.start(engine, t, {
        connections: 1,
        connectTimeoutMs: 100,
        responseTimeoutMs: 5000,
      })
      bench.upstream.script(hang())
      const client = await bench.client()
      client.write(get('/0'))
      await bench.upstream.arrived(1)
      const reply = await bench.send(get('/1'))
      t.match([reply.status, reply.values('x-code')], [502, ['upstream_unavailable']])
      client.destroy()
    })

    t.test('survive a storm of failures', async t => {
      const bench = await Bench.start(engine, t, { connections: 2, responseTimeoutMs: 100 })
      const steps = [
        reset(),
        hang(),
        raw('nonsense\r\n\r\n'),
        rawThenEnd('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx'),
      ]
      for (const step of steps) {
        bench.upstream.script(step)
        await Promise.all(
          Array.from({ length: 4 }, async () => {
            const client = await bench.client()
            client.write(get('/x'))
            await client.closed()
          }),
        )
      }
      bench.upstream.script(answer(200))
      for (let i = 0; i < 5; i++) t.equal((await bench.send(get('/after'))).status, 200)
    })

    t.test('end when the engine closes: idle ones now, busy ones after their exchange', async t => {
      const bench = await Bench.start(engine, t)
      bench.upstream.script(answer(200), hang())
      await Promise.all([bench.send(get('/idle'))])
      const client = await bench.client()
      client.write(get('/busy'))
      await bench.upstream.arrived(2)
      bench.engine.close()
      await delay(50)
      const [connection] = bench.upstream.connections
      t.equal(connection?.closed, false)
      connection?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone')
      t.equal((await client.answer()).body.toString(), 'done')
      await bench.upstream.abandoned()
      bench.upstream.script(answer(200))
      client.write(get('/late'))
      t.equal((await client.answer()).status, 200, 'a request that was on its way still passes')
      await bench.upstream.abandoned()
      client.destroy()
    })
  })

  t.test('backpressure', async t => {
    const MEGABYTE = 1024 * 1024

    t.test(
      'a client that does not read stops the upstream, for as long as it likes, and loses nothing',
      async t => {
        const bench = await Bench.start(engine, t, { responseTimeoutMs: 300 })
        const total = 100 * MEGABYTE
        let written = 0
        bench.upstream.script({
          act: socket => {
            socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
            const chunk = Buffer.alloc(MEGABYTE / 4)
            const fill = (): void => {
              while (written < total) {
                written += chunk.length
                if (!socket.write(chunk)) return
              }
            }
            socket.on('drain', fill)
            fill()
          },
        })
        const client = await bench.client()
        client.socket.pause()
        client.socket.removeAllListeners('data')
        client.write(get('/x'))
        await delay(1000)
        t.ok(written < 40 * MEGABYTE, `${written / MEGABYTE} MB written`)
        t.equal(bench.outcomes.length, 0, 'still running')
        let received = 0
        client.socket.on('data', chunk => {
          received += chunk.length
        })
        client.socket.resume()
        t.match(await bench.over(1), { status: 200, end: 'complete' })
        await delay(100)
        t.ok(received > total)
        client.destroy()
      },
    )

    t.test('an upstream that does not read stops the client, and is given up', async t => {
      const bench = await Bench.start(engine, t, { responseTimeoutMs: 700 }, 1000 * MEGABYTE)
      bench.upstream.script(atHead(stopReading()))
      const client = await bench.client()
      const total = 100 * MEGABYTE
      client.write(head('POST', '/x', `Content-Length: ${total}`))
      for (let sent = 0; sent < total; sent += MEGABYTE) client.socket.write(Buffer.alloc(MEGABYTE))
      const reply = await client.answer()
      t.match([reply.status, reply.values('x-code')], [504, ['upstream_timeout']])
      const taken = client.socket.bytesWritten - client.socket.writableLength
      t.ok(taken < 40 * MEGABYTE, `${taken / MEGABYTE} MB taken from the client`)
      client.destroy()
    })
  })

  t.test('an upstream behind TLS', async t => {
    const authority = await createAuthority('Upstream CA')
    const tlsOptions = { extendedKeyUsage: null, sanDns: ['localhost'] }
    const right = await authority.issue(tlsOptions)
    const wrongName = await authority.issue({ ...tlsOptions, sanDns: ['api.example'] })
    const cases = [
      ['is verified by its own name', right, authority.certificatePem, 200],
      [
        'is refused when it has only the name that the client asked for',
        wrongName,
        authority.certificatePem,
        502,
      ],
      ['is refused without the authority', right, null, 502],
    ] as const
    for (const [name, issued, ca, status] of cases) {
      t.test(name, async t => {
        const upstream = await RecordingUpstream.start({ key: issued.keyPem, cert: issued.certificatePem })
        t.teardown(() => upstream.stop())
        const bench = await Bench.start(engine, t, { url: upstream.url, ca })
        t.equal((await bench.send(get('/x'))).status, status)
        if (status === 200) {
          t.equal((await bench.send(`${head('POST', '/y', 'Content-Length: 2')}ab`)).status, 200)
          t.equal(upstream.connections.length, 1, 'kept alive')
        } else t.equal(upstream.requests.length, 0)
      })
    }
  })

  t.test(
    'an upstream that does not finish the TLS handshake is given up like one that does not connect',
    async t => {
      const upstream = await RecordingUpstream.start()
      t.teardown(() => upstream.stop())
      upstream.script(hang())
      const bench = await Bench.start(engine, t, {
        url: upstream.url.replace('http:', 'https:'),
        connectTimeoutMs: 200,
      })
      const reply = await bench.send(get('/x'))
      t.match([reply.status, reply.values('x-code')], [504, ['upstream_timeout']])
    },
  )

  t.test('a client that takes nothing of its answer gives its place back', async t => {
    const bench = await Bench.start(engine, t, { connections: 1 }, 1000, {}, 300)
    bench.upstream.script(answer(200, 'x'.repeat(32_000_000)), answer(200, 'next'))
    const deaf = connect(bench.port, '127.0.0.1').on('error', () => {})
    t.teardown(() => deaf.destroy())
    deaf.pause()
    deaf.write(get('/x'))
    t.match(await bench.over(1), { status: 200, end: 'aborted' })
    t.equal((await bench.send(get('/y'))).body.toString(), 'next')
  })

  t.test('a client that takes its answer slowly has all of it', async t => {
    const bench = await Bench.start(engine, t, {}, 1000, {}, 1000)
    const size = 12_000_000
    bench.upstream.script(answer(200, 'x'.repeat(size)))
    const slow = connect(bench.port, '127.0.0.1')
    t.teardown(() => slow.destroy())
    slow.write(get('/x'))
    let read = 0
    const began = performance.now()
    for await (const chunk of slow) {
      read += (chunk as Buffer).length
      if (read >= size) break
      await delay(10)
    }
    t.ok(performance.now() - began > 1000, 'longer than it may stall')
    t.match(await bench.over(1), { status: 200, end: 'complete' })
  })

  t.test('WebSocket', async t => {
    const upgradeLines = [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ]
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 300 }, 1000, { upgrade: 'websocket' })
    const { upstream } = bench

    t.test('echoes through a real client and server', async t => {
      const origin = http.createServer()
      const seen: IncomingMessage[] = []
      new WebSocketServer({ server: origin }).on('connection', (socket, request) => {
        seen.push(request)
        socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
      })
      origin.listen(0, '127.0.0.1')
      await once(origin, 'listening')
      t.teardown(() => origin.close())
      const url = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`
      const through = await Bench.start(engine, t, { url }, 1000, { upgrade: 'websocket' })
      const socket = new WebSocket(`ws://127.0.0.1:${through.port}/chat?room=1`, {
        headers: { 'Postern-Subject': 'admin', Host: 'api.example' },
      })
      const open = once(socket, 'open')
      const [response] = (await once(socket, 'upgrade')) as [IncomingMessage]
      t.equal(response.headers['x-fapi-interaction-id'], INTERACTION)
      t.ok(response.headers.date)
      await open
      for (const size of [1, 125, 70_000, 3_000_000]) {
        socket.send('x'.repeat(size))
        const [data] = (await once(socket, 'message')) as [Buffer]
        t.equal(data.length, size)
      }
      t.equal(seen[0]?.url, '/chat?room=1')
      t.equal(seen[0]?.headers['postern-subject'], 'sub-1')
      socket.close()
      await once(socket, 'close')
      t.match(await through.over(1), { status: 101, end: 'complete' })
    })

    t.test('bytes that come with the request reach the upstream after the 101', async t => {
      upstream.script(switchAndEcho())
      const client = await bench.client()
      client.write(`${get('/x', ...upgradeLines)}early`)
      t.equal((await client.answer()).status, 101)
      t.equal((await client.bytes(5)).toString(), 'early')
      client.end()
      await client.closed()
      t.same(upstream.requests[0]?.values('connection'), ['Upgrade'])
      t.match(await bench.over(1), { status: 101, end: 'complete' })
      await upstream.abandoned()
    })

    t.test('the header of the 101 is filtered like any other', async t => {
      upstream.script(
        switchAndEcho([
          '__proto__: a',
          '__proto__: b',
          'Server: legacy',
          'Postern-X: 1',
          'Sec-WebSocket-Accept: a',
          'Set-Cookie: a=1',
          'Set-Cookie: b=2',
        ]),
      )
      const client = await bench.client()
      client.write(get('/x', ...upgradeLines))
      const reply = await client.answer()
      t.same([reply.values('server'), reply.values('postern-x')], [[], []])
      t.same(reply.values('set-cookie'), ['a=1', 'b=2'])
      t.same(reply.values('sec-websocket-accept'), ['a'])
      t.same([reply.values('date').length, reply.values('x-fapi-interaction-id')], [1, [INTERACTION]])
      client.destroy()
      await bench.over(2)
      await upstream.abandoned()
    })

    t.test('another answer than 101 is relayed by the rules, and the connection ends', async t => {
      upstream.script(answer(403, 'no', ['Server: legacy', 'Connection: keep-alive']))
      const before = bench.outcomes.length
      const client = await bench.client()
      client.write(get('/x', ...upgradeLines))
      const reply = await client.answer()
      t.match([reply.status, reply.body.toString()], [403, 'no'])
      t.same([reply.values('server'), reply.values('connection')], [[], ['close']])
      t.same(await client.closed(), { rest: Buffer.alloc(0), ending: 'ended' })
      t.match(await bench.over(before + 1), { status: 403, end: 'complete' })
    })

    const failures: readonly (readonly [string, Step, number])[] = [
      ['resets', reset(), 502],
      ['never answers', hang(), 504],
      ['speaks nonsense', raw('nonsense\r\n\r\n'), 502],
      [
        'switches to another protocol',
        raw('HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'),
        502,
      ],
    ]
    for (const [name, step, status] of failures) {
      t.test(`an upstream that ${name} becomes an answer`, async t => {
        upstream.script(step)
        const client = await bench.client()
        client.write(get('/x', ...upgradeLines))
        t.equal((await client.answer()).status, status)
        await client.closed()
        await upstream.abandoned()
      })
    }

    t.test('with a body is refused: it would be frames, or a request', async t => {
      upstream.script(answer(200))
      for (const line of ['Content-Length: 5', 'Transfer-Encoding: chunked']) {
        const client = await bench.client()
        client.write(`${get('/x', ...upgradeLines, line)}hello`)
        t.equal((await client.answer()).status, 400)
        await client.closed()
      }
      t.equal(upstream.requests.length, 0)
    })

    for (const way of ['reset', 'destroy'] as const) {
      t.test(`a client that leaves by ${way} during the upgrade`, async t => {
        upstream.script(hang())
        const before = bench.outcomes.length
        const client = await bench.client()
        client.write(get('/x', ...upgradeLines))
        await upstream.arrived(1)
        client[way]()
        t.equal(await bench.over(before + 1), null)
        await upstream.abandoned()
      })

      t.test(`a client that leaves by ${way} after the upgrade`, async t => {
        upstream.script(switchAndEcho())
        const before = bench.outcomes.length
        const client = await bench.client()
        client.write(get('/x', ...upgradeLines))
        await client.answer()
        client[way]()
        t.match(await bench.over(before + 1), { status: 101, end: way === 'reset' ? 'aborted' : 'complete' })
        await upstream.abandoned()
      })
    }

    t.test('an upstream that resets after the upgrade takes the client with it', async t => {
      upstream.script(
        rawThenReset('HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nlast words'),
      )
      const before = bench.outcomes.length
      const client = await bench.client()
      client.write(get('/x', ...upgradeLines))
      await client.answer()
      t.equal((await client.closed()).rest.toString(), 'last words')
      t.match(await bench.over(before + 1), { status: 101, end: 'truncated' })
    })

    t.test('holds no place of ordinary requests, and has a bound of its own', async t => {
      const narrow = await Bench.start(engine, t, { connections: 1 }, 1000, { upgrade: 'websocket' })
      narrow.upstream.script(switchAndEcho(), answer(200, 'ordinary'), switchAndEcho())
      const [first, second, third] = await Promise.all([narrow.client(), narrow.client(), narrow.client()])
      first.write(get('/x', ...upgradeLines))
      t.equal((await first.answer()).status, 101)
      t.equal((await narrow.send(get('/y'))).body.toString(), 'ordinary')
      second.write(get('/x', ...upgradeLines))
      const refused = await second.answer()
      t.match([refused.status, refused.values('x-code')], [502, ['upstream_unavailable']])
      first.destroy()
      t.match(await narrow.over(3), { status: 101 })
      third.write(get('/x', ...upgradeLines))
      t.equal((await third.answer()).status, 101, 'its place is free again')
      third.destroy()
    })

    t.test('a real client hears that the engine goes away', async t => {
      const origin = http.createServer()
      const ended: number[] = []
      new WebSocketServer({ server: origin }).on('connection', socket =>
        socket.on('close', code => ended.push(code)),
      )
      origin.listen(0, '127.0.0.1')
      await once(origin, 'listening')
      t.teardown(() => origin.close())
      const url = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`
      const through = await Bench.start(engine, t, { url }, 1000, { upgrade: 'websocket' })
      const socket = new WebSocket(`ws://127.0.0.1:${through.port}/chat`, {
        headers: { Host: 'api.example' },
      })
      await once(socket, 'open')
      const closed = once(socket, 'close')
      through.engine.close()
      t.equal((await closed)[0], 1001)
      await through.over(1)
      t.same(ended, [1001])
    })

    t.test('ends when the engine closes', async t => {
      upstream.script(switchAndEcho())
      const closing = await Bench.start(engine, t, { url: upstream.url }, 1000, { upgrade: 'websocket' })
      const client = await closing.client()
      client.write(get('/x', ...upgradeLines))
      await client.answer()
      closing.engine.close()
      const { rest, ending } = await client.closed()
      t.same([rest, ending], [Buffer.from([0x88, 0x02, 0x03, 0xe9]), 'ended'], 'a close frame with 1001')
      client.destroy()
      t.match(await closing.over(1), { status: 101, end: 'complete' })
      await upstream.abandoned()
    })
  })
}
