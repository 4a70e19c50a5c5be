import t from 'tap'
import type { Grant } from '../../src/checks/authorise.js'
import { Denial } from '../../src/decision/denials.js'
import type { UpstreamPolicy } from '../../src/policy/upstream.js'
import { AddressHealth } from '../../src/upstream/address-health.js'
import { BalancedUpstream, type UpstreamAddress } from '../../src/upstream/balanced-upstream.js'
import { type Exchange, type Failed, OUTDATED } from '../../src/upstream/forwarding.js'

// A new policy knows nothing of the attempts that were made under the one before.

const failed = (sent: boolean): Failed => ({
  denial: new Denial('upstream_unavailable', 'reset'),
  sent,
  blame: true,
})
const policy = {
  name: 'api',
  urls: ['a', 'b', 'c'],
  retry: { attempts: 3, budgetPercent: 100 },
  responseTimeoutMs: 1000,
} as unknown as UpstreamPolicy
const grant = {
  request: { method: 'GET', headers: [] },
  match: { route: { responseTimeoutMs: null } },
} as unknown as Grant

/** What comes of a GET whose attempts end so; the policy changes before the last of them does. */
async function outcomeOf(...ends: readonly (Failed | typeof OUTDATED)[]) {
  let made = 0
  const attempt = async () => ends[made++] ?? OUTDATED
  const addresses = policy.urls.map(url => ({
    ...{ url, health: new AddressHealth(), inFlight: 0, isReplaced: false },
    engine: { attempt, permitTunnels: () => {}, close: () => {} },
  })) satisfies readonly UpstreamAddress[]
  const upstream = new BalancedUpstream(policy, addresses, { retried: () => {}, healthChanged: () => {} })
  const exchange = {
    ...{ request: { readableDidRead: false }, upgrade: null },
    isOutdated: () => made === ends.length,
  } as unknown as Exchange
  const outcome = await upstream.forward(grant, exchange, { bodyBytes: 0, clientStallMs: 1 })
  return { made, outcome: outcome instanceof Denial ? outcome.code : outcome }
}

t.test('what has not left is judged again, and what may have arrived is not sent again', async t => {
  const rows: readonly (readonly [
    words: string,
    ends: readonly (Failed | typeof OUTDATED)[],
    expected: unknown,
  ])[] = [
    ['it waited', [OUTDATED], OUTDATED],
    ['the first address was not there', [failed(false)], OUTDATED],
    ['the second was waited for', [failed(false), OUTDATED], OUTDATED],
    ['it may have arrived', [failed(true)], 'upstream_unavailable'],
    ['at the first it may have arrived', [failed(true), OUTDATED], 'upstream_unavailable'],
    ['and the second was not there', [failed(true), failed(false)], 'upstream_unavailable'],
  ]
  for (const [words, ends, expected] of rows)
    t.same(await outcomeOf(...ends), { made: ends.length, outcome: expected }, words)
})
