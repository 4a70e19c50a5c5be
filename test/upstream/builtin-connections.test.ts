/** The connections of the builtin engine. */
import t from 'tap'
import { Bench, get } from '../support/engine-bench.js'
import { createAuthority } from '../support/pki.js'
import { answer, RecordingUpstream } from '../support/recording-upstream.js'

t.test('an idle connection ends before the upstream would end it', async t => {
  const bench = await Bench.start('builtin', t)
  bench.upstream.script(answer(200, '', ['Keep-Alive: timeout=2']))
  const before = performance.now()
  await bench.send(get('/x'))
  await bench.send(get('/y'))
  t.equal(bench.upstream.connections.length, 1, 'used twice')
  await bench.upstream.abandoned(4000)
  const idleMs = performance.now() - before
  t.ok(idleMs > 900 && idleMs < 3500, `${idleMs} ms`)
})

t.test('the connection that was used last is used first', async t => {
  const bench = await Bench.start('builtin', t)
  const { upstream } = bench
  upstream.script(answer(200))
  await Promise.all([bench.send(get('/1')), bench.send(get('/2')), bench.send(get('/3'))])
  upstream.script(answer(200))
  for (let i = 0; i < 5; i++) await bench.send(get(`/${i}`))
  t.equal(new Set(upstream.requests.map(request => request.connection)).size, 1, 'those in excess grow old')
})

t.test('no environment switches the verification of an upstream off', async t => {
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  t.teardown(() => {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before
  })
  const authority = await createAuthority('Unknown CA')
  const issued = await authority.issue({ extendedKeyUsage: null, sanDns: ['localhost'] })
  for (const engine of ['builtin', 'http-proxy'] as const) {
    const upstream = await RecordingUpstream.start({ key: issued.keyPem, cert: issued.certificatePem })
    t.teardown(() => upstream.stop())
    const bench = await Bench.start(engine, t, { url: upstream.url })
    t.equal((await bench.send(get('/x'))).status, 502, engine)
    t.equal(upstream.requests.length, 0, engine)
  }
})
