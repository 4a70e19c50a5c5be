import { once } from 'node:events'
import { connect } from 'node:http2'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { Http2Connection } from '../../src/server/http2/http2-connection.js'

const HOUR_MS = 3_600_000
const LIMITS = { headerBytes: 16_384, headersTimeoutMs: HOUR_MS, idleTimeoutMs: HOUR_MS }

const timers = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length

t.test('a client that leaves in the middle of a request leaves no timer behind', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const before = timers()
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  client.on('error', () => {})
  const [socket] = (await once(server, 'connection')) as [Socket]
  let served = 0
  // Frames are the same without TLS.
  const connection = new Http2Connection(socket as TLSSocket, null, 'trust', HOUR_MS, {
    limits: LIMITS,
    serve: async stream => {
      served += 1
      client.destroy()
      if (!stream.destroyed) await once(stream, 'close')
      return false
    },
    dropped: () => t.fail('dropped'),
    failed: () => {},
  })
  client.request({ ':path': '/' }).on('error', () => {})
  await once(socket, 'close')
  while (!connection.isIdle) await new Promise(setImmediate)
  t.equal(served, 1)
  t.equal(timers(), before)
})
