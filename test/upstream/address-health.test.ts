import fc from 'fast-check'
import t from 'tap'
import { AddressHealth, type AttemptOutcome } from '../../src/upstream/address-health.js'

// As docs/upstreams.md and section 6 of ARCHITECTURE.md say.
const FAILURES = 5
const SHORTEST_MS = 500
const LONGEST_MS = 30_000
const CHECKS = { healthyAfter: 2, unhealthyAfter: 3 }

type Ticket = ReturnType<AddressHealth['begin']>

/** A request ends while another address is healthy. */
function end(health: AddressHealth, ticket: Ticket, outcome: AttemptOutcome, now: number) {
  return health.settle(ticket, outcome, { now, isLast: false })
}

/** An address after so many requests that failed, at the time 0. */
function after(failures: number): AddressHealth {
  const health = new AddressHealth()
  for (let i = 0; i < failures; i++) end(health, health.begin(0), 'failed', 0)
  return health
}

/** The time at which a request may try it, between two others. */
function dueAt(health: AddressHealth, from: number, isRepeatable = true): number {
  for (let now = from; now <= from + 4 * LONGEST_MS; now += 10)
    if (health.trialIsDue(now, isRepeatable)) return now
  return Number.POSITIVE_INFINITY
}

t.test(
  'failures in a row take an address out, and an answer between them does not let it come so far',
  async t => {
    const health = after(FAILURES - 1)
    t.ok(health.isHealthy)
    t.equal(end(health, health.begin(0), 'answered', 0), null)
    for (let i = 0; i < FAILURES - 1; i++) t.equal(end(health, health.begin(0), 'failed', 0), null)
    t.ok(health.isHealthy)
    t.equal(end(health, health.begin(0), 'failed', 0), 'ejected')
    t.notOk(health.isHealthy)
  },
)

t.test('a client that leaves says nothing of the address', async t => {
  const health = after(FAILURES - 1)
  end(health, health.begin(0), 'indifferent', 0)
  t.ok(health.isHealthy)
  t.equal(end(health, health.begin(0), 'failed', 0), 'ejected', 'nor that it is well')
})

t.test(
  'an address that is out is tried by one request at a time, and waits twice as long after each failure',
  async t => {
    const health = after(FAILURES)
    let now = 0
    for (const wait of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      t.equal(dueAt(health, now), now + wait)
      now += wait
      const trial = health.begin(now)
      t.notOk(health.trialIsDue(now + wait - 1, true), 'not while the trial runs')
      t.equal(end(health, trial, 'failed', now), null)
    }
    const trial = health.begin(now)
    t.equal(end(health, trial, 'answered', now), 'returned')
    t.ok(health.isHealthy)
  },
)

t.test('a trial whose client draws it out, or leaves, holds up the next for one wait only', async t => {
  for (const leaves of [false, true]) {
    const health = after(FAILURES)
    const trial = health.begin(SHORTEST_MS)
    if (leaves) end(health, trial, 'indifferent', SHORTEST_MS)
    t.equal(dueAt(health, SHORTEST_MS), 2 * SHORTEST_MS)
  }
})

t.test('requests that came for want of another address prolong no wait, and an answer ends it', async t => {
  const health = after(FAILURES)
  for (let i = 0; i < 10; i++) t.equal(end(health, health.begin(100), 'failed', 100), null)
  t.equal(dueAt(health, 100), SHORTEST_MS)
  t.equal(end(health, health.begin(200), 'answered', 200), 'returned')
})

t.test('the last address is not taken out, however many requests fail', async t => {
  const health = new AddressHealth()
  const last = { now: 0, isLast: true }
  for (let i = 0; i < 100; i++) t.equal(health.settle(health.begin(0), 'failed', last), null)
  t.ok(health.isHealthy)
  t.equal(end(health, health.begin(0), 'failed', 0), 'ejected', 'until another can stand in for it')
})

t.test('requests that cannot be repeated try an address later than those that can', async t => {
  t.equal(dueAt(after(FAILURES), 0, false), 2 * SHORTEST_MS)
})

t.test('an address that falls again soon after it came back waits for longer than at first', async t => {
  const health = after(FAILURES)
  const fall = (now: number) => {
    for (let i = 0; i < FAILURES; i++) end(health, health.begin(now), 'failed', now)
  }
  end(health, health.begin(600), 'answered', 600)
  fall(1000)
  t.equal(dueAt(health, 1000), 1000 + 2 * SHORTEST_MS)
  end(health, health.begin(2000), 'answered', 2000)
  fall(2000 + LONGEST_MS)
  t.equal(dueAt(health, 2000 + LONGEST_MS), 2000 + LONGEST_MS + SHORTEST_MS, 'after a calm time as at first')
})

