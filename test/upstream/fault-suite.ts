import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { TAP } from 'tap'
import { Denial } from '../../src/decision/denials.js'
import type { Upstream } from '../../src/policy/upstream.js'
import { type AnswerVector, answerVectors } from '../support/answer-vectors.js'
import { Bench, get, head } from '../support/engine-bench.js'
import type { RawClient } from '../support/raw-client.js'
import { answer, atHead, drip, hang, raw, rawThenEnd, type Step } from '../support/recording-upstream.js'

/** What every engine makes of an upstream that does wrong, judged by what clients get and by what follows. */
export function faultSuite(t: TAP, engine: Upstream['engine']): void {
  t.test('an answer without one reading is refused, and nothing of it reaches the next client', async t => {
    const bench = await Bench.start(engine, t)
    const { upstream } = bench
    for (const { name, bytes, method, laxer } of answerVectors('malformed')) {
      upstream.script(raw(bytes), answer(200, 'clean'))
      const before = bench.outcomes.length
      const client = await bench.client()
      client.write(head(method, '/x'))
      const got = await outcomeOf(client)
      if (!laxer.includes(engine)) t.ok(got === 'refused' || got === 'broken', `${name}: ${got}`)
      if (engine === 'builtin') t.equal(got, 'refused', `${name}: before a byte of it is delivered`)
      await bench.over(before + 1)
      t.equal((await bench.send(get('/next'))).body.toString(), 'clean', `${name}: the next`)
      const [first, second] = upstream.requests
      if (!laxer.includes(engine))
        t.not(first?.connection, second?.connection, `${name}: on another connection`)
      client.destroy()
    }
  })

  t.test('an answer with one reading is delivered', async t => {
    const bench = await Bench.start(engine, t)
    const client = await bench.client()
    for (const vector of answerVectors('well-formed')) {
      bench.upstream.script(stepOf(vector))
      client.write(head(vector.method, '/x'))
      const reply = await client.answer(vector.method)
      t.match([reply.status, reply.body.toString()], [vector.status, vector.body], vector.name)
    }
    client.destroy()
  })

  t.test("an answer that comes late is nobody else's", async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 100 })
    const { upstream } = bench
    upstream.script(hang(), hang())
    t.equal((await bench.send(get('/slow'))).status, 504)
    const next = bench.send(get('/next'))
    await upstream.arrived(2)
    upstream.connections[0]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate')
    upstream.connections[1]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright')
    t.equal((await next).body.toString(), 'right')
    t.not(upstream.requests[0]?.connection, upstream.requests[1]?.connection)
  })

  t.test(
    'an answer that is complete before its request leaves a connection that is not used again',
    async t => {
      const bench = await Bench.start(engine, t)
      const { upstream } = bench
      for (const status of [200, 403]) {
        upstream.script(atHead(answer(status, 'early')))
        const client = await bench.client()
        client.write(`${head('POST', '/first', 'Content-Length: 100')}part`)
        const reply = await client.answer()
        t.match(
          [reply.status, reply.body.toString(), reply.values('connection')],
          [status, 'early', ['close']],
        )
        upstream.script(answer(200, 'clean'))
        t.equal((await bench.send(get('/next'))).body.toString(), 'clean')
        client.destroy()
        await upstream.until(
          () => upstream.connections.at(-2)?.closed === true,
          2000,
          () => 'the connection of the early answer is open',
        )
        t.same(
          upstream.requests.map(({ target }) => target),
          ['/next'],
        )
      }
    },
  )

  t.test('an upstream that says for how long it keeps connections is not asked later', async t => {
    const bench = await Bench.start(engine, t)
    const { upstream } = bench
    upstream.script(answer(200, '', ['Keep-Alive: timeout=1']))
    await bench.send(get('/first'))
    await delay(50)
    await bench.send(get('/second'))
    const [first, second] = upstream.requests
    t.not(first?.connection, second?.connection)
  })

  t.test('an upstream that says that it closes is not asked again on that connection', async t => {
    const bench = await Bench.start(engine, t)
    const { upstream } = bench
    upstream.script(answer(200, '', ['Connection: close']))
    await bench.send(get('/first'))
    await bench.send(get('/second'))
    const [first, second] = upstream.requests
    t.not(first?.connection, second?.connection)
  })

  t.test('a half-closed upstream has said all that it will', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 5000 })
    bench.upstream.script(atHead(rawThenEnd('')))
    const client = await bench.client()
    client.write(`${head('POST', '/x', 'Content-Length: 100')}part`)
    const reply = await client.answer()
    t.match([reply.status, reply.values('x-code')], [502, ['upstream_unavailable']])
    client.destroy()
  })

  t.test('bodies arrive as they were sent, both ways, in either framing', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 20_000 }, 50_000_000)
    const { upstream } = bench
    for (const size of [1, 100, 16_384, 65_536, 300_000, 2_000_001]) {
      const body = randomBytes(size)
      upstream.script(
        { act: (socket, request) => void socket.write(chunkedAnswer(request.body)) },
        {
          act: (socket, request) => void socket.write(answerBytes(request.body)),
        },
      )
      for (const framing of ['length', 'chunks'] as const) {
        const client = await bench.client()
        client.write(
          framing === 'length'
            ? head('POST', '/x', `Content-Length: ${size}`)
            : head('POST', '/x', 'Transfer-Encoding: chunked'),
        )
        client.write(framing === 'length' ? body : inChunks(body))
        t.equal(digest((await client.answer()).body), digest(body), `${size} bytes, ${framing}`)
        client.destroy()
      }
      t.same(
        upstream.requests.map(request => digest(request.body)),
        [digest(body), digest(body)],
      )
      t.same(
        upstream.requests.map(request => [
          request.values('content-length'),
          request.values('transfer-encoding'),
        ]),
        [
          [[`${size}`], []],
          [[], ['chunked']],
        ],
      )
    }
  })

  t.test('a slow drip of a header is bounded by the time for the answer', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 200 })
    bench.upstream.script(drip([...'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'], 20))
    t.equal((await bench.send(get('/x'))).status, 504)
    await bench.upstream.abandoned()
  })

  t.test('a drip of chunk extensions is no progress', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 200 })
    bench.upstream.script(
      drip(
        [
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n',
          ...'1;abcdefghijklmnopqrstuvwxyz',
        ],
        20,
      ),
    )
    const client = await bench.client()
    client.write(get('/x'))
    await client.closed()
    t.match(await bench.over(1), { status: 200, end: 'truncated' })
    await bench.upstream.abandoned()
  })

  t.test('a client that leaves is heard of at once', async t => {
    const bench = await Bench.start(engine, t, { responseTimeoutMs: 60_000 })
    bench.upstream.script(hang())
    const client = await bench.client()
    client.write(get('/x'))
    await bench.upstream.arrived(1)
    const leftAt = performance.now()
    client.destroy()
    await bench.upstream.abandoned()
    t.ok(performance.now() - leftAt < 1000)
  })

  t.test('an answer within an answer is content', async t => {
    const inner = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'
    const bench = await Bench.start(engine, t)
    bench.upstream.script(answer(200, inner), answer(200, 'clean'))
    const client = await bench.client()
    client.write(get('/x'))
    t.equal((await client.answer()).body.toString(), inner)
    client.write(get('/y'))
    t.equal((await client.answer()).body.toString(), 'clean')
    client.destroy()
    t.notOk(bench.outcomes.some(outcome => outcome instanceof Denial))
  })
}

/** `refused`: our 502. `broken`: the connection ended before an answer was complete. */
async function outcomeOf(client: RawClient): Promise<'refused' | 'broken' | 'delivered'> {
  try {
    const reply = await client.answer()
    if (reply.values('x-code').length === 0) return 'delivered'
    return reply.values('x-code')[0] === 'upstream_malformed' ? 'refused' : 'broken'
  } catch {
    return 'broken'
  }
}

function stepOf({ bytes, ends }: AnswerVector): Step {
  return ends ? rawThenEnd(bytes) : raw(bytes)
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function inChunks(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0, size = 1; at < bytes.length; at += size, size = Math.min(size * 3 + 1, 100_000)) {
    const part = bytes.subarray(at, at + size)
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'))
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')])
}

function answerBytes(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`), body])
}

function chunkedAnswer(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'), inChunks(body)])
}
