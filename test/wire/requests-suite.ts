/** Raw bytes into the real process, judged by what the upstream saw; framing and paths have tests of their own beside this. */
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

  t.test('a request that comes back to us through its upstream is refused (HP-14)', async t => {
    await statusesOf(head('GET /open/a'))
    const [via] = upstream.requests[0]?.values('via') ?? []
    upstream.script(answer(200, 'ok'))
    t.same(await statusesOf(head('GET /open/a', `Via: 1.1 somebody, ${via}`)), [400])
    t.equal(upstream.requests.length, 0)
  })

  t.test(
    'a body that cannot be read is told of once, in the packet of its head or behind it (HP-27)',
    async t => {
      const interactionId = (packets: number) => `0b6a2d55-0000-4000-8000-00000000000${packets}`
      for (const packets of [1, 2]) {
        const lines = ['Transfer-Encoding: chunked', `x-fapi-interaction-id: ${interactionId(packets)}`]
        const client = await connect()
        const bytes = [head('POST /open/a', ...lines), 'zz\r\n\r\n']
        if (packets === 1) client.write(bytes.join(''))
        else {
          client.write(bytes[0] as string)
          await upstream.until(
            () => upstream.connections.length > 0,
            5000,
            () => 'the head is not forwarded',
          )
          client.write(bytes[1] as string)
        }
        t.equal((await client.answer()).status, 400, `${packets} packets`)
        await client.closed()
        await postern.logged(line => line.interactionId === interactionId(packets))
      }
      const told = postern.log().filter(({ code }) => code === 'request_malformed')
      for (const packets of [1, 2])
        t.equal(
          told.filter(line => line.interactionId === interactionId(packets)).length,
          1,
          `${packets} packets`,
        )
    },
  )

  t.test('garbage right behind an answer is refused, and not cut off (HP-27)', async t => {
    const statuses = new Map<number, number>()
    async function ask(): Promise<void> {
      for (let i = 0; i < 60; i++) {
        const client = await connect()
        client.write(head('GET /open/a'))
        await client.answer()
        client.write('garbage\r\n\r\n')
        const { status } = await client.answer()
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        client.destroy()
      }
    }
    await Promise.all(Array.from({ length: 8 }, ask))
    t.same([...statuses], [[400, 480]])
  })

  t.test('after all this an ordinary request is served as on the first day', async t => {
    const client = await connect()
    for (let i = 0; i < 200; i++) {
      client.write(head('GET /open/a', 'Keep-Alive: 1', 'Connection: keep-alive'))
      const { status } = await client.answer()
      if (status !== 200) t.fail(`request ${i}`)
    }
    client.destroy()
    t.same(await statusesOf(head('GET /open/a')), [200])
    t.equal(postern.child.exitCode, null, 'the process lives')
  })
}