t.test('requests from before an ejection neither prolong it nor end it', async t => {
  const health = new AddressHealth()
  const early = [health.begin(0), health.begin(0)] as const
  for (let i = 0; i < FAILURES; i++) end(health, health.begin(0), 'failed', 0)
  t.equal(end(health, early[0], 'failed', 400), null)
  t.equal(dueAt(health, 400), SHORTEST_MS)
  t.equal(end(health, early[1], 'answered', 450), null)
  t.notOk(health.isHealthy, 'a server that shuts down answers what it has begun')
})

t.test('checks take an address out and bring it back, each after so many in a row', async t => {
  const health = new AddressHealth()
  const results = [false, false, true, false, false, false, false, true, false, true, true]
  t.strictSame(
    results.map(isGood => health.checked(isGood, CHECKS, 0)),
    [null, null, null, null, null, 'ejected', null, null, null, null, 'returned'],
  )
})

t.test(
  'no request tries an address that fails its checks, and good checks end an ejection with it',
  async t => {
    const health = after(FAILURES)
    for (let i = 0; i < 3; i++) t.equal(health.checked(false, CHECKS, 0), null, 'it was out already')
    t.notOk(health.trialIsDue(10 * LONGEST_MS, false))
    health.checked(true, CHECKS, 0)
    t.equal(health.checked(true, CHECKS, 0), 'returned')
    t.ok(health.isHealthy)
  },
)

t.test('good checks alone do not bring back an address whose requests fail', async t => {
  const health = after(FAILURES)
  for (let i = 0; i < 10; i++) t.equal(health.checked(true, CHECKS, 0), null)
  t.notOk(health.isHealthy)
})

type Event =
  | { readonly kind: 'begin'; readonly ms: number }
  | {
      readonly kind: 'end'
      readonly ms: number
      readonly which: number
      readonly outcome: AttemptOutcome
    }
  | { readonly kind: 'check'; readonly ms: number; readonly isGood: boolean }

const ms = fc.integer({ min: 0, max: 3000 })
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('begin' as const), ms }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      ms,
      which: fc.nat(20),
      outcome: fc.constantFrom('answered', 'failed', 'failed', 'failed', 'indifferent'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('check' as const), ms, isGood: fc.boolean() }) },
)

interface State {
  readonly health: AddressHealth
  now: number
  /** By the changes that were told. */
  isTold: boolean
  isDown: boolean
}

/** Requests of all kinds, those that come for want of another address included. */
function play(events: readonly Event[], isLast: boolean, look: (state: State) => void): void {
  const health = new AddressHealth()
  const open: Ticket[] = []
  const state: State = { health, now: 0, isTold: true, isDown: false }
  let checks = { good: 0, bad: 0 }
  const tell = (change: 'ejected' | 'returned' | null): void => {
    if (change !== null) state.isTold = change === 'returned'
  }
  for (const event of events) {
    state.now += event.ms
    const { now } = state
    if (event.kind === 'begin') open.push(health.begin(now))
    else if (event.kind === 'end') {
      const [ticket] = open.splice(event.which % Math.max(open.length, 1), 1)
      if (ticket !== undefined) tell(health.settle(ticket, event.outcome, { now, isLast }))
    } else {
      checks = event.isGood ? { good: checks.good + 1, bad: 0 } : { good: 0, bad: checks.bad + 1 }
      if (checks.bad >= 3) state.isDown = true
      if (checks.good >= 2) state.isDown = false
      tell(health.checked(event.isGood, CHECKS, now))
    }
    look(state)
  }
}

const history = fc.array(event, { maxLength: 200 })

t.test('whatever happens, every change is told, and none that is not one', async () => {
  fc.assert(
    fc.property(history, fc.boolean(), (events, isLast) =>
      play(events, isLast, ({ health, isTold }) => {
        if (health.isHealthy !== isTold) throw new Error('told otherwise')
      }),
    ),
  )
})

t.test('whatever happens to requests, nothing but its checks takes the last address out', async () => {
  fc.assert(
    fc.property(history, events =>
      play(events, true, ({ health, isDown }) => {
        if (health.isHealthy === isDown) throw new Error('the checks say otherwise')
      }),
    ),
  )
})

t.test('whatever happened, an address is tried again within a minute, also while a trial runs', async () => {
  fc.assert(
    fc.property(history, events =>
      play(events, false, ({ health, now, isDown }) => {
        const due = health.trialIsDue(now + 2 * LONGEST_MS, false)
        if (!health.isHealthy && !isDown && !due) throw new Error('never tried again')
      }),
    ),
  )
})
