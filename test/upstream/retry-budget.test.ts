import fc from 'fast-check'
import t from 'tap'
import { FLOOR, RetryBudget, WINDOW_MS } from '../../src/upstream/retry-budget.js'

/** Each: milliseconds since the one before, and whether it is a request or wants to be one more retry. */
const events = fc.array(fc.record({ ms: fc.integer({ min: 0, max: 400 }), isRetry: fc.boolean() }), {
  maxLength: 400,
})

t.test('a few retries are granted where there are hardly any requests', async t => {
  const budget = new RetryBudget(10)
  budget.requested(0)
  t.strictSame(
    Array.from({ length: FLOOR + 2 }, () => budget.take(0)),
    [...Array.from({ length: FLOOR }, () => true), false, false],
  )
  t.ok(budget.take(WINDOW_MS + 1000), 'and again when they are long past')
})

t.test('of a thousand requests that all fail at once, a tenth is sent again', async t => {
  const budget = new RetryBudget(10)
  for (let i = 0; i < 1000; i++) budget.requested(5)
  let granted = 0
  for (let i = 0; i < 1000; i++) if (budget.take(5)) granted++
  t.equal(granted, 100)
})

t.test('an outage that lasts gets no more than its part in any stretch of time', async t => {
  const budget = new RetryBudget(20)
  let [requests, retries] = [0, 0]
  for (let now = 0; now < 60_000; now += 5) {
    budget.requested(now)
    requests++
    if (budget.take(now)) retries++
  }
  t.ok(retries <= requests * 0.2 + FLOOR, `${retries} of ${requests}`)
  t.ok(retries > requests * 0.19, 'and not much less either')
})

t.test('whatever comes, the retries of the last seconds are the floor or within the percentage', async () => {
  fc.assert(
    fc.property(events, fc.integer({ min: 1, max: 50 }), (events, percent) => {
      const budget = new RetryBudget(percent)
      const requests: number[] = []
      const retries: number[] = []
      let now = 0
      for (const { ms, isRetry } of events) {
        now += ms
        if (!isRetry) {
          budget.requested(now)
          requests.push(now)
          continue
        }
        if (!budget.take(now)) continue
        retries.push(now)
        // What is counted began with a whole second: at least nine tenths of the window, never more than it.
        const within = (times: number[], length: number) => times.filter(at => at > now - length).length
        const recent = within(retries, WINDOW_MS - 1000)
        if (recent > FLOOR && recent > (within(requests, WINDOW_MS) * percent) / 100)
          throw new Error(`${recent} retries`)
      }
    }),
  )
})
