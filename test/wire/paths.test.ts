/**
 * Confusing targets on a real connection, judged by the bytes that the upstream saw: nothing, or exactly what was matched, under
 * the name of the matched route. The corpus is test/vectors/paths.json.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { connectRaw, createWorld, HOST, policyText, startPostern } from '../support/postern.js'
import { RecordingUpstream } from '../support/recording-upstream.js'
import { vectors } from '../support/vectors.js'

interface Target {
  readonly name: string
  /** What stands between the method and the version, one character a byte. */
  readonly target: string
  /** So many letters behind it. */
  readonly padding?: number
  /** Default GET. */
  readonly method?: string
  /** Id of the route under which it reaches the upstream; null: it does not. */
  readonly route: string | null
  /** What the upstream sees, where that is not the target: absolute-form arrives in origin-form. */
  readonly arrives?: string
  /** The rule, or where a server once fell for it. */
  readonly why: string
}

const TARGETS = JSON.parse(readFileSync(vectors('paths.json'), 'utf8')) as readonly Target[]
const ALL = '{ encodedSlash: allow, semicolon: allow, encodedUnreserved: allow, encodedPercent: allow }'

/** A strict tree and a relaxed one, each with a neighbour that these clients, who have no certificate, must never reach. */
const APIS = `
  - name: Neighbours
    base: /
    security: [mtls]
    routes:
      GET /admin: {}
      GET /admin/{path...}: {}
      GET /strict/admin: {}
      GET /strict/files/admin/{path...}: {}
      GET /relaxed/admin: {}
      GET /relaxed/files/admin/{path...}: {}
  - name: Strict
    base: /
    security: public
    routes:
      GET /{top}: {}
      GET /strict/{id}: {}
      GET /strict/{id}/notes: {}
      GET /strict/files/{path...}: {}
      POST /relaxed/{id}/close: {}
  - name: Relaxed
    base: /relaxed
    security: public
    paths: ${ALL}
    routes:
      GET /{id}: {}
      GET /{id}/notes: {}
      GET /files/{path...}: {}
  - name: Each
    base: /
    security: public
    routes:
      GET /slash/{id}: { paths: { encodedSlash: allow } }
      GET /semi/{id}: { paths: { semicolon: allow } }
      GET /unreserved/{id}: { paths: { encodedUnreserved: allow } }
      GET /percent/{id}: { paths: { encodedPercent: allow } }
`
const AT_A_TIME = 8

t.test('what was matched is what arrives, byte for byte, or nothing does (HP-09, HP-10, HP-11)', async t => {
  const world = await createWorld()
  const upstream = await RecordingUpstream.start()
  const postern = await startPostern(world, policyText(world, { upstream: upstream.url, apis: APIS }))
  t.teardown(async () => {
    await postern.stop()
    await upstream.stop()
    await world.close()
  })
  t.ok(TARGETS.length >= 300, `${TARGETS.length} targets`)
  t.equal(new Set(TARGETS.map(({ name }) => name)).size, TARGETS.length, 'each has its own name')

  const statuses = new Map<Target, number>()
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

function bytesOf({ target, padding = 0 }: Target): string {
  return target + 'a'.repeat(padding)
}
