/** Requests as the listener has node:http read them. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { ClientRequest } from '../../src/server/client-request.js'
import { chunked, get, head } from '../support/engine-bench.js'
import { RawClient } from '../support/raw-client.js'

const LONG = 'x'.repeat(200_000)

/** Reads the body of requests to /read, and of no other. */
const seen: ClientRequest[] = []
const server = createServer({ IncomingMessage: ClientRequest }, async (request, response) => {
  seen.push(request)
  response.end(request.url === '/read' ? (await request.toArray()).join('') : 'unread')
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo
t.teardown(() => server.close())

const REQUESTS: readonly (readonly [what: string, bytes: string, body: string])[] = [
  ['no body', get('/a'), 'unread'],
  ['no body, and somebody who waits for its end', get('/read'), ''],
  ['a short body', `${head('POST', '/read', 'Content-Length: 5')}hello`, 'hello'],
  ['a short body that nobody reads', `${head('POST', '/a', 'Content-Length: 5')}hello`, 'unread'],
  [
    'a long body that nobody reads',
    `${head('POST', '/a', `Content-Length: ${LONG.length}`)}${LONG}`,
    'unread',
  ],
  ['chunks', `${head('POST', '/read', 'Transfer-Encoding: chunked')}${chunked('hello')}`, 'hello'],
  [
    'chunks that nobody reads',
    `${head('POST', '/a', 'Transfer-Encoding: chunked')}${chunked(LONG)}`,
    'unread',
  ],
]

t.test('a connection goes on behind any request, whether or not its body was read', async t => {
  const client = await RawClient.connect({ port })
  for (const [first, bytes, body] of REQUESTS)
    for (const [second, next] of REQUESTS) {
      client.write(bytes)
      t.equal((await client.answer()).body.toString(), body, `${first}, then ${second}`)
      client.write(next)
      await client.answer()
    }
  client.destroy()
})

t.test('a request that is whole and empty is not read to its end for nobody', async t => {
  const client = await RawClient.connect({ port })
  seen.length = 0
  client.write(get('/a') + get('/a'))
  await client.answer()
  await client.answer()
  t.same(
    seen.map(({ readableFlowing }) => readableFlowing),
    [null, null],
  )
  client.destroy()
})
