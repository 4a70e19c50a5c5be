/**
 * `npm run soak`: what a long time does to memory and sockets. New tokens, new connections, good and refused requests, WebSockets
 * and DPoP proofs; in 30 minutes 100,000 tokens and 5,000 connections.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { newProofKey, type ProofKey, proofFor } from '../test/support/dpop.js'
import { HOST } from '../test/support/postern.js'
import { type Ground, prepareGround } from './ground.js'
import { type Asker, always, askedKind, chooser, type Kind, plan, USUAL } from './kinds.js'
import { leftOver, settledDescriptors } from './leaks.js'
import { Ledger } from './ledger.js'
import { Dialler, exchange, Line, type Seat } from './load.js'
import { EXIT, positive, readOptions, say, showProgress } from './options.js'
import { conditions, record } from './record.js'
import { aligned, markdown } from './report.js'
import { Sidecar } from './sidecar.js'
import { lastHalf, MIB, mib, slope } from './trend.js'
import { Wallet } from './wallet.js'

/** A few more than are wanted: handshakes and WebSockets take time as well. */
const CONNECTIONS_A_MINUTE = 5200 / 30
const TOKENS_A_CONNECTION = 20
const REQUESTS_A_TOKEN = 5
const AT_A_TIME = 100
/** One visit of so many has a WebSocket at its end. */
const VISITS_A_SOCKET = 10
const TOKEN_SECONDS = 300
/** A collection holds up all requests for a moment: seldom enough to be no part of the load. */
const SAMPLE_MS = 60_000
const PROGRESS_MS = 5_000
/** A shorter run shows caches that fill, and no trend. */
const LEAST_MINUTES = 20
/** MiB a minute; a megabyte in two minutes would be a gigabyte in two days. */
const MOST_GROWTH = { heap: 0.5, rss: 1 }

/** Memory right after a full collection. */
interface Sample {
  readonly at: number
  readonly requests: number
  readonly opened: number
  readonly rss: number
  readonly heap: number
  readonly descriptors: number
}

