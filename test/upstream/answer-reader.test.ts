/** The reader of answers, alone and beside the parser of node:http, which must never understand otherwise. */
import http from 'node:http'
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { AnswerReader } from '../../src/upstream/answer-reader.js'
import { MalformedAnswer } from '../../src/upstream/upstream-failure.js'
import { type AnswerVector, answerVectors } from '../support/answer-vectors.js'

/** What was understood of an answer; a text where it was refused, null where it is not complete. */
type Understood = { status: number; headers: readonly string[]; body: string } | string | null

function ours(pieces: readonly Buffer[], method: string, ends: boolean): Understood {
  const reader = new AnswerReader(method)
  const content: Buffer[] = []
  try {
    for (const piece of pieces) {
      reader.read(Buffer.from(piece)) // it is overwritten
      if (reader.content.length > 0) content.push(reader.content)
      if (reader.isComplete) break
    }
  } catch (error) {
    if (error instanceof MalformedAnswer) return error.message
    throw error
  }
  if (!reader.isComplete && (!ends || !reader.end())) return null
  const { status, headers } = reader.answer ?? { status: 0, headers: [] }
  return { status, headers, body: Buffer.concat(content).toString('latin1') }
}

function nodes(bytes: Buffer, method: string, ends: boolean): Promise<Understood> {
  return new Promise(resolve => {
    const socket = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
    const request = http.request({
      method,
      host: 'x',
      createConnection: () => socket,
      maxHeaderSize: 1_000_000,
      insecureHTTPParser: false,
    })
    const finish = (understood: Understood): void => {
      resolve(understood)
      socket.destroy()
    }
    // What it has not said by then, it waits for.
    const giveUp = (): void => void setImmediate(() => setImmediate(() => setImmediate(() => finish(null))))
    request.on('error', error => finish((error as NodeJS.ErrnoException).code ?? error.message))
    request.on('response', response => {
      const content: Buffer[] = []
      response.on('data', chunk => content.push(chunk))
      response.on('error', error => finish((error as NodeJS.ErrnoException).code ?? error.message))
      response.on('end', () => {
        const { statusCode: status = 0, rawHeaders: headers, complete } = response
        const body = Buffer.concat(content).toString('latin1')
        finish(complete ? { status, headers, body } : null)
      })
    })
    request.on('upgrade', () => finish('upgrade'))
    request.on('socket', () =>
      setImmediate(() => {
        socket.push(bytes)
        if (ends) socket.push(null)
        setImmediate(giveUp)
      }),
    )
    request.end()
  })
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const ends = [...new Set([...at.map(each => each % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  )
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end))
}

/** Whole, byte for byte, and at every place in two; long ones at some places. */
function* cuts({ bytes }: AnswerVector): Generator<Buffer[]> {
  yield [bytes]
  const step = Math.ceil(bytes.length / 400)
  for (let at = 1; at < bytes.length; at += step) yield cut(bytes, [at])
  if (step === 1) yield Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))
}

t.test('an answer with one reading is read, however it is cut', async t => {
  for (const vector of answerVectors('well-formed')) {
    const readings = new Set<string>()
    for (const pieces of cuts(vector)) readings.add(JSON.stringify(ours(pieces, vector.method, vector.ends)))
    t.equal(readings.size, 1, `${vector.name}: one reading`)
    t.match(JSON.parse([...readings][0] as string), { status: vector.status, body: vector.body }, vector.name)
    t.same(
      await nodes(vector.bytes, vector.method, vector.ends),
      ours([vector.bytes], vector.method, vector.ends),
      `${vector.name}: node:http reads the same`,
    )
  }
})

t.test('an answer without one is refused, however it is cut', async t => {
  const vectors = answerVectors('malformed')
  t.ok(vectors.length >= 60)
  for (const vector of vectors) {
    const readings = new Set<string>()
    for (const pieces of cuts(vector)) {
      const understood = ours(pieces, vector.method, true)
      readings.add(typeof understood === 'string' ? 'refused' : JSON.stringify(understood))
    }
    t.same([...readings], ['refused'], vector.name)
  }
})

t.test('an answer that is cut off is not complete', async t => {
  for (const { name, bytes, method, ends } of answerVectors('well-formed').filter(each => !each.ends)) {
    const head = bytes.lastIndexOf('\r\n\r\n')
    for (let length = 0; length < bytes.length; length += length < head - 400 ? 50 : 1) {
      const understood = ours([bytes.subarray(0, length)], method, true)
      if (understood !== null) t.fail(`${name} at ${length}`)
    }
    t.not(ours([bytes], method, ends), null, name)
  }
})

t.test('what follows an answer is seen', async t => {
  for (const { name, bytes, method } of answerVectors('well-formed').filter(each => !each.ends)) {
    const together = new AnswerReader(method)
    together.read(Buffer.concat([bytes, Buffer.from('H')]))
    t.same([together.isComplete, together.hasExcess], [true, true], name)
    const apart = new AnswerReader(method)
    apart.read(Buffer.from(bytes))
    t.same([apart.isComplete, apart.hasExcess], [true, false], name)
    apart.read(Buffer.from('H'))
    t.equal(apart.hasExcess, true, name)
  }
})

