/** What a round trip that failed says of itself, and that the exchange can go elsewhere then. */
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import t, { type Test } from 'tap'
import type { Upstream } from '../../src/policy/upstream.js'
import { createEngine } from '../../src/upstream/engine.js'
import type { ForwardingEngine } from '../../src/upstream/forwarding.js'
import { chunked, exchangeOf, get, grantFor, head } from '../support/engine-bench.js'
import { freePort } from '../support/free-port.js'
import { createAuthority, EXTENDED_KEY_USAGE } from '../support/pki.js'
import { RawClient } from '../support/raw-client.js'
import { answer, hang, RecordingUpstream, raw, reset, type Step } from '../support/recording-upstream.js'

const authority = await createAuthority('Test upstream CA')
const { keyPem: key, certificatePem: cert } = await authority.issue({
  ...{ commonName: 'localhost', sanDns: ['localhost'], extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] },
})
const tls = { key, cert }

const TERMS = {
  bodyBytes: 1000,
  clientStallMs: 5000,
  answerBy: Number.POSITIVE_INFINITY,
  onAnswer: () => {},
}

function engineFor(
  t: Test,
  engine: Upstream['engine'],
  url: string,
  more: Partial<Upstream> = {},
): ForwardingEngine {
  const upstream: Upstream = {
    name: 'provider',
    url,
    ca: null,
    connectTimeoutMs: 300,
    responseTimeoutMs: 300,
    connections: 1,
    authorization: 'forward',
    clientCert: 'strip',
    engine,
    ...more,
  }
  const started = createEngine(upstream, 'test')
  t.teardown(() => started.close())
  return started
}

type Handle = (request: IncomingMessage, response: ServerResponse) => Promise<void>

/** Writes `bytes` to a front server, and resolves with what came back after `handle`. */
async function through(bytes: string, handle: Handle): Promise<string> {
  const server = http.createServer((request, response) => {
    handle(request, response).finally(() => {
      if (!response.headersSent) response.writeHead(599, { connection: 'close' })
      response.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = await RawClient.connect({ port: (server.address() as AddressInfo).port })
  try {
    client.write(bytes)
    const reply = await client.answer()
    return `${reply.status} ${reply.body}`
  } finally {
    client.destroy()
    server.closeAllConnections()
    server.close()
  }
}

function listeners(request: IncomingMessage, response: ServerResponse): string {
  const of = (emitter: IncomingMessage | ServerResponse) =>
    emitter.eventNames().map(name => `${String(name)} ${emitter.listenerCount(name)}`)
  return [...of(request), '|', ...of(response)].join()
}

for (const engine of ['builtin', 'http-proxy'] as const) {
  t.test(`${engine}: what a failure says`, async t => {
    const upstream = await RecordingUpstream.start()
    t.teardown(() => upstream.stop())
    const small = `${head('POST', '/x', 'Content-Length: 2')}ab`
    const cases: readonly (readonly [string, Step, string, object])[] = [
      ['a reset', reset(), small, { sent: true, blame: true, denial: { code: 'upstream_unavailable' } }],
      ['no answer', hang(), get('/x'), { sent: true, blame: true, denial: { code: 'upstream_timeout' } }],
      [
        'no HTTP',
        raw('nonsense\r\n\r\n'),
        get('/x'),
        { sent: true, blame: true, denial: { code: 'upstream_malformed' } },
      ],
      [
        'a body that is announced as too large',
        answer(200),
        head('POST', '/x', 'Content-Length: 1001'),
        { sent: false, blame: false, denial: { code: 'body_too_large' } },
      ],
      [
        'a body that turns out too large',
        answer(200),
        head('POST', '/x', 'Transfer-Encoding: chunked') + chunked('x'.repeat(1001)),
        { sent: true, blame: false, denial: { code: 'body_too_large' } },
      ],
    ]
    for (const [name, step, bytes, failed] of cases) {
      upstream.script(step)
      const started = engineFor(t, engine, upstream.url)
      await through(bytes, async (request, response) => {
        const before = listeners(request, response)
        const outcome = await started.attempt(grantFor(request, {}), exchangeOf(request, response), TERMS)
        t.match(outcome, failed, name)
        t.equal(listeners(request, response), before, `${name}: nothing listens any more`)
      })
    }
  })

  t.test(`${engine}: a full pool is not the upstream's fault`, async t => {
    const upstream = await RecordingUpstream.start()
    t.teardown(() => upstream.stop())
    upstream.script(hang())
    const started = engineFor(t, engine, upstream.url, {
      connectTimeoutMs: 100,
      responseTimeoutMs: 1000,
    })
    const outcomes: unknown[] = []
    await Promise.all(
      [1, 2, 3].map(() =>
        through(get('/x'), async (request, response) => {
          const exchange = exchangeOf(request, response)
          outcomes.push(await started.attempt(grantFor(request, {}), exchange, TERMS))
        }),
      ),
    )
    t.match(outcomes, [
      { sent: false, blame: false, denial: { code: 'upstream_unavailable' } },
      { sent: false, blame: false, denial: { code: 'upstream_unavailable' } },
      { sent: true, blame: true, denial: { code: 'upstream_timeout' } },
    ])
  })

  t.test(`${engine}: who has waited for a place has time to connect all the same`, async t => {
    const upstream = await RecordingUpstream.start(tls)
    const slow = createServer(client => {
      client.on('error', () => {})
      setTimeout(() => {
        const onward = connect(upstream.port, '127.0.0.1').on('error', () => client.destroy())
        client.pipe(onward).pipe(client)
      }, 600)
    })
    slow.listen(0, '127.0.0.1')
    await once(slow, 'listening')
    t.teardown(async () => {
      slow.close()
      await upstream.stop()
    })
    const started = engineFor(t, engine, `https://localhost:${(slow.address() as AddressInfo).port}`, {
      ca: authority.certificatePem,
      connectTimeoutMs: 1000,
      responseTimeoutMs: 5000,
    })
    // The connection ends with it, so that the next one needs its own.
    upstream.script(answer(200, 'first', ['Connection: close']), answer(200, 'second'))
    const outcomes: unknown[] = []
    await Promise.all(
      [1, 2].map(() =>
        through(get('/x'), async (request, response) => {
          const exchange = exchangeOf(request, response)
          outcomes.push(await started.attempt(grantFor(request, {}), exchange, TERMS))
        }),
      ),
    )
    t.match(outcomes, [{ status: 200 }, { status: 200 }])
  })

  t.test(`${engine}: what was not sent can be sent elsewhere, body and all`, async t => {
    const upstream = await RecordingUpstream.start()
    t.teardown(() => upstream.stop())
    upstream.script(answer(200, 'there'))
    const dead = engineFor(t, engine, `http://127.0.0.1:${await freePort()}`)
    const alive = engineFor(t, engine, upstream.url)
    const requests = [
      `${head('POST', '/x', 'Content-Length: 4')}body`,
      head('POST', '/x', 'Transfer-Encoding: chunked') + chunked('bo', 'dy'),
    ]
    for (const bytes of requests) {
      const reply = await through(bytes, async (request, response) => {
        const before = listeners(request, response)
        const grant = grantFor(request, {})
        const exchange = exchangeOf(request, response)
        const first = await dead.attempt(grant, exchange, TERMS)
        t.match(first, { sent: false, blame: true, denial: { code: 'upstream_unavailable' } })
        t.equal(listeners(request, response), before)
        t.match(await alive.attempt(grant, exchange, TERMS), { status: 200, end: 'complete' })
      })
      t.equal(reply, '200 there')
      t.equal(upstream.requests.at(-1)?.body.toString(), 'body')
    }
  })
}
