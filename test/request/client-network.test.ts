import t from 'tap'
import { clientNetwork } from '../../src/request/client-network.js'

t.test('an IPv4 address counts as one client, however it is written', async t => {
  for (const address of [
    '192.0.2.33',
    '::ffff:192.0.2.33',
    '::FFFF:192.0.2.33',
    '::ffff:c000:221',
    '0:0:0:0:0:ffff:c000:0221',
    '64:ff9b::192.0.2.33',
    '64:ff9b::c000:221',
  ])
    t.equal(clientNetwork(address), '192.0.2.33', address)
  t.not(clientNetwork('192.0.2.34'), clientNetwork('192.0.2.33'))
})

t.test('whoever has a /64 of IPv6 counts as one client', async t => {
  const one = clientNetwork('2001:db8:1:2::1')
  for (const address of [
    '2001:db8:1:2:ffff:ffff:ffff:ffff',
    '2001:0db8:0001:0002:0:0:0:0',
    '2001:DB8:1:2::',
    '2001:db8:1:2::192.0.2.33',
  ])
    t.equal(clientNetwork(address), one, address)
  const others = ['2001:db8:1:3::1', '2001:db8:1::1', '2001:db8::1:2:0:0:1', '::1', 'fe80::1', '64:ff9b:1::1']
  t.equal(new Set([one, ...others.map(clientNetwork)]).size, others.length + 1)
  t.equal(clientNetwork('fe80::1%eth0'), clientNetwork('fe80::2%eth1'))
})

t.test('a client that is gone, and left no address, counts as one too', async t => {
  t.equal(clientNetwork(''), '')
})
