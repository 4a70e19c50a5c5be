import { connect, type TLSSocket } from 'node:tls'
import t from 'tap'
import { replyTo, TLS_VERSION } from '../support/client-hello.js'
import { HOST } from '../support/postern.js'
import { type Family, startResourceServer } from './resource-server.js'

// The TLS conditions that must be met: CS-01, CS-03, CS-04; F2-01, F2-02.

const server = await startResourceServer('fapi1-advanced', 'fapi2')
t.teardown(server.close)

/** TLS_{DHE,ECDHE}_RSA_WITH_AES_{128,256}_GCM: what the suite offers a server of FAPI 1. */
const FAPI1_SUITES = [0x009e, 0x009f, 0xc02f, 0xc030]
/** ECDHE with AES-GCM, for RSA and ECDSA: RFC 9325 section 4.2. */
const BCP195_SUITES = [0xc02b, 0xc02c, 0xc02f, 0xc030]
const FAMILIES: readonly Family[] = ['fapi1-advanced', 'fapi2']

async function hello(family: Family, ...suites: number[]) {
  return replyTo(server.at(family).port, { suites, serverName: HOST })
}

t.test('EnsureTLS12WithFAPICiphers: a client with the four suites of FAPI 1 gets a ServerHello', async t => {
  const reply = await hello('fapi1-advanced', ...FAPI1_SUITES)
  t.match(reply, { is: 'hello', version: TLS_VERSION.tls12 })
  t.ok(reply.is === 'hello' && FAPI1_SUITES.includes(reply.suite))
  for (const suite of [0xc02f, 0xc030])
    t.match(await hello('fapi1-advanced', suite), { is: 'hello', suite }, 'each that the server has, alone')
})

t.test('EnsureTLS12RequireBCP195Ciphers: a client with the suites of BCP 195 gets a ServerHello', async t => {
  const reply = await hello('fapi2', ...BCP195_SUITES)
  t.match(reply, { is: 'hello', version: TLS_VERSION.tls12 })
  t.ok(reply.is === 'hello' && BCP195_SUITES.includes(reply.suite))
})

function handshake(family: Family, minVersion: 'TLSv1.2' | 'TLSv1.3'): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(
      {
        port: server.at(family).port,
        host: '127.0.0.1',
        servername: HOST,
        ca: server.world.serverCa.certificatePem,
        minVersion,
        maxVersion: 'TLSv1.3',
      },
      () => {
        resolve(socket.getProtocol())
        socket.destroy()
      },
    )
    socket.on('error', reject)
  })
}

t.test('EnsureTLS13OrLater: a client that can do nothing but TLS 1.3 is served', async t => {
  for (const family of FAMILIES) t.equal(await handshake(family, 'TLSv1.3'), 'TLSv1.3', family)
})

t.test('EnsureTLS13PreferredOverTLS12: of both versions the newer one is taken', async t => {
  for (const family of FAMILIES) t.equal(await handshake(family, 'TLSv1.2'), 'TLSv1.3', family)
})
