/** Raw bytes into the real process, judged by the bytes that the upstream saw. */
import type { TAP } from 'tap'
import type { Upstream } from '../../src/policy/upstream.js'
import { createWorld, HOST, policyText, startPostern } from '../support/postern.js'
import { RawClient } from '../support/raw-client.js'
import { answer, RecordingUpstream } from '../support/recording-upstream.js'

/** What holds whatever carries requests to the upstream. Each engine has a test file of its own that calls this. */
export async function requestsSuite(t: TAP, engine: Upstream['engine']): Promise<void> {
  const world = await createWorld()
  const upstream = await RecordingUpstream.start()
  const postern = await startPostern(
    world,
    policyText(world, { upstream: upstream.url, upstreamMore: `engine: ${engine}` }),
  )
  t.teardown(async () => {
    await postern.stop()
    await upstream.stop()
    await world.close()
  })

  function connect(deadlineMs = 8000): Promise<RawClient> {
    return RawClient.connect({
      port: postern.port,
      deadlineMs,
      tls: { ca: world.serverCa.certificatePem, servername: HOST },
    })
  }

  /** Sends bytes on a new connection; returns the statuses of all answers until the connection closes or is quiet. */
  async function statusesOf(bytes: string, answers = 1): Promise<number[]> {
    const client = await connect()
    try {
      client.write(bytes)
      const statuses: number[] = []
      for (let i = 0; i < answers; i++) statuses.push((await client.answer()).status)
      return statuses
    } finally {
      client.destroy()
    }
  }

  /** A head with the served Host; `lines` are whole header lines. */
  function head(start: string, ...lines: readonly string[]): string {
    return [`${start} HTTP/1.1`, `Host: ${HOST}`, ...lines, '', ''].join('\r\n')
  }

  t.beforeEach(() => upstream.script(answer(200, 'ok')))

  const EMBEDDED = head('GET /open/smuggled')

  t.test(
    'an embedded request in a chunked body stays a body, whatever the method (HP-23, CVE-2026-29057)',
    async t => {
      const chunk = `${EMBEDDED.length.toString(16)}\r\n${EMBEDDED}\r\n0\r\n\r\n`
      for (const method of ['DELETE', 'OPTIONS', 'GET', 'POST']) {
        upstream.script(answer(200, 'ok'))
        t.same(
          await statusesOf(head(`${method} /open/a`, 'Transfer-Encoding: chunked') + chunk),
          [200],
          method,
        )
        t.same(
          upstream.requests.map(request => request.target),
          ['/open/a'],
          `${method}: one request upstream`,
        )
        t.equal(upstream.requests[0]?.body.toString(), EMBEDDED, `${method}: the body arrived as a body`)
      }
    },
  )

  t.test(
    'requests whose framing has two readings are refused and never reach the upstream (HP-01 to HP-07)',
    async t => {
      const cases: [string, string][] = [
        [
          'Content-Length with Transfer-Encoding',
          `${head('POST /open/a', 'Content-Length: 4', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
        ],
        [
          'Transfer-Encoding with Content-Length',
          `${head('POST /open/a', 'Transfer-Encoding: chunked', 'Content-Length: 4')}0\r\n\r\n`,
        ],
        ['two Content-Lengths', `${head('POST /open/a', 'Content-Length: 4', 'Content-Length: 5')}abcd`],
        [
          'two equal Content-Lengths',
          `${head('POST /open/a', 'Content-Length: 4', 'Content-Length: 4')}abcd`,
        ],
        ['a list of Content-Lengths', `${head('POST /open/a', 'Content-Length: 4, 4')}abcd`],
        ['a signed Content-Length', `${head('POST /open/a', 'Content-Length: +4')}abcd`],
        ['a hexadecimal Content-Length', `${head('POST /open/a', 'Content-Length: 0x4')}abcd`],
        ['a negative Content-Length', `${head('POST /open/a', 'Content-Length: -1')}`],
        ['an unknown coding', `${head('POST /open/a', 'Transfer-Encoding: xchunked')}0\r\n\r\n`],
        ['chunked, identity', `${head('POST /open/a', 'Transfer-Encoding: chunked, identity')}0\r\n\r\n`],
        ['gzip, chunked', `${head('POST /open/a', 'Transfer-Encoding: gzip, chunked')}0\r\n\r\n`],
        [
          'chunked twice',
          `${head('POST /open/a', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
        ],
        ['space before the colon', `${head('POST /open/a', 'Transfer-Encoding : chunked')}0\r\n\r\n`],
        ['a tab in the name', `${head('POST /open/a', 'Transfer-Encoding\t: chunked')}0\r\n\r\n`],
        [
          'a vertical tab before chunked',
          `${head('POST /open/a', 'Transfer-Encoding: \x0bchunked')}0\r\n\r\n`,
        ],
        [
          'an obsolete line fold',
          `${head('POST /open/a', 'X-A: b\r\n Transfer-Encoding: chunked')}0\r\n\r\n`,
        ],
        ['a bare LF', `GET /open/a HTTP/1.1\nHost: ${HOST}\n\n`],
        ['a bare CR', head('GET /open/a', 'X-A: b\rTransfer-Encoding: chunked')],
        ['a NUL in a value', head('GET /open/a', 'X-A: b\0c')],
        [
          'HTTP/1.0 with chunked',
          `POST /open/a HTTP/1.0\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
        ],
        ['HTTP/0.9', 'GET /open/a\r\n\r\n'],
        ['HTTP/2.0', `GET /open/a HTTP/2.0\r\nHost: ${HOST}\r\n\r\n`],
        ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
        ['no Host', 'GET /open/a HTTP/1.1\r\n\r\n'],
        ['two Hosts', head('GET /open/a', `Host: ${HOST}`)],
        ['another Host', 'GET /open/a HTTP/1.1\r\nHost: evil.example\r\n\r\n'],
        ['a Host with user information', `GET /open/a HTTP/1.1\r\nHost: a@${HOST}\r\n\r\n`],
        ['an unknown method', head('FOO /open/a')],
        ['a lower-case method', head('get /open/a')],
        ['garbage', '\x16\x03\x01 garbage\r\n\r\n'],
        [
          'a malformed chunk size',
          `${head('POST /open/a', 'Transfer-Encoding: chunked')}zz\r\nabcd\r\n0\r\n\r\n`,
        ],
        ['CONNECT', `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
        ['TRACE', head('TRACE /open/a')],
        ['an asterisk', head('OPTIONS *')],
        [
          'h2c',
          head(
            'GET /open/a',
            'Connection: Upgrade, HTTP2-Settings',
            'Upgrade: h2c',
            'HTTP2-Settings: AAMAAABkAAQAAP__',
          ),
        ],
        [
          'WebSocket on a route without it',
          head(
            'GET /open/a',
            'Connection: Upgrade',
            'Upgrade: websocket',
            'Sec-WebSocket-Version: 13',
            'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
          ),
        ],
      ]
      for (const [name, bytes] of cases) {
        upstream.script(answer(200, 'ok'))
        const client = await connect()
        client.write(bytes)
        const message = await client.answer()
        t.match(String(message.status), /^4\d\d$/, `${name}: refused with ${message.status}`)
        t.equal(message.values('date').length, 1, `${name}: one Date`)
        t.match(message.values('x-fapi-interaction-id'), [/^[0-9a-f-]{36}$/], `${name}: an interaction id`)
        t.match(message.values('content-type'), ['application/json'], `${name}: a JSON body`)
        t.hasProps(JSON.parse(message.body.toString()), ['code', 'message'], `${name}: an FDX error`)
        const { ending } = await client.closed()
        t.ok(ending, `${name}: the connection ends`)
        t.equal(upstream.requests.length, 0, `${name}: no whole request upstream`)
        client.destroy()
      }
    },
  )

  t.test('what was checked is what is forwarded, byte for byte (HP-11)', async t => {
    const forwarded = [
      '/open/a',
      '/open/x/http:/y',
      '/open/a%20b',
      '/open/caf%C3%A9',
      "/open/!$&'()*+,=:@~",
      '/open/a?b=c%2Fd&e=//&f=..',
      '/open/a?',
      '/open/%E2%82%AC',
    ]
    for (const target of forwarded) {
      upstream.script(answer(200, 'ok'))
      t.same(await statusesOf(head(`GET ${target}`)), [200], target)
      t.equal(upstream.requests[0]?.target, target)
    }
    upstream.script(answer(200, 'ok'))
    t.same(await statusesOf(head(`GET https://${HOST}/open/absolute?q`)), [200])
    t.equal(upstream.requests[0]?.target, '/open/absolute?q', 'absolute-form arrives in origin-form')
  })

  t.test('ambiguous paths never reach the upstream', async t => {
    const targets = [
      '//open/a',
      '/open//a',
      '/open/./a',
      '/open/../a',
      '/open/..',
      '/open/a\\b',
      '/open/a%5cb',
      '/open/a%2fb',
      '/open/%2e%2e/a',
      '/open/%2e',
      '/open/a;b',
      '/open/a;b=c/d',
      '/open/..;/a',
      '/open/a#b',
      '/open/a%00',
      '/open/a%',
      '/open/a%zz',
      '/open/%61',
      '/open/a%252fb',
      'http://evil.example/open/a',
      `http://${HOST}/open/a`,
      'https://evil.example/open/a',
      'open/a',
      '/open/\xe9',
      '/open/%ff',
      '/open/%c0%af',
      '/open/a?b#c',
      '/open/a|b',
      '/open/<a>',
    ]
    for (const target of targets) {
      upstream.script(answer(200, 'ok'))
      const [status] = await statusesOf(head(`GET ${target}`))
      t.equal(status, 400, target)
      t.equal(upstream.requests.length, 0, `${target}: nothing upstream`)
    }
  })

  t.test(
    'forged identity and forwarding headers never reach the upstream, in any spelling (HP-12, HP-24, HP-25, TLS-21)',
    async t => {
      const names = [
        'Postern-Client-Id',
        'postern_subject',
        'POSTERN-SCOPES',
        'Postern.Flow',
        'X-Forwarded-For',
        'x_forwarded_for',
        'X-Forwarded-Host',
        'X-Forwarded-Proto',
        'Forwarded',
        'Via',
        'X-Real-IP',
        'Client-Cert',
        'client_cert',
        'Client-Cert-Chain',
        'X-SSL-Client-Cert',
        'ssl-client-verify',
        'X-Forwarded-Client-Cert',
        'X-Client-Cert',
        'DPoP',
        'Transfer_Encoding',
        'Keep-Alive',
        'Proxy-Authorization',
        'TE',
        'X-Named',
      ]
      const lines = names.map(name => `${name}: forged`)
      upstream.script(answer(200, 'ok'))
      t.same(
        await statusesOf(
          head(
            'GET /open/a',
            ...lines,
            'Connection: close, X-Named, authorization, x-fapi-interaction-id, postern-route, via',
          ),
        ),
        [200],
      )
      const [request] = upstream.requests
      t.notMatch(JSON.stringify(request?.headers), /forged/)
      t.match(request?.values('x-forwarded-for'), ['127.0.0.1'])
      t.match(request?.values('x-forwarded-host'), [HOST])
      t.match(request?.values('via'), [/^1\.1 postern-[0-9a-f]{8}$/], 'our own Via survives the nomination')
      t.equal(request?.values('x-fapi-interaction-id').length, 1)
      t.equal(request?.values('postern-route').length, 1)
    },
  )

  t.test('Expect: 100-continue does not carry forged identity past the removal', async t => {
    const client = await connect()
    client.write(
      head('POST /open/a', 'Expect: 100-continue', 'Postern-Client-Id: forged', 'Content-Length: 4'),
    )
    t.equal((await client.answer()).status, 100)
    client.write('body')
    t.equal((await client.answer()).status, 200)
    t.notMatch(JSON.stringify(upstream.requests[0]?.headers), /forged/)
    t.equal(upstream.requests[0]?.body.toString(), 'body')
    client.destroy()
  })

  t.test('a request that comes back to us through its upstream is refused (HP-14)', async t => {
    await statusesOf(head('GET /open/a'))
    const [via] = upstream.requests[0]?.values('via') ?? []
    upstream.script(answer(200, 'ok'))
    t.same(await statusesOf(head('GET /open/a', `Via: 1.1 somebody, ${via}`)), [400])
    t.equal(upstream.requests.length, 0)
  })

  t.test('trailers are neither honoured nor forwarded (HP-16)', async t => {
    const body = '4\r\nbody\r\n0\r\nPostern-Client-Id: forged\r\nAuthorization: Bearer forged\r\n\r\n'
    t.same(
      await statusesOf(head('POST /open/a', 'Transfer-Encoding: chunked', 'Trailer: Authorization') + body),
      [200],
    )
    t.notMatch(upstream.connections.map(each => each.bytes.toString('latin1')).join(''), /forged/)
    t.same(await statusesOf(head('POST /accounts/1/notes', 'Transfer-Encoding: chunked') + body), [401])
  })

  t.test('pipelined requests are answered in order, each judged for itself', async t => {
    const statuses = await statusesOf(
      head('GET /open/1') + head('GET /accounts/1') + head('GET /open/2') + head('GET /nowhere'),
      4,
    )
    t.same(statuses, [200, 401, 200, 404])
    t.same(upstream.requests.map(request => request.target).sort(), ['/open/1', '/open/2'])
  })

  t.test('after all this an ordinary request is served as on the first day', async t => {
    for (let i = 0; i < 200; i++) {
      const [status] =
        i % 20 === 0
          ? await statusesOf(head('GET /open/a', 'Keep-Alive: 1', 'Connection: keep-alive'))
          : [200]
      if (status !== 200) t.fail(`request ${i}`)
    }
    t.same(await statusesOf(head('GET /open/a')), [200])
    t.equal(postern.child.exitCode, null, 'the process lives')
  })
}
