import t from 'tap'
import { AddressHealth, SHORTEST_MS } from '../../src/upstream/address-health.js'
import { Balancer } from '../../src/upstream/balancer.js'

interface Address {
  readonly name: string
  readonly health: AddressHealth
  inFlight: number
}

const NONE: ReadonlySet<Address> = new Set()
const FRESH = { tried: NONE, isRepeatable: true }

function addresses(...names: string[]): Address[] {
  return names.map(name => ({ name, health: new AddressHealth(), inFlight: 0 }))
}

function eject({ health }: Address, now = 0): void {
  for (let i = 0; i < 5; i++) health.settle(health.begin(now), 'failed', now)
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
    t.equal(balancer.choose(0, { tried: new Set([all[0] as Address]), isRepeatable: true })?.name, 'b')
  t.equal(balancer.choose(0, { tried: new Set(all), isRepeatable: true }), null)
})

t.test(
  'one request tries an address that is out, once its time has come; the others go elsewhere',
  async t => {
    const all = addresses('a', 'b')
    const [a] = all as [Address, Address]
    const balancer = new Balancer(all)
    eject(a)
    t.equal(balancer.choose(SHORTEST_MS - 1, FRESH)?.name, 'b')
    t.equal(balancer.choose(SHORTEST_MS, { tried: NONE, isRepeatable: false })?.name, 'b')
    t.equal(balancer.choose(SHORTEST_MS, FRESH), a)
    a.health.begin(SHORTEST_MS)
    t.equal(balancer.choose(10 * SHORTEST_MS, FRESH)?.name, 'b')
  },
)

t.test('when all are out nobody is asked, until half a second later each is tried', async t => {
  const all = addresses('a', 'b')
  const balancer = new Balancer(all)
  for (const address of all) eject(address)
  t.equal(balancer.choose(SHORTEST_MS - 1, FRESH), null)
  const tried = []
  for (;;) {
    const address = balancer.choose(SHORTEST_MS, { tried: NONE, isRepeatable: false })
    if (address === null) break
    address.health.begin(SHORTEST_MS)
    tried.push(address.name)
  }
  t.strictSame(tried, ['a', 'b'])
})
