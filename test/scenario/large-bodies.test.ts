import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createWorld, HOST, policyText, startPostern } from '../support/postern.js'

// Bodies pass through, and nobody collects them: not when they are large, and not when the reader is slow.

const MIB = 1024 * 1024
const LARGE = 100 * MIB
const CHUNK = 64 * 1024
/** What one body may take on its way, in the sidecar: far less than it is. */
const MOST_MEMORY = 48 * MIB
/** What may be under way to a reader that does not read: the buffers of three sockets and their streams. */
const MOST_UNDER_WAY = 48 * MIB

const noise = randomBytes(CHUNK)

/** Content that is nowhere the same, so that a part which is lost, doubled or moved shows. */
function* content(bytes: number): Generator<Buffer> {
  for (let at = 0; at < bytes; at += CHUNK) {
    const chunk = Buffer.from(noise)
    chunk.writeUInt32BE(at / CHUNK)
    yield chunk
  }
}

function digestOf(bytes: number): string {
  const hash = createHash('sha256')
  for (const chunk of content(bytes)) hash.update(chunk)
  return hash.digest('hex')
}

const DIGESTS = new Map([MIB, LARGE].map(bytes => [bytes, digestOf(bytes)]))

async function digestWhenRead(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of stream) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** The API behind: gives content away as fast as it can, and says what came. */
let readUploads: Promise<void> = Promise.resolve()
/** Bytes that the last download has left the API with. */
let given: () => number = () => 0
const api = createServer(async (request, response) => {
  const url = new URL(request.url ?? '', 'http://api')
  if (request.method === 'POST') {
    await readUploads
    response.end(await digestWhenRead(request))
    return
  }
  const { socket } = request
  const base = socket.bytesWritten
  given = () => socket.bytesWritten - base
  const bytes = Number(url.searchParams.get('bytes'))
  if (url.searchParams.get('framing') === 'length') response.setHeader('Content-Length', bytes)
  await pipeline(Readable.from(content(bytes)), response)
})
api.listen(0, '127.0.0.1')
await once(api, 'listening')
const url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`

const world = await createWorld()
const postern = await startPostern(
  world,
  policyText(world, {
    upstream: url,
    limits: '{ bodyBytes: 256MiB }',
    moreUpstreams: `  other: { url: ${url}, engine: http-proxy }`,
    apis: ['provider', 'other']
      .map(
        name => `
  - name: ${name}
    base: /${name}
    security: public
    upstream: ${name}
    routes:
      GET /{path...}: {}
      POST /{path...}: {}`,
      )
      .join(''),
  }),
)
t.teardown(async () => {
  await postern.stop()
  api.closeAllConnections()
  api.close()
  await world.close()
})

const target = (path: string): RequestOptions => ({
  ...{ host: '127.0.0.1', port: postern.port, servername: HOST, ca: world.serverCa.certificatePem },
  ...{ headers: { Host: HOST }, agent: false, path },
})

async function download(path: string): Promise<IncomingMessage> {
  const request = httpsRequest(target(path)).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

/** The digest that the API says it has read. */
async function upload(path: string, bytes: number, framing: 'length' | 'chunked'): Promise<string> {
  const headers = framing === 'length' ? { 'Content-Length': bytes } : { 'Transfer-Encoding': 'chunked' }
  const options = target(path)
  const request = httpsRequest({
    ...options,
    method: 'POST',
    headers: { ...options.headers, ...headers },
  })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  await pipeline(Readable.from(content(bytes)), request as Writable)
  const [response] = await answered
  response.setEncoding('utf8')
  return (await response.toArray()).join('')
}

/** The most that the process has held so far, in bytes. */
function peakMemory(): number {
  const status = readFileSync(`/proc/${postern.child.pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

/** Resolves with a count that has stopped to grow. */
async function atRest(count: () => number): Promise<number> {
  for (let before = -1; ; ) {
    await sleep(300)
    if (before === count() && before > 0) return before
    before = count()
  }
}

// Code is compiled, pools are filled, and as much garbage lies about as ever will: newer V8 collects later than older.
for (const name of ['provider', 'other'])
  for (let body = 0; body < 12; body++) {
    await digestWhenRead(await download(`/${name}/x?bytes=${10 * MIB}`))
    await upload(`/${name}/x`, 10 * MIB, 'chunked')
  }
const before = peakMemory()

for (const name of ['provider', 'other'])
  for (const [bytes, digest] of DIGESTS)
    for (const framing of bytes === LARGE ? (['chunked'] as const) : (['length', 'chunked'] as const))
      t.test(
        `${name}: ${bytes / MIB} MiB, framed by ${framing}, arrive as they were sent, both ways`,
        async t => {
          t.equal(
            await digestWhenRead(await download(`/${name}/x?bytes=${bytes}&framing=${framing}`)),
            digest,
          )

          t.equal(await upload(`/${name}/x`, bytes, framing), digest)
        },
      )

for (const name of ['provider', 'other']) {
  t.test(`${name}: a client that does not read holds the upstream up`, async t => {
    const response = await download(`/${name}/x?bytes=${LARGE}`)
    const underWay = await atRest(() => given())
    t.ok(underWay < MOST_UNDER_WAY, `${underWay / MIB} MiB`)
    t.equal(await digestWhenRead(response), DIGESTS.get(LARGE))
  })

  t.test(`${name}: an upstream that does not read holds the client up`, async t => {
    let release = () => {}
    readUploads = new Promise(resolve => {
      release = resolve
    })
    const options = target(`/${name}/x`)
    const headers = { ...options.headers, 'Content-Length': LARGE }
    const request = httpsRequest({ ...options, method: 'POST', headers })
    const answered = once(request, 'response') as Promise<[IncomingMessage]>
    const sent = pipeline(Readable.from(content(LARGE)), request as Writable)
    await once(request, 'socket')
    const underWay = await atRest(() => request.socket?.bytesWritten ?? 0)
    t.ok(underWay < MOST_UNDER_WAY, `${underWay / MIB} MiB`)
    release()
    await sent
    const [response] = await answered
    response.setEncoding('utf8')
    t.equal((await response.toArray()).join(''), DIGESTS.get(LARGE))
  })
}

t.test('no body was ever collected on its way', async t => {
  const peak = peakMemory() - before
  t.ok(peak < MOST_MEMORY, `${peak / MIB} MiB more than before`)
})
