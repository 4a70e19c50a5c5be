import fc from 'fast-check'
import t from 'tap'
import { AddressHealth, LONGEST_MS, SHORTEST_MS } from '../../src/upstream/address-health.js'

const FAILURES = 5
const USUAL = { isLastResort: false, isRepeatable: true }
const LAST = { isLastResort: true, isRepeatable: false }
const CHECKS = { healthyAfter: 2, unhealthyAfter: 3 }

/** An address after so many requests that failed, at the time 0. */
function after(failures: number): AddressHealth {
  const health = new AddressHealth()
  for (let i = 0; i < failures; i++) health.settle(health.begin(0), 'failed', 0)
  return health
}

/** The time at which a request may try it, between two others. */
function dueAt(health: AddressHealth, from: number, circumstances = USUAL): number {
  for (let now = from; now <= from + 4 * LONGEST_MS; now += 10)
    if (health.trialIsDue(now, circumstances)) return now
  return Number.POSITIVE_INFINITY
}

t.test(
  'failures in a row take an address out, and an answer between them does not let it come so far',
  async t => {
    const health = after(FAILURES - 1)
    t.ok(health.isHealthy)
    t.equal(health.settle(health.begin(0), 'answered', 0), null)
    for (let i = 0; i < FAILURES - 1; i++) t.equal(health.settle(health.begin(0), 'failed', 0), null)
    t.ok(health.isHealthy)
    t.equal(health.settle(health.begin(0), 'failed', 0), 'ejected')
    t.notOk(health.isHealthy)
  },
)

t.test('a client that leaves says nothing of the address', async t => {
  const health = after(FAILURES - 1)
  health.settle(health.begin(0), 'indifferent', 0)
  t.ok(health.isHealthy)
  t.equal(health.settle(health.begin(0), 'failed', 0), 'ejected', 'nor that it is well')
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
      t.notOk(health.trialIsDue(now + 10 * LONGEST_MS, USUAL), 'not while the trial runs')
      t.equal(health.settle(trial, 'failed', now), null)
    }
    const trial = health.begin(now)
    t.equal(health.settle(trial, 'answered', now), 'returned')
    t.ok(health.isHealthy)
  },
)

t.test('a trial whose client left makes room for the next', async t => {
  const health = after(FAILURES)
  health.settle(health.begin(SHORTEST_MS), 'indifferent', SHORTEST_MS)
  t.ok(health.trialIsDue(SHORTEST_MS, USUAL))
})

t.test('requests that cannot be repeated try an address later than those that can', async t => {
  t.equal(dueAt(after(FAILURES), 0, { isLastResort: false, isRepeatable: false }), 2 * SHORTEST_MS)
})

t.test('an address that falls again soon after it came back waits for longer than at first', async t => {
  const health = after(FAILURES)
  const fall = (now: number) => {
    for (let i = 0; i < FAILURES; i++) health.settle(health.begin(now), 'failed', now)
  }
  health.settle(health.begin(600), 'answered', 600)
  fall(1000)
  t.equal(dueAt(health, 1000), 1000 + 2 * SHORTEST_MS)
  health.settle(health.begin(2000), 'answered', 2000)
  fall(2000 + LONGEST_MS)
  t.equal(dueAt(health, 2000 + LONGEST_MS), 2000 + LONGEST_MS + SHORTEST_MS, 'after a calm time as at first')
})

t.test('requests from before an ejection neither prolong it nor end it', async t => {
  const health = new AddressHealth()
  const early = [health.begin(0), health.begin(0)] as const
  for (let i = 0; i < FAILURES; i++) health.settle(health.begin(0), 'failed', 0)
  t.equal(health.settle(early[0], 'failed', 400), null)
  t.equal(dueAt(health, 400), SHORTEST_MS)
  t.equal(health.settle(early[1], 'answered', 450), null)
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
    t.notOk(health.trialIsDue(10 * LONGEST_MS, LAST))
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
      readonly outcome: 'answered' | 'failed' | 'indifferent'
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

/** Begins requests as a balancer does that has other addresses, or none. */
function play(events: readonly Event[], isLastResort: boolean, look: (state: State) => void): void {
  const health = new AddressHealth()
  const open: { ticket: ReturnType<AddressHealth['begin']>; isTrial: boolean }[] = []
  const state: State = {
    health,
    now: 0,
    trials: 0,
    lastEvent: 0,
    lastTrial: Number.NEGATIVE_INFINITY,
    healthy: true,
    isDown: false,
  }
  let checks = { good: 0, bad: 0 }
  for (const event of events) {
    state.now += event.ms
    const { now } = state
    if (event.kind === 'begin') {
      const isTrial = !health.isHealthy
      if (isTrial && !health.trialIsDue(now, { isLastResort, isRepeatable: true })) continue
      open.push({ ticket: health.begin(now), isTrial })
      if (isTrial) state.lastTrial = now
    } else if (event.kind === 'end') {
      const [ended] = open.splice(event.which % Math.max(open.length, 1), 1)
      if (ended === undefined) continue
      const change = health.settle(ended.ticket, event.outcome, now)
      if (change !== null) state.healthy = change === 'returned'
      if (event.outcome === 'failed') state.lastEvent = now
    } else {
      checks = event.isGood ? { good: checks.good + 1, bad: 0 } : { good: 0, bad: checks.bad + 1 }
      if (checks.bad >= 3) state.isDown = true
      if (checks.good >= 2) state.isDown = false
      const change = health.checked(event.isGood, CHECKS, now)
      if (change !== null) state.healthy = change === 'returned'
    }
    state.trials = open.filter(({ isTrial }) => isTrial).length
    look(state)
  }
}

interface State {
  readonly health: AddressHealth
  now: number
  trials: number
  lastEvent: number
  lastTrial: number
  /** By the changes that were told. */
  healthy: boolean
  isDown: boolean
}

t.test('whatever happens, every change is told, and none that is not one', async () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), fc.boolean(), (events, isLastResort) =>
      play(events, isLastResort, ({ health, healthy }) => {
        if (health.isHealthy !== healthy) throw new Error('told otherwise')
      }),
    ),
  )
})

t.test(
  'whatever happened, an only address is tried half a second after the last failure or trial at the latest',
  async () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 200 }), events =>
        play(events, true, ({ health, now, lastTrial, isDown, lastEvent }) => {
          const at = Math.max(now, lastTrial, lastEvent) + SHORTEST_MS
          const mayServe = health.isHealthy || health.trialIsDue(at, LAST)
          if (mayServe === isDown)
            throw new Error(isDown ? 'tried while its checks fail' : 'never tried again')
        }),
      ),
    )
  },
)

t.test('whatever happened, an address is tried again within a minute where others serve', async () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), events =>
      play(events, false, ({ health, now, trials, isDown }) => {
        const due = health.trialIsDue(now + 2 * LONGEST_MS, { isLastResort: false, isRepeatable: false })
        if (!health.isHealthy && !isDown && trials === 0 && !due) throw new Error('never tried again')
      }),
    ),
  )
})
