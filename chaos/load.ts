/** Many clients with connections that are kept open, each asking again and again. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { Issued } from '../test/support/pki.js'
import { HOST } from '../test/support/postern.js'
import { Client } from './client.js'
import type { Plan, Reply } from './exchange.js'
import { type Asker, chooser, type Kind } from './kinds.js'
import type { Ledger } from './ledger.js'
import type { Wallet } from './wallet.js'

/** Mean time between an answer and the next request of the same client. */
const PAUSE_MS = 200
/** How long a client tries to get a connection for a request. */
const CONNECT_MS = 15_000
/**
 * What a process wrote before it died lies at the upstream by then, and is read in the next turns of this process: only then is it
 * certain that the upstream does not have a request. Milliseconds.
 */
const SETTLE_MS = 100

/** Who sits at one connection. */
export interface Seat {
  readonly identity: Issued
  readonly wallet: Wallet
  readonly opaque: string
  readonly kinds: readonly Kind[]
}

export interface LoadOptions {
  readonly serverCaPem: string
  /** The port for the next connection. */
  readonly target: () => number
  readonly ledger: Ledger
}

/** Makes connections of one client identity; the keys are parsed once. */
export class Dialler {
  readonly #contexts = new Map<Issued, SecureContext>()
  readonly #options: LoadOptions

  constructor(options: LoadOptions) {
    this.#options = options
  }

  dial(identity: Issued): Promise<Client | null> {
    let context = this.#contexts.get(identity)
    if (context === undefined) {
      const { certificatePem: cert, keyPem: key } = identity
      context = createSecureContext({ ca: this.#options.serverCaPem, cert, key })
      this.#contexts.set(identity, context)
    }
    return Client.connect({ port: this.#options.target(), servername: HOST, context })
  }
}

export class Load {
  readonly #dialler: Dialler
  readonly #ledger: Ledger
  readonly #loops: Promise<void>[]
  #stopped = false

  /** Starts at once; the seats are taken within the time of one pause. */
  constructor(seats: readonly Seat[], options: LoadOptions) {
    this.#dialler = new Dialler(options)
    this.#ledger = options.ledger
    this.#loops = seats.map((seat, place) => this.#loop(seat, place))
  }

  /** Resolves when the last request has its answer and all connections are closed. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
  }

  async #loop(seat: Seat, place: number): Promise<void> {
    const choose = chooser(seat.kinds)
    const line = new Line(this.#dialler, seat.identity)
    for (let count = 0; !this.#stopped; count++) {
      await sleep(Math.random() * 2 * PAUSE_MS)
      const asker: Asker = { place, count, wallet: seat.wallet, opaque: seat.opaque }
      const plan = choose().plan(asker)
      if (plan !== null && !this.#stopped) await exchange(line, plan, this.#ledger)
    }
    line.close()
  }
}

/** A connection that is made anew whenever it is gone. */
export class Line {
  readonly #dialler: Dialler
  readonly #identity: Issued
  #client: Client | null = null

  constructor(dialler: Dialler, identity: Issued) {
    this.#dialler = dialler
    this.#identity = identity
  }

  get isOpen(): boolean {
    return this.#client?.isOpen === true
  }

  async ask(request: string): Promise<Reply> {
    const client = await this.connected()
    if (client === null) return { is: 'nothing', how: 'unconnected', bytes: 0 }
    const reply = await client.ask(request)
    if (reply.is === 'nothing' || reply.closes) this.close()
    return reply
  }

  /** null when there was none to be had for too long. */
  async connected(): Promise<Client | null> {
    const deadline = performance.now() + CONNECT_MS
    while (this.#client === null || !this.#client.isOpen) {
      this.close()
      if (performance.now() > deadline) return null
      this.#client = await this.#dialler.dial(this.#identity)
      if (this.#client === null) await sleep(20)
    }
    return this.#client
  }

  close(): void {
    this.#client?.destroy()
    this.#client = null
  }
}

/**
 * Sends a request and hands what comes of it to the ledger. A connection that was open before and ends in order, without
 * a byte, while the upstream has not seen the request: then nothing was done, and any client may send it again.
 */
export async function exchange(line: Line, plan: Plan, ledger: Ledger): Promise<void> {
  ledger.sent(plan)
  const wasOpen = line.isOpen
  const sentAt = performance.now()
  let reply = await line.ask(plan.request)
  if (wasOpen && reply.is === 'nothing' && reply.how === 'ended' && reply.bytes === 0) {
    await sleep(SETTLE_MS)
    if (!ledger.hasArrived(plan)) {
      ledger.retried++
      reply = await line.ask(plan.request)
    }
  }
  ledger.ended(plan, sentAt, performance.now(), reply)
}