t.test('how long an idle connection is good for', async t => {
  const cases: readonly (readonly [string, number])[] = [
    ['X: 1', Number.POSITIVE_INFINITY],
    ['Keep-Alive: timeout=5', 4000],
    ['Keep-Alive: max=100, timeout=3', 2000],
    ['keep-alive: TIMEOUT=2', 1000],
    ['Keep-Alive: timeout=1', 0],
    ['Keep-Alive: timeout=0', 0],
    ['Keep-Alive: notimeout=0', Number.POSITIVE_INFINITY],
    ['Connection: close', 0],
    ['Connection: keep-alive, Close', 0],
    ['Connection: closed', Number.POSITIVE_INFINITY],
  ]
  for (const [line, milliseconds] of cases) {
    const reader = new AnswerReader('GET')
    reader.read(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${line}\r\n\r\n`))
    t.equal(reader.keepAliveMs, milliseconds, line)
  }
  for (const text of ['HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', 'HTTP/1.1 200 OK\r\n\r\n']) {
    const reader = new AnswerReader('GET')
    reader.read(Buffer.from(text))
    t.equal(reader.keepAliveMs, 0)
  }
})

/** Bytes that mean something to a parser. */
const TELLING = [
  '\r',
  '\n',
  '\r\n',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '=',
  '"',
  '0',
  '5',
  'a',
  '-',
  '+',
  '\0',
  '\x7f',
  '\xff',
]

const piece = (...texts: readonly string[]) => fc.constantFrom(...texts)
const statusLine = fc.oneof(
  { weight: 6, arbitrary: fc.constant('HTTP/1.1 200 OK\r\n') },
  piece(
    'HTTP/1.0 200 OK\r\n',
    'HTTP/1.1 204 No\r\n',
    'HTTP/1.1 304 Not\r\n',
    'HTTP/1.1 200\r\n',
    'HTTP/1.1 205 Reset\r\n',
  ),
)
const interim = piece('', '', '', 'HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early\r\nLink: a\r\n\r\n')
const fieldLine = fc.oneof(
  piece(
    'Content-Length: 5\r\n',
    'Content-Length: 0\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Connection: close\r\n',
    'Connection: keep-alive\r\n',
    'Connection: upgrade\r\nUpgrade: h2c\r\n',
    'Keep-Alive: timeout=3\r\n',
    'Trailer: X\r\n',
  ),
  piece('X: 1\r\n', 'X:\r\n', 'X: \t a b \t\r\n', 'Set-Cookie: a=b; c\r\n', 'x-\xe9: 1\r\n', 'X: \xe9\r\n'),
)
const chunk = fc.oneof(
  piece('5\r\nhello\r\n', '1\r\nx\r\n', '3;a=b\r\nabc\r\n', '2;a;b="c"\r\nxy\r\n', 'A\r\n0123456789\r\n'),
  piece('05\r\nhello\r\n', '5\r\nhello', '5 \r\nhello\r\n', '5\nhello\n'),
)
const chunks = fc
  .tuple(fc.array(chunk, { maxLength: 4 }), piece('0\r\n', '00\r\n', '0;a\r\n'), piece('', '', 'X: 1\r\n'))
  .map(([parts, last, trailer]) => `${parts.join('')}${last}${trailer}\r\n`)
const content = fc.oneof(piece('', 'hello', 'hello, and more'), chunks)
const text = fc
  .tuple(interim, statusLine, fc.array(fieldLine, { maxLength: 4 }), content)
  .map(([before, line, fields, body]) => `${before}${line}${fields.join('')}\r\n${body}`)
const mutation = fc.record({
  at: fc.nat(400),
  removed: fc.nat(2),
  inserted: fc.oneof(
    piece('', ...TELLING),
    fc.nat(255).map(code => String.fromCharCode(code)),
  ),
})
const answerBytes = fc
  .tuple(text, fc.oneof(fc.constant([]), fc.array(mutation, { minLength: 1, maxLength: 3 })))
  .map(([whole, mutations]) =>
    mutations.reduce((mutated, { at, removed, inserted }) => {
      const place = at % (mutated.length + 1)
      return mutated.slice(0, place) + inserted + mutated.slice(place + removed)
    }, whole),
  )
  .map(mutated => Buffer.from(mutated, 'latin1'))

/** Where an answer ends. Of what follows, node:http makes an error, and the end of a connection is made here. */
function lengthOf(bytes: Buffer, method: string, ends: boolean): number {
  const reader = new AnswerReader(method)
  reader.read(Buffer.from(bytes))
  if (!reader.hasExcess) return bytes.length
  let length = 0
  while (ours([bytes.subarray(0, length)], method, ends) === null) length++
  return length
}

t.test('what is accepted, node:http accepts and understands the same', async t => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(
      answerBytes,
      piece('GET', 'GET', 'HEAD'),
      fc.boolean(),
      fc.array(fc.nat(), { maxLength: 6 }),
      async (bytes, method, ends, at) => {
        const understood = ours([bytes], method, ends)
        const inPieces = ours(cut(bytes, at), method, ends)
        if (typeof understood === 'string') {
          if (typeof inPieces !== 'string') throw new Error(`refused whole, not in pieces: ${understood}`)
          return
        }
        if (JSON.stringify(inPieces) !== JSON.stringify(understood))
          throw new Error('read otherwise in pieces')
        if (understood === null) return
        accepted++
        const other = await nodes(bytes.subarray(0, lengthOf(bytes, method, ends)), method, ends)
        if (JSON.stringify(other) !== JSON.stringify(understood))
          throw new Error(`node:http: ${JSON.stringify(other)}, ours: ${JSON.stringify(understood)}`)
      },
    ),
    { numRuns: Number(process.env.POSTERN_FUZZ_RUNS ?? 4000) },
  )
  t.ok(accepted > 200, `${accepted} accepted`)
})
