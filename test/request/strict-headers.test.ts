import { isIP } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { isIpLiteral } from '../../src/request/ip-literal.js'
import { strictHeaderProblem } from '../../src/request/strict-headers.js'

const ID = ['x-fapi-interaction-id', 'C770AEF3-6784-41F7-8E0E-FF5F97BDDB3A']

t.test('an interaction id that is one UUID is all that a strict route needs', async t => {
  t.equal(strictHeaderProblem(ID), null)
  t.equal(strictHeaderProblem([...ID, 'FDX-API-Actor-Type', 'USER']), null)
  t.equal(strictHeaderProblem([...ID, 'fdx-api-actor-type', 'BATCH']), null)
  for (const address of ['198.51.100.119', '2001:DB8::1893:25c8:1946'])
    t.equal(strictHeaderProblem([...ID, 'X-FAPI-Customer-IP-Address', address]), null, address)
})

t.test('what is missing or malformed is named, and its value is not repeated', async t => {
  const bad: readonly (readonly [headers: readonly string[], words: RegExp])[] = [
    [[], /interaction-id/],
    [['x-fapi-interaction-id', 'not-a-uuid'], /interaction-id/],
    [[...ID, ...ID], /interaction-id/],
    [[...ID, 'FDX-API-Actor-Type', 'user'], /USER nor BATCH/],
    [[...ID, 'FDX-API-Actor-Type', ''], /USER nor BATCH/],
    [[...ID, 'x-fapi-customer-ip-address', 'localhost'], /no IPv4 or IPv6/],
    [[...ID, 'x-fapi-customer-ip-address', '198.51.100.119, 10.0.0.1'], /no IPv4 or IPv6/],
    [[...ID, 'x-fapi-customer-ip-address', ''], /no IPv4 or IPv6/],
  ]
  for (const [headers, words] of bad) {
    const problem = strictHeaderProblem(headers)
    t.match(problem, words, headers.join(' '))
    t.notMatch(problem, /localhost|10\.0\.0\.1|not-a-uuid/)
  }
})

t.test('an address literal is one when node:net says so, zones apart', async t => {
  const piece = fc.constantFrom(
    '0',
    '1',
    'ff',
    'FFFF',
    '12345',
    '256',
    '255',
    '10',
    'g',
    '',
    '192.0.2.1',
    '1.2.3',
  )
  const joined = fc
    .array(fc.tuple(piece, fc.constantFrom(':', '::', '.', '')), { maxLength: 10 })
    .map(parts => parts.flat().join(''))
  fc.assert(
    fc.property(fc.oneof(joined, fc.ipV4(), fc.ipV6()), text => isIpLiteral(text) === (isIP(text) !== 0)),
    { numRuns: 20_000 },
  )
  for (const text of ['fe80::1%eth0', '01.2.3.4', '1.2.3', '::1::', ':1', '1:', '::ffff:1.2.3.4:5'])
    t.notOk(isIpLiteral(text), text)
  for (const text of ['::', '::1', '1::', '::ffff:1.2.3.4', '1:2:3:4:5:6:7::', '1:2:3:4:5:6:1.2.3.4'])
    t.ok(isIpLiteral(text), text)
})