/** Each visit has a key of its own for proofs. */
function provenKind(key: ProofKey): Kind {
  return {
    name: 'proven',
    weight: 12,
    plan: ({ place, count, wallet }: Asker) => {
      const token = wallet.sign({ cnf: { jkt: key.jkt } })
      const path = `/proven/${place}-${count}`
      return plan({
        kind: 'proven',
        path,
        subject: wallet.subject,
        credentials: `DPoP ${token}`,
        fields: [`DPoP: ${proofFor(key, { htu: `https://${HOST}${path}`, token })}`],
        statuses: always(200),
      })
    },
  }
}

const GRANTED = always(200)
const SWITCHED = always(101)

/** Opens connections one after the other until the end; each has a client of its own. */
class Visitors {
  opened = 0
  /** Tokens that replaced another one or were the first of a visit; those that must be refused come on top. */
  tokens = 0
  #over = false
  readonly #ground: Ground
  readonly #ledger: Ledger
  readonly #dialler: Dialler
  readonly #pauseMs: number

  constructor(ground: Ground, ledger: Ledger, port: number) {
    this.#ground = ground
    this.#ledger = ledger
    this.#dialler = new Dialler({
      serverCaPem: ground.world.serverCa.certificatePem,
      target: () => port,
      ledger,
    })
    const visitMs = (60_000 * AT_A_TIME) / CONNECTIONS_A_MINUTE
    this.#pauseMs = visitMs / (TOKENS_A_CONNECTION * REQUESTS_A_TOKEN)
  }

  /** One place; resolves after `stop`. */
  async run(place: number): Promise<void> {
    // Not all at once, or they would also come and go together.
    await sleep((Math.random() * 60_000) / CONNECTIONS_A_MINUTE / 2)
    while (!this.#over) await this.#visit(place, ++this.opened)
  }

  stop(): void {
    this.#over = true
  }

  async #visit(place: number, visit: number): Promise<void> {
    const { identities, world, introspection } = this.#ground
    const identity = identities[visit % identities.length] as Seat['identity']
    const wallet = new Wallet(world.issuer, `user-${visit}`, identity, world.otherClient, TOKEN_SECONDS)
    const opaque = `opaque-token-of-visit-${visit}`
    this.#ground.admitOpaque(opaque, wallet.subject, identity)
    const choose = chooser([...USUAL, { ...askedKind(GRANTED), weight: 2 }, provenKind(newProofKey())])
    const line = new Line(this.#dialler, identity)
    const requests = TOKENS_A_CONNECTION * REQUESTS_A_TOKEN
    // From one due time to the next, so that answers which take their time make the visit no longer.
    let due = performance.now()
    for (let count = 0; count < requests && !this.#over; count++) {
      due += Math.random() * 2 * this.#pauseMs
      await sleep(Math.max(0, due - performance.now()))
      if (count % REQUESTS_A_TOKEN === 0) {
        wallet.renew()
        this.tokens++
      }
      const planned = choose().plan({ place: visit, count, wallet, opaque })
      if (planned !== null) await exchange(line, planned, this.#ledger)
    }
    if (visit % VISITS_A_SOCKET === 0 && !this.#over) await this.#talk(line, place, wallet)
    line.close()
    introspection.tokens.delete(opaque)
  }

  /** A WebSocket: some frames there and back, and an end without a farewell. */
  async #talk(line: Line, place: number, wallet: Wallet): Promise<void> {
    const handshake = plan({
      kind: 'live',
      path: `/accounts/${place}/live`,
      subject: wallet.subject,
      credentials: `Bearer ${wallet.token('good')}`,
      fields: [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ],
      statuses: SWITCHED,
    })
    await exchange(line, handshake, this.#ledger)
    const client = await line.connected()
    for (let frame = 0; frame < 5; frame++) {
      await sleep(this.#pauseMs)
      const isSame = await client?.isEchoed(`frame ${frame} of ${wallet.subject} `.repeat(20))
      if (isSame !== true) this.#ledger.fault('a WebSocket that does not give back what it was given')
    }
  }
}

async function soak(minutes: number): Promise<{ isGood: boolean; table: string[][]; figures: string[] }> {
  const ground = await prepareGround()
  const ledger = new Ledger(() => false)
  ground.upstream.onArrival = (path, nonce) => ledger.arrived(path, nonce)
  const sidecar = await Sidecar.start(ground.world.write('policies.yaml', ground.policy()))
  const before = await settledDescriptors(sidecar)
  const visitors = new Visitors(ground, ledger, sidecar.port)
  const places = Array.from({ length: AT_A_TIME }, (_, place) => visitors.run(place))
  const start = performance.now()
  const end = start + minutes * 60_000
  const samples: Sample[] = []
  const progress = setInterval(() => {
    const { requests, wrong, lost } = ledger
    const passed = ((performance.now() - start) / 60_000).toFixed(1)
    showProgress(
      `soak ${passed}/${minutes} min  ${requests} requests, ${visitors.opened} connections, ${wrong} wrong, ${lost} lost, RSS ${mib(sidecar.rss())} MiB`,
    )
  }, PROGRESS_MS)
  while (performance.now() < end && !sidecar.hasEnded) {
    await sleep(Math.min(SAMPLE_MS, end - performance.now()))
    const { heap, rss } = await sidecar.live()
    const at = (performance.now() - start) / 1000
    const { requests } = ledger
    samples.push({ at, requests, opened: visitors.opened, rss, heap, descriptors: sidecar.descriptors() })
  }
  clearInterval(progress)
  visitors.stop()
  await Promise.all(places)
  const leaked = await leftOver(sidecar, before, ground.upstream)
  if (sidecar.faults > 0) ledger.fault(`${sidecar.faults} faults of the code`)
  if (sidecar.hasEnded) ledger.fault('the process ended')
  sidecar.kill()
  await ground.close()
  for (const note of ledger.notes) say(note)

  const trend = (of: 'heap' | 'rss') => {
    const values = samples.map(sample => ({ at: sample.at, value: sample[of] }))
    const growth = (slope(lastHalf(values)) * 60) / MIB
    return { growth, tooMuch: minutes >= LEAST_MINUTES && growth > MOST_GROWTH[of] }
  }
  const [heap, rss] = [trend('heap'), trend('rss')]
  const { requests, wrong, lost } = ledger
  return {
    isGood: wrong + lost + leaked === 0 && requests > 0 && !heap.tooMuch && !rss.tooMuch,
    table: tableOf(samples),
    figures: [
      `${requests} requests, ${visitors.tokens} tokens, ${visitors.opened} connections: ${wrong} wrong, ${lost} lost, ${leaked} sockets left.`,
      `Last half, right after full collections: heap ${heap.growth.toFixed(3)} MiB/min (at most ${MOST_GROWTH.heap}), RSS ${rss.growth.toFixed(3)} MiB/min (at most ${MOST_GROWTH.rss}).`,
      ...(minutes < LEAST_MINUTES ? [`Below ${LEAST_MINUTES} minutes the trend is not judged.`] : []),
    ],
  }
}

/** About ten lines, evenly over the time. */
function tableOf(samples: readonly Sample[]): string[][] {
  const step = Math.max(1, Math.floor(samples.length / 10))
  const shown = samples.filter((_, index) => (samples.length - 1 - index) % step === 0)
  return [
    ['minute', 'requests', 'connections', 'RSS MiB', 'live heap MiB', 'descriptors'],
    ...shown.map(({ at, requests, opened, rss, heap, descriptors }) => [
      (at / 60).toFixed(1),
      ...[requests, opened, mib(rss), mib(heap), descriptors].map(String),
    ]),
  ]
}

const HELP = `npm run soak                    30 minutes
npm run soak -- --minutes 2
npm run soak -- --record        the figures go into docs/reliability.md

  --minutes N    length (30); below ${LEAST_MINUTES} the trend is printed and not judged
  --record       write the figures into docs/reliability.md
`
const options = readOptions({ minutes: { type: 'string' }, record: { type: 'boolean' } }, HELP)
const minutes = positive('minutes', options.minutes as string | undefined, 30)
const { isGood, table, figures } = await soak(minutes)
say(`\n${aligned(table)}\n\n${figures.join('\n')}\n\n${isGood ? '1 passed, 0 failed' : '0 passed, 1 failed'}`)
if (options.record === true)
  record('soak', [conditions(`${minutes} minutes`), ...figures, markdown(table)].join('\n\n'))
process.exit(isGood ? EXIT.ok : EXIT.failed)
