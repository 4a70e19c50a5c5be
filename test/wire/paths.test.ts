/**
 * Confusing targets on a real connection, judged by the bytes that the upstream saw: nothing, or exactly what was matched, under
 * the name of the matched route. The corpus is test/vectors/paths.json.
 */
import t from 'tap'
import { bytesOf, PATH_APIS, type PathTarget, pathCorpus } from '../support/path-corpus.js'
import { connectRaw, createWorld, HOST, policyText, startPostern } from '../support/postern.js'
import { RecordingUpstream } from '../support/recording-upstream.js'

const TARGETS = pathCorpus()
const AT_A_TIME = 8

t.test('what was matched is what arrives, byte for byte, or nothing does (HP-09, HP-10, HP-11)', async t => {
  const world = await createWorld()
  const upstream = await RecordingUpstream.start()
  const postern = await startPostern(world, policyText(world, { upstream: upstream.url, apis: PATH_APIS }))
  t.teardown(async () => {
    await postern.stop()
    await upstream.stop()
    await world.close()
  })
  t.ok(TARGETS.length >= 300, `${TARGETS.length} targets`)
  t.equal(new Set(TARGETS.map(({ name }) => name)).size, TARGETS.length, 'each has its own name')

  const statuses = new Map<PathTarget, number>()
  const left = TARGETS.map((target, number) => ({ target, number }))
  async function work(): Promise<void> {
    let client = await connectRaw(world, postern)
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const { target, number } = next
      const method = target.method ?? 'GET'
      const head = [`${method} ${bytesOf(target)} HTTP/1.1`, `Host: ${HOST}`, `X-Number: ${number}`, '', '']
      client.write(head.join('\r\n'))
      const message = await client.answer(method)
      statuses.set(target, message.status)
      // Most refusals leave the connection as it was; those of the parser end it.
      if (message.values('connection').includes('close')) {
        client.destroy()
        client = await connectRaw(world, postern)
      }
    }
    client.destroy()
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, work))

  const seen = new Map(upstream.requests.map(request => [Number(request.values('x-number')[0]), request]))
  for (const [number, target] of TARGETS.entries()) {
    const { name, route, why, method = 'GET' } = target
    const request = seen.get(number)
    const what = `${name} (${why})`
    if (route === null) {
      t.equal(request?.start, undefined, `${what}: nothing upstream`)
      t.ok((statuses.get(target) ?? 0) >= 400, `${what}: ${statuses.get(target)}`)
      continue
    }
    t.equal(request?.start, `${method} ${target.arrives ?? bytesOf(target)} HTTP/1.1`, what)
    t.same(request?.values('postern-route'), [route], `${what}: under its route`)
    t.equal(statuses.get(target), 200, what)
  }
  t.equal(upstream.requests.length, TARGETS.filter(({ route }) => route !== null).length, 'and nothing else')

  // The log has the same bytes.
  const paths = new Set(postern.log().map(({ path }) => path))
  const forwarded = TARGETS.filter(({ route }) => route !== null)
  for (const target of forwarded.slice(0, 50)) {
    const [path] = (target.arrives ?? bytesOf(target)).split('?')
    t.ok(paths.has(path), `${target.name}: logged as it was matched`)
  }
})
