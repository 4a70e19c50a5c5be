import fc from 'fast-check'
import t from 'tap'
import {
  type ClaimTest,
  type Operand,
  type Plain,
  ruleHolds,
  ruleInWords,
} from '../../src/policy/claim-rules.js'

const constant = (value: Plain): Operand => ({ from: 'policy', value })

function holds(
  test: ClaimTest,
  claims: Record<string, unknown>,
  claim = 'c',
  facts: readonly Plain[] = [],
): boolean {
  return ruleHolds({ claim, test, appliesTo: null, otherwise: 403 }, claims, operand =>
    operand.from === 'policy' ? [operand.value] : facts,
  )
}

t.test('each test by itself', async t => {
  const path: Operand = { from: 'path', parameter: 'id' }
  const cases: [boolean, ClaimTest, unknown, Plain[]?][] = [
    [true, { equals: constant('a') }, 'a'],
    [false, { equals: constant('a') }, 'A'],
    [false, { equals: constant('a') }, ['a']],
    [false, { equals: constant('5') }, 5],
    [true, { equals: constant(5) }, 5],
    [true, { equals: constant(true) }, true],
    [false, { equals: constant('true') }, true],
    [false, { equals: constant('') }, undefined],
    [true, { equals: path }, 'a', ['a']],
    [true, { equals: path }, 'a', ['b', 'a']],
    [false, { equals: path }, 'a', []],
    [false, { equals: path }, undefined, []],
    [true, { in: [constant('a'), constant('b')] }, 'b'],
    [false, { in: [constant('a'), constant('b')] }, 'c'],
    [true, { includes: constant('a') }, ['b', 'a']],
    [false, { includes: constant('a') }, 'a'],
    [false, { includes: constant('a') }, 'abc'],
    [false, { includes: constant('a') }, { 0: 'a', length: 1 }],
    [true, { exists: true }, ''],
    [true, { exists: true }, 0],
    [false, { exists: true }, null],
    [true, { exists: false }, null],
    [true, { exists: false }, undefined],
  ]
  for (const [expected, test, value, facts] of cases)
    t.equal(
      holds(test, { c: value }, 'c', facts),
      expected,
      `${JSON.stringify(test)} of ${JSON.stringify(value)}`,
    )
})

t.test('nested claims are reached, own members only', async t => {
  const claims = { a: { b: { c: 'x' } }, 'd.e': 'y' }
  t.ok(holds({ equals: constant('x') }, claims, 'a.b.c'))
  t.ok(holds({ equals: constant('y') }, claims, 'd.e'))
  t.notOk(holds({ exists: true }, claims, 'a.constructor'))
  t.notOk(holds({ exists: true }, claims, 'a.b.c.length'))
})

/** RFC 9396 section 2.1, in the shape that FDX gives it. */
const DETAIL = {
  type: 'fdx_v1.0',
  consentRequest: {
    durationType: 'ONE_TIME',
    resources: [
      { resourceType: 'ACCOUNT', resourceId: 'a-1', dataClusters: ['ACCOUNT_BASIC', 'TRANSACTIONS'] },
      { resourceType: 'CUSTOMER', resourceId: 'c-1', dataClusters: ['CUSTOMER_CONTACT'] },
    ],
  },
}
const OF_TYPE: ClaimTest = { some: [{ member: 'type', test: { equals: constant('fdx_v1.0') } }] }
const cluster = (name: string, resourceType = 'ACCOUNT'): ClaimTest => ({
  some: [
    { member: 'type', test: { equals: constant('fdx_v1.0') } },
    {
      member: 'consentRequest.resources',
      test: {
        some: [
          { member: 'resourceType', test: { equals: constant(resourceType) } },
          { member: 'dataClusters', test: { includes: constant(name) } },
        ],
      },
    },
  ],
})

t.test(
  'authorization details: an unknown type grants nothing, and one entry must pass the whole test',
  async t => {
    const cases: [boolean, ClaimTest, unknown][] = [
      [true, OF_TYPE, [DETAIL]],
      [true, OF_TYPE, [{ type: 'other' }, DETAIL]],
      [false, OF_TYPE, undefined],
      [false, OF_TYPE, []],
      [false, OF_TYPE, DETAIL],
      [false, OF_TYPE, [{ ...DETAIL, type: 'fdx_v2.0' }]],
      [false, OF_TYPE, [{ ...DETAIL, type: ['fdx_v1.0'] }]],
      [false, OF_TYPE, ['fdx_v1.0', null, 5]],
      [true, cluster('TRANSACTIONS'), [DETAIL]],
      [false, cluster('STATEMENTS'), [DETAIL]],
      [false, cluster('CUSTOMER_CONTACT'), [DETAIL]],
      [false, cluster('TRANSACTIONS'), [{ type: 'fdx_v1.0' }, { ...DETAIL, type: 'unknown' }]],
      [false, cluster('TRANSACTIONS'), [{ type: 'fdx_v1.0', consentRequest: { resources: 'TRANSACTIONS' } }]],
    ]
    for (const [expected, test, value] of cases)
      t.equal(holds(test, { c: value }), expected, JSON.stringify(value)?.slice(0, 90))
  },
)

t.test('rules agree with a naive model', async t => {
  const plain = fc.constantFrom<Plain>('a', 'b', 'A', '1', 1, 0, true, false, '')
  const value = fc.oneof(
    plain,
    fc.array(plain, { maxLength: 3 }),
    fc.constant(null),
    fc.constant(undefined),
    fc.array(fc.record({ m: plain, n: fc.oneof(plain, fc.array(plain, { maxLength: 2 })) }), {
      maxLength: 3,
    }),
  )
  const same = (a: unknown, b: unknown) => typeof a === typeof b && JSON.stringify(a) === JSON.stringify(b)
  fc.assert(
    fc.property(value, plain, plain, (c, x, y) => {
      const list: unknown[] = Array.isArray(c) ? c : []
      const models: [ClaimTest, boolean][] = [
        [{ equals: constant(x) }, same(c, x)],
        [{ in: [constant(x), constant(y)] }, same(c, x) || same(c, y)],
        [{ includes: constant(x) }, list.some(entry => same(entry, x))],
        [{ exists: true }, c !== null && c !== undefined],
        [
          {
            some: [
              { member: 'm', test: { equals: constant(x) } },
              { member: 'n', test: { includes: constant(y) } },
            ],
          },
          list.some(entry => {
            const { m, n } = Object(entry) as { m?: unknown; n?: unknown }
            return same(m, x) && Array.isArray(n) && n.some(one => same(one, y))
          }),
        ],
      ]
      for (const [test, expected] of models) t.equal(holds(test, { c }), expected)
    }),
  )
})

t.test('words name the rule and no value of the token', async t => {
  const rule = {
    claim: 'authorization_details',
    test: cluster('BILLS'),
    appliesTo: null,
    otherwise: 403,
  } as const
  t.equal(
    ruleInWords(rule),
    'authorization_details has an entry in which type equals "fdx_v1.0" and consentRequest.resources has an entry in which resourceType equals "ACCOUNT" and dataClusters includes "BILLS"',
  )
})
