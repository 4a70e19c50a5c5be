import t from 'tap'
import { AddressHealth } from '../../src/upstream/address-health.js'
import { Balancer } from '../../src/upstream/balancer.js'

interface Address {
  readonly name: string
  readonly health: AddressHealth
  inFlight: number
}

const NONE: ReadonlySet<Address> = new Set()
const FRESH = { tried: NONE, isRepeatable: true, mayReturn: false }
/** An address that is out is tried first after so long. */
const SHORTEST_MS = 500
const CHECKS = { healthyAfter: 1, unhealthyAfter: 1 }

function addresses(...names: string[]): Address[] {
  return names.map(name => ({ name, health: new AddressHealth(), inFlight: 0 }))
}

function eject({ health }: Address, now = 0): void {
  for (let i = 0; i < 5; i++) health.settle(health.begin(now), 'failed', { now, isLast: false })
}

t.test('addresses with as much to do are taken in turn, each as often', async t => {
  const all = addresses('a', 'b', 'c')
  const balancer = new Balancer(all)
  const turn = () => Array.from({ length: 6 }, () => balancer.choose(0, FRESH)?.name).join('')
  t.equal(turn(), 'abcabc')
  eject(all[1] as Address)
  const counts = new Map<string, number>()
  for (let i = 0; i < 10; i++) {
    const name = balancer.choose(0, FRESH)?.name ?? ''
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  t.strictSame([...counts].sort(), [
    ['a', 5],
    ['c', 5],
  ])
})

t.test('the one with the least to do is taken', async t => {
  const all = addresses('a', 'b', 'c')
  const balancer = new Balancer(all)
  for (const [index, inFlight] of [3, 1, 2].entries()) (all[index] as Address).inFlight = inFlight
  for (let i = 0; i < 3; i++) t.equal(balancer.choose(0, FRESH)?.name, 'b')
})

t.test('where a request has been in vain it does not go again', async t => {
  const all = addresses('a', 'b')
  const balancer = new Balancer(all)
  for (let i = 0; i < 4; i++)
    t.equal(balancer.choose(0, { ...FRESH, tried: new Set([all[0] as Address]) })?.name, 'b')
  t.equal(balancer.choose(0, { ...FRESH, tried: new Set(all) }), null)
})

t.test(
  'one request tries an address that is out, once its time has come; the others go elsewhere',
  async t => {
    const all = addresses('a', 'b')
    const [a] = all as [Address, Address]
    const balancer = new Balancer(all)
    eject(a)
    t.equal(balancer.choose(SHORTEST_MS - 1, FRESH)?.name, 'b')
    t.equal(balancer.choose(SHORTEST_MS, { ...FRESH, isRepeatable: false })?.name, 'b')
    t.equal(balancer.choose(SHORTEST_MS, FRESH), a)
    a.health.begin(SHORTEST_MS)
    t.equal(balancer.choose(2 * SHORTEST_MS - 1, FRESH)?.name, 'b')
  },
)

t.test('an address that is ejected is still better than none', async t => {
  const all = addresses('a', 'b')
  const [a, b] = all as [Address, Address]
  const balancer = new Balancer(all)
  eject(a)
  t.equal(balancer.choose(0, { ...FRESH, tried: new Set([b]) }), a, 'where the other refused')
  b.health.checked(false, CHECKS, 0)
  for (let i = 0; i < 10; i++) t.equal(balancer.choose(0, FRESH), a, 'where the other fails its checks')
})

t.test('who may return where it has been does so before it goes to one that is ejected', async t => {
  const all = addresses('a', 'b')
  const [a, b] = all as [Address, Address]
  const balancer = new Balancer(all)
  const again = { ...FRESH, tried: new Set([b]), mayReturn: true }
  t.equal(balancer.choose(0, again), a)
  eject(a)
  t.equal(balancer.choose(0, again), b)
})

t.test('when all fail their checks nobody is asked', async t => {
  const all = addresses('a', 'b')
  const balancer = new Balancer(all)
  eject(all[0] as Address)
  for (const { health } of all) health.checked(false, CHECKS, 0)
  t.equal(balancer.choose(10 * SHORTEST_MS, { ...FRESH, mayReturn: true }), null)
})

t.test('an address is the last when no other is healthy, for whatever reason', async t => {
  const all = addresses('a', 'b', 'c')
  const [a, b, c] = all as [Address, Address, Address]
  const balancer = new Balancer(all)
  eject(b)
  t.notOk(balancer.isLast(a))
  c.health.checked(false, CHECKS, 0)
  t.ok(balancer.isLast(a))
  t.notOk(balancer.isLast(b))
})
