import fc from 'fast-check'
import t from 'tap'
import type { ProofFacts } from '../../src/checks/proof-facts.js'
import { Denial } from '../../src/decision/denials.js'
import type { DpopRule } from '../../src/policy/policy.js'
import { createDpop } from '../../src/sources/dpop.js'
import { createMemoryReplayStore, type ReplayStore } from '../../src/sources/replay-store.js'

function storeAt(start: number, maxKeys = 1000) {
  const clock = { now: start }
  const store = createMemoryReplayStore(() => clock.now, maxKeys)
  const take = (key: string, seconds = 75) => {
    const answer = store.takeOnce(key, seconds)
    return answer instanceof Denial ? answer.code : answer
  }
  return { clock, take }
}

t.test('a key is taken once within its time', async t => {
  const { clock, take } = storeAt(1000)
  t.equal(take('a'), true)
  t.equal(take('a'), false)
  t.equal(take('b'), true)
  clock.now = 1075
  t.equal(take('a'), false, 'the last moment counts')
  clock.now = 1075.001
  t.equal(take('a'), true)
  t.equal(take('a'), false)
})

t.test('a key is the same whatever the time it is taken for', async t => {
  const { take } = storeAt(1000)
  t.equal(take('a', 75), true)
  t.equal(take('a', 360), false)
})

t.test('a full store forgets nothing before its time: it is unavailable', async t => {
  const { clock, take } = storeAt(1000, 3)
  for (const key of ['a', 'b', 'c']) t.equal(take(key), true)
  t.equal(take('d'), 'store_unavailable')
  t.equal(take('a'), false, 'what is known is still known')
  clock.now = 1076
  t.equal(take('d'), true)
  t.equal(take('a'), true)
})

t.test('long lives do not keep short ones from ending', async t => {
  const { clock, take } = storeAt(1000, 2)
  t.equal(take('long', 360), true)
  t.equal(take('short', 10), true)
  t.equal(take('x', 10), 'store_unavailable')
  clock.now = 1011
  t.equal(take('x', 10), true)
  t.equal(take('long', 360), false)
})

t.test('a clock that is set back forgets nothing', async t => {
  const { clock, take } = storeAt(1000)
  t.equal(take('a'), true)
  clock.now = 900
  t.equal(take('a'), false)
  t.equal(take('b'), true)
  clock.now = 1000
  t.equal(take('b'), true, 'its time is over')
  t.equal(take('a'), false)
})

t.test('the store does what a plain list would do', async () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    seconds: fc.constantFrom(5, 20),
    after: fc.integer({ min: 0, max: 8 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const { clock, take } = storeAt(0, 4)
      let list: { key: string; until: number }[] = []
      return steps.every(({ key, seconds, after }) => {
        clock.now += after
        list = list.filter(({ until }) => until >= clock.now)
        const expected = list.some(one => one.key === key)
          ? false
          : list.length >= 4
            ? 'store_unavailable'
            : true
        if (expected === true) list.push({ key, until: clock.now + seconds })
        return take(key, seconds) === expected
      })
    }),
    { numRuns: 1000 },
  )
})

const RULE: DpopRule = {
  origins: [],
  algorithms: ['ES256'],
  maxAgeSeconds: 60,
  futureSkewSeconds: 15,
  nonce: 'none',
  satisfiesBinding: true,
}
const proofOf = (claims: Record<string, unknown>, jkt = 'key'): ProofFacts => ({
  jkt,
  alg: 'ES256',
  claims: { jti: 'id', htu: 'https://h/a', ...claims },
  tokenHash: '',
  nonceIssuedAt: null,
})

t.test('a proof is spent by key, jti and target, in a name that tells none of them', async t => {
  const asked: [string, number][] = []
  const store: ReplayStore = {
    takeOnce: (key, seconds) => {
      const isFirst = asked.every(([other]) => other !== key)
      asked.push([key, seconds])
      return Promise.resolve(isFirst) // as a shared store answers
    },
  }
  const dpop = createDpop(store, Buffer.alloc(32))
  t.equal(await dpop.spend(proofOf({}), RULE), null)
  t.match(await dpop.spend(proofOf({}), RULE), { code: 'proof_replayed' })
  t.match(await dpop.spend(proofOf({ htu: 'HTTPS://H:443/a?q' }), RULE), { code: 'proof_replayed' })
  t.equal(await dpop.spend(proofOf({ jti: 'other' }), RULE), null)
  t.equal(await dpop.spend(proofOf({ htu: 'https://h/b' }), RULE), null)
  t.equal(await dpop.spend(proofOf({}, 'other'), RULE), null)
  for (const [key, seconds] of asked) {
    t.match(key, /^[A-Za-z0-9_-]{43}$/)
    t.equal(seconds, 80)
  }
})

t.test('a store that cannot know is a reason to refuse', async t => {
  const store: ReplayStore = { takeOnce: () => new Denial('store_unavailable', 'down') }
  t.match(await createDpop(store, Buffer.alloc(32)).spend(proofOf({}), RULE), { code: 'store_unavailable' })
})

t.test('the next nonce is named when that of the proof fades, on routes with nonces', async t => {
  const dpop = createDpop({ takeOnce: () => true }, Buffer.alloc(32))
  const rule: DpopRule = { ...RULE, nonce: 'required' }
  const at = (nonceIssuedAt: number | null) => ({ ...proofOf({}), nonceIssuedAt })
  t.equal(dpop.nextNonce(at(1200), rule, 1259), null)
  t.equal(dpop.nextNonce(at(1200), rule, 1260), dpop.nonce(rule, 1260))
  t.equal(dpop.nextNonce(at(1200), RULE, 1260), null)
  t.equal(dpop.nextNonce(at(null), rule, 1260), null)
})
