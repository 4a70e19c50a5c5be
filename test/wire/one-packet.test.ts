/**
 * An upstream that says more than it was asked for, or leaves, in the very packet that ends its answer, while somebody waits for
 * the connection. Several records of TLS in one packet are several reads in one turn, and between two of them Node runs what waits.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { EXTENDED_KEY_USAGE } from '../support/pki.js'
import { connectRaw, createWorld, HOST, policyText, startPostern, underName } from '../support/postern.js'
import { answer, RecordingUpstream, type Step } from '../support/recording-upstream.js'

const FORGED = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'
/** null: the end of the connection. */
const SHAPES: Readonly<Record<string, readonly (string | null)[]>> = {
  'an answer in one record, and another one': ['HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown', FORGED],
  'an answer in two records, and another one': [
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n',
    'own',
    FORGED,
  ],
  'an interim answer, an answer without content, and another one': [
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
    'HTTP/1.1 304 Not Modified\r\n\r\n',
    FORGED,
  ],
  'an answer in two records, and the end': ['HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n', 'own', null],
}

/** Passes bytes on both ways; those of the upstream it can gather, to pass them on at once. */
class Relay {
  readonly port: number
  readonly #server: Server
  #gathered: Buffer[] | null = null
  #client: Socket | null = null

  private constructor(server: Server) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
  }

  static async start(upstreamPort: number): Promise<Relay> {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, client => {
      const upstream = connect({ port: upstreamPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
      client.pipe(upstream)
      upstream.on('data', bytes => relay.#pass(client, bytes))
      upstream.on('end', () => {
        if (relay.#gathered === null) client.end()
      })
      upstream.on('error', () => client.destroy())
      client.on('error', () => upstream.destroy())
      client.on('close', () => upstream.destroy())
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const relay = new Relay(server)
    return relay
  }

  #pass(client: Socket, bytes: Buffer): void {
    if (this.#gathered === null) client.write(bytes)
    else {
      this.#client = client
      this.#gathered.push(bytes)
    }
  }

  gather(): void {
    this.#gathered = []
  }

  release(): void {
    const bytes = Buffer.concat(this.#gathered ?? [])
    this.#gathered = null
    this.#client?.write(bytes)
  }

  close(): void {
    this.#server.close()
  }
}

const world = await createWorld()
const certificate = await world.serverCa.issue({
  ...{ commonName: 'localhost', sanDns: ['localhost'], extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] },
  key: 'rsa-2048',
})
world.write('upstream-ca.pem', world.serverCa.certificatePem)
const upstream = await RecordingUpstream.start({ key: certificate.keyPem, cert: certificate.certificatePem })
const relay = await Relay.start(upstream.port)
t.teardown(async () => {
  relay.close()
  await upstream.stop()
  await world.close()
})

/** Writes these as records, and has the relay pass all of them on in one packet. */
function inOnePacket(pieces: readonly (string | null)[]): Step {
  const act = async (socket: Socket): Promise<void> => {
    await sleep(200) // somebody waits by then
    relay.gather()
    for (const piece of pieces) {
      if (piece === null) socket.end()
      else socket.write(piece, 'latin1')
      await sleep(15)
    }
    relay.release()
  }
  return { act: socket => void act(socket) }
}

t.test('whoever waits for the connection gets an answer of their own', async t => {
  for (const engine of ['builtin', 'http-proxy']) {
    const postern = await startPostern(
      underName(world, engine),
      policyText(world, {
        upstream: `https://localhost:${relay.port}`,
        upstreamMore: `connections: 1, engine: ${engine}, tls: { ca: upstream-ca.pem }`,
      }),
    )
    for (const [name, pieces] of Object.entries(SHAPES))
      await t.test(`${engine}: ${name}`, async t => {
        upstream.script(inOnePacket(pieces), answer(200, 'theirs'))
        const clients = [await connectRaw(world, postern), await connectRaw(world, postern)] as const
        clients[0].write(`GET /open/first HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
        await upstream.arrived(1)
        // Not a GET, which is sent once more when its connection turns out to be gone.
        clients[1].write(`DELETE /open/second HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
        const [first, second] = [await clients[0].answer(), await clients[1].answer()]
        t.ok(first.status === 304 || first.body.toString() === 'own')
        t.equal(second.body.toString(), 'theirs')
        t.same(
          upstream.requests.map(({ target }) => target),
          ['/open/first', '/open/second'],
        )
        for (const client of clients) client.destroy()
      })
    await postern.stop()
  }
})
