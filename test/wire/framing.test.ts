/**
 * Framing with two readings on real connections, judged by the bytes that the upstream saw: whole requests that a grant covered, each
 * once, and nothing else. After each case a request of somebody else over the same upstream connection gets its own answer.
 */
import t, { type Test } from 'tap'
import type { Upstream } from '../../src/policy/upstream.js'
import { type FramingCase, framingCorpus, onLane } from '../support/framing-corpus.js'
import {
  connectRaw,
  createWorld,
  HOST,
  type Postern,
  policyText,
  startPostern,
  type World,
} from '../support/postern.js'
import { parseMessage, type RawClient, type RawMessage } from '../support/raw-client.js'
import { answer, RecordingUpstream, type Step } from '../support/recording-upstream.js'

/** Everything that can forward. */
const ENGINES: readonly Upstream['engine'][] = ['builtin', 'http-proxy']

/** Cases on a lane follow each other over one upstream connection; lanes run side by side. */
const LANES = ['0', '1', '2', '3', '4', '5', '6', '7']
const CORPUS = framingCorpus()

/** Answers with what was asked for, so that an answer in the wrong place shows. */
const ECHO: Step = {
  act: (socket, request) => {
    const body = request.method === 'HEAD' ? '' : `${request.method} ${request.target}`
    answer(200, body).act(socket, request)
  },
}

interface Lane {
  readonly name: string
  readonly upstream: RecordingUpstream
  readonly marker: RawClient
}

function apisOf(lane: string): string {
  return `  - name: Lane ${lane}
    base: /${lane}
    security: public
    upstream: lane${lane}
    routes:
${['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map(method => `      ${method} /{name}: {}\n`).join('')}      GET /admin: { security: [mtls] }
      POST /admin: { security: [mtls] }
      POST /token: { security: [oauth2], flow: client_credentials, scopes: none }
`
}

t.ok(CORPUS.length >= 120, `${CORPUS.length} cases`)
t.equal(new Set(CORPUS.map(({ name }) => name)).size, CORPUS.length, 'each has its own name')

for (const engine of ENGINES)
  t.test(
    `only whole requests that were granted reach the upstream over ${engine} (HP-01 to HP-10, HP-16, HP-17, HP-21, HP-23, HP-28)`,
    async t => {
      const world = await createWorld()
      const upstreams = await Promise.all(LANES.map(() => RecordingUpstream.start()))
      const settings = `connections: 1, engine: ${engine}`
      const policy = policyText(world, {
        upstream: upstreams[0]?.url as string,
        moreUpstreams: upstreams
          .map(({ url }, lane) => `  lane${lane}: { url: ${url}, ${settings} }`)
          .join('\n'),
        apis: `\n${LANES.map(apisOf).join('')}  - name: Rest\n    base: /rest\n    security: public\n    routes: { GET /: {} }\n`,
      })
      const postern = await startPostern(world, policy)
      t.teardown(async () => {
        await postern.stop()
        for (const upstream of upstreams) await upstream.stop()
        await world.close()
      })
      const left = [...CORPUS]
      await Promise.all(
        upstreams.map(async (upstream, index) => {
          const marker = await connectRaw(world, postern)
          const lane = { name: LANES[index] as string, upstream, marker }
          for (let next = left.shift(); next !== undefined; next = left.shift())
            await run(t, world, postern, lane, next).catch(error => t.fail(`${next?.name}: ${error}`))
          marker.destroy()
        }),
      )
      t.equal(postern.child.exitCode, null, 'the process lives')
      t.notMatch(postern.output(), /"fault"|fault outside/, 'and nothing surprised it')
    },
  )

async function run(t: Test, world: World, postern: Postern, lane: Lane, each: FramingCase): Promise<void> {
  const { upstream, marker } = lane
  const what = `${each.name} (${each.why})`
  upstream.script(ECHO)
  const client = await connectRaw(world, postern)
  client.write(onLane(each.bytes, lane.name))
  const answers: RawMessage[] = []
  for (const [index] of each.answers.entries())
    answers.push(await client.answer(index === 0 ? each.method : 'GET'))
  t.same(
    answers.map(({ status }) => status),
    each.answers,
    what,
  )
  for (const message of answers.filter(({ status }) => status >= 400)) checkRefusal(t, each.name, message)
  if (each.closes) await client.closed()

  marker.write(`GET /${lane.name}/marker HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  const marked = await marker.answer()
  t.same(
    [marked.status, marked.body.toString()],
    [200, `GET /${lane.name}/marker`],
    `${each.name}: the next one gets its own answer`,
  )

  t.equal(client.received.length, 0, `${each.name}: no further answer`)
  t.equal(
    client.ending === 'open',
    !each.closes,
    `${each.name}: the connection ${each.closes ? 'ends' : 'stays'}`,
  )
  client.destroy()
  const expected = [
    ...each.upstream.map(([start, body]) => [onLane(start, lane.name), onLane(body, lane.name)]),
    [`GET /${lane.name}/marker`, ''],
  ]
  t.same(
    upstream.requests.map(({ method, target, body }) => [`${method} ${target}`, body.toString('latin1')]),
    expected,
    `${each.name}: upstream`,
  )
  const arrived = upstream.connections.map(({ bytes }) => bytes.toString('latin1')).join('')
  t.notMatch(arrived, /forged/, `${each.name}: nothing forged arrives`)
  // What is left of a request that broke off ends with its connection: it is never the beginning of another.
  await upstream.until(
    () => upstream.connections.every(({ bytes, closed }) => closed || restOf(bytes).length === 0),
    5000,
    () => `${each.name}: half a request stays on an open connection`,
  )
}

/** Every refusal is an answer of ours, whoever found the fault. */
function checkRefusal(t: Test, name: string, message: RawMessage): void {
  t.equal(message.values('date').length, 1, `${name}: one Date`)
  t.match(message.values('x-fapi-interaction-id'), [/^[0-9a-f-]{36}$/], `${name}: an interaction id`)
  t.match(message.values('content-type'), ['application/json'], `${name}: JSON`)
  t.hasProps(JSON.parse(message.body.toString()), ['code', 'message'], `${name}: an FDX error`)
}

/** What follows the last whole request. */
function restOf(bytes: Buffer): Buffer {
  let rest = bytes
  for (let message = parseMessage(rest); message !== null; message = parseMessage(rest))
    rest = rest.subarray(message.length)
  return rest
}
