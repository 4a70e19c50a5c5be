/** One connection to an upstream, event by event: what comes in one turn of the event loop cannot be arranged over a network. */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import t from 'tap'
import { BuiltinSending } from '../../src/upstream/builtin-sending.js'
import { UpstreamConnection } from '../../src/upstream/upstream-connection.js'

const ANSWER = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')
const FORGED = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged')

/** What may come behind an answer in its turn. */
const FOLLOWERS = [
  ['another answer', (socket: Socket) => socket.emit('data', FORGED)],
  ['the end', (socket: Socket) => socket.emit('end')],
  ['an error', (socket: Socket) => socket.emit('error', new Error('reset'))],
] as const

const turn = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)))

/** A connection may be lost more than once. */
const withoutLoss = (events: readonly string[]) => events.filter(event => event !== 'lost')

/** A connection that is open, and an exchange that begins on it. */
function bench(written: (done: () => void) => void = done => done()) {
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => written(done) }) as Socket
  const events: string[] = []
  const source = {
    take: () => connection,
    giveBack: () => events.push('kept'),
    lose: () => events.push('lost'),
  }
  const connection = new UpstreamConnection(socket, 'connect', source)
  socket.emit('connect')
  const sending = new BuiltinSending(
    { method: 'GET', target: '/', headers: ['Host', 'api'], bodyBytes: 0, upgrade: null },
    {
      stillGranted: () => true,
      connected: () => events.push('connected'),
      answered: ({ status }) => events.push(`answered ${status}`),
      data: (chunk, isLast) => events.push(`${chunk}${isLast ? ', the last' : ''}`),
      drained: () => {},
      switched: () => {},
      failed: error => events.push(`failed ${(error as NodeJS.ErrnoException).code}`),
    },
    source,
    false,
  )
  sending.start()
  return { socket, events }
}

t.test('a connection with one whole answer is kept', async t => {
  const { socket, events } = bench()
  await turn()
  socket.emit('data', ANSWER)
  t.same(events, ['connected'], 'the rest of the turn is read first')
  await turn()
  t.same(events, ['connected', 'kept', 'answered 200', 'hi, the last'])
  t.notOk(socket.destroyed)
})

for (const [what, follow] of FOLLOWERS)
  t.test(`${what} behind a whole answer in one turn: nobody else gets the connection`, async t => {
    const { socket, events } = bench()
    await turn()
    socket.emit('data', ANSWER)
    follow(socket)
    await turn()
    t.same(withoutLoss(events), ['connected', 'answered 200', 'hi, the last'])
    t.ok(events.includes('lost'))
    t.ok(socket.destroyed)
  })

for (const [what, follow] of FOLLOWERS)
  t.test(`${what} behind an answer in two pieces in one turn: nobody else gets the connection`, async t => {
    const { socket, events } = bench()
    await turn()
    socket.emit('data', ANSWER.subarray(0, -2))
    socket.emit('data', ANSWER.subarray(-2))
    await null // whoever waits would be written here
    t.same(events, ['connected', 'answered 200'])
    follow(socket)
    await turn()
    t.same(withoutLoss(events), ['connected', 'answered 200', 'hi, the last'])
    t.ok(socket.destroyed)
  })

t.test('nobody gets a connection that has ended while it is looked at how', async t => {
  let isLate = false
  const { socket, events } = bench(done => (isLate ? void setTimeout(done, 50) : done()))
  await turn()
  isLate = true
  socket.emit('data', ANSWER)
  socket.emit('end')
  await turn()
  t.same(withoutLoss(events), ['connected', 'answered 200', 'hi, the last'])
  t.ok(socket.destroyed)
})

t.test('what comes before the request is written is not its answer', async t => {
  const { socket, events } = bench()
  socket.emit('data', FORGED)
  await turn()
  t.same(withoutLoss(events), ['failed ECONNRESET'])
  t.ok(socket.destroyed)
})

t.test('an answer in many pieces is read in order, whichever turn they come in', async t => {
  const { socket, events } = bench()
  await turn()
  for (const byte of ANSWER.subarray(0, -1)) socket.emit('data', Buffer.of(byte))
  await turn()
  socket.emit('data', ANSWER.subarray(-1))
  await turn()
  t.same(events, ['connected', 'answered 200', 'h', 'kept', 'i, the last'])
})
