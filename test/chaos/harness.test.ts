import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Client } from '../../chaos/client.js'
import type { EchoUpstream } from '../../chaos/echo-upstream.js'
import { echoOf } from '../../chaos/exchange.js'
import { always, type Kind, plan, USUAL } from '../../chaos/kinds.js'
import { Ledger } from '../../chaos/ledger.js'
import { type Result, runScenario } from '../../chaos/run-scenario.js'
import type { Scenario, Stage } from '../../chaos/scenario.js'
import { DRAIN } from '../../chaos/scenarios/drain.js'
import { RELOAD } from '../../chaos/scenarios/reload.js'
import { Timeline } from '../../chaos/timeline.js'
import { lastHalf, slope } from '../../chaos/trend.js'

// Miniatures of `npm run chaos`: two scenarios pass, and the harness sees each sort of fault that it is there to see.

const SMALL = { seconds: 4, connections: 12 }

const totals = ({ wrong, lost, leaked, verdict }: Result) => ({ wrong, lost, leaked, verdict })
const NOTHING = { wrong: 0, lost: 0, leaked: 0, verdict: 'passed' }

/** A scenario without a fault, but for the parts that a test puts in. */
function quiet(name: string, parts: Partial<Awaited<ReturnType<Scenario['prepare']>>> = {}): Scenario {
  return {
    name,
    fault: '',
    allowance: '',
    prepare: async () => ({
      policy: {},
      kinds: USUAL,
      explains: () => false,
      disturb: stage => stage.pause(60_000),
      ...parts,
    }),
  }
}

const mistaken: Kind = {
  name: 'mistaken',
  weight: 10,
  plan: () => plan({ kind: 'mistaken', path: '/nowhere', statuses: always(200) }),
}
const held: (Client | null)[] = []
const FAULTY = quiet('faulty', {
  kinds: [...USUAL, mistaken],
  disturb: async stage => {
    const { upstream } = stage.ground
    held.push(await stage.connect())
    await stage.pause(1000)
    await upstream.stop()
    // On a busy machine it takes a while until somebody asks for it.
    while (stage.ledger.lost === 0 && !stage.isOver()) await stage.pause(100)
    await upstream.start()
    await stage.pause(60_000)
  },
})

/** Answers with what belongs to the request before. */
function mixUp(upstream: EchoUpstream): void {
  let last = ''
  upstream.disturb = body => {
    const other = last
    last = body
    return other.length === body.length ? other : body
  }
}

/** Runs a script in the process again and again; 8 MiB each time would be kept or not. */
const scripted = (script: string) => ({
  disturb: async (stage: Stage) => {
    await stage.sidecar.evaluate('globalThis.kept = []')
    while (!stage.isOver()) {
      await stage.sidecar.evaluate(`${script}; null`)
      await stage.pause(500)
    }
    // On a busy machine the look at half time may have come after all others.
    await stage.sidecar.evaluate(`${script}; null`)
  },
})

// Most of their time is waiting, so they wait together.
const [changing, replaced, faulty, mixedUp, leaking, littering] = await Promise.all([
  runScenario(RELOAD, SMALL),
  runScenario(DRAIN, SMALL),
  runScenario(FAULTY, { ...SMALL, leakMs: 500 }),
  runScenario(quiet('mixed up'), { ...SMALL, leakMs: 0, sabotage: mixUp }),
  runScenario(
    quiet('leaking', scripted('globalThis.kept.push(Array.from({ length: 1e6 }, Math.random))')),
    SMALL,
  ),
  runScenario(quiet('littering', scripted('Array.from({ length: 1e6 }, Math.random)')), SMALL),
])
for (const client of held) client?.destroy()

t.test('policies may change under load without a wrong or lost answer', async t => {
  t.match(totals(changing), NOTHING, changing.notes.join('\n'))
  t.ok(changing.requests > 30, `${changing.requests} requests`)
})

t.test('an instance may be replaced under load without a wrong or lost answer', async t => {
  t.match(totals(replaced), NOTHING, replaced.notes.join('\n'))
  t.ok(replaced.requests > 30, `${replaced.requests} requests`)
})

t.test('what is wrong, lost or left over is seen', async t => {
  t.equal(faulty.verdict, 'failed')
  t.ok(faulty.wrong > 0, 'a 404 where 200 is right')
  t.ok(faulty.lost > 0, 'a 502 that no fault explains')
  t.ok(faulty.leaked > 0, 'a connection that is still there')
  t.match(faulty.notes.join('\n'), /mistaken: 404 instead of 200/)
})

t.test('an answer with the body of somebody else is wrong', async t => {
  t.ok(mixedUp.wrong > 0, 'seen by the body')
  t.equal(mixedUp.lost, 0)
})

t.test('the ledger has one rule for each thing that can come of a request', async t => {
  const asked = plan({ kind: 'asked', path: '/a', statuses: always(200) })
  const answer = { is: 'answer', status: 200, body: asked.echo, nonce: asked.nonce, closes: false } as const
  const silence = { is: 'nothing', how: 'reset', bytes: 0 } as const
  const count = (explains: boolean, use: (ledger: Ledger) => void) => {
    const ledger = new Ledger(() => explains)
    ledger.sent(asked)
    use(ledger)
    const { wrong, lost, explained } = ledger
    return [wrong, lost, explained]
  }
  const ended = (reply: Parameters<Ledger['ended']>[3], explains = false) =>
    count(explains, ledger => ledger.ended(asked, 0, 1, reply))
  t.same(ended(answer), [0, 0, 0], 'right')
  t.same(ended({ ...answer, body: 'else' }), [1, 0, 0], 'another body')
  t.same(ended({ ...answer, nonce: 'else' }), [1, 0, 0], 'the answer to another request')
  t.same(ended({ ...answer, status: 401 }, true), [1, 0, 0], 'a refusal is never explained')
  t.same(ended({ ...answer, status: 502 }), [0, 1, 0], 'an outage without a fault')
  t.same(ended({ ...answer, status: 502 }, true), [0, 0, 1], 'an outage with one')
  t.same(ended(silence), [0, 1, 0])
  t.same(ended(silence, true), [0, 0, 1])
  t.same(
    count(true, ledger => ledger.arrived('/accounts/forbidden-1', 'x')),
    [1, 0, 0],
    'a request that must be refused is seen at the upstream',
  )
  t.same(
    count(true, ledger => {
      ledger.arrived('/a', asked.nonce)
      ledger.arrived('/a', asked.nonce)
    }),
    [1, 0, 0],
    'a request is carried out twice',
  )
})

t.test('the echo tells requests apart by each of their parts', async t => {
  const parts = { path: '/a', nonce: 'n', subject: 's', credentials: 'Bearer x'.padEnd(40, 'y'), body: 'b' }
  for (const name of Object.keys(parts)) t.not(echoOf({ ...parts, [name]: 'other' }), echoOf(parts), name)
})

t.test('around a change both values count, later only the new one', async t => {
  const line = new Timeline('old')
  const before = performance.now()
  await sleep(5)
  line.set('new')
  const after = performance.now()
  t.same([...line.during(before - 10, before)], ['old'])
  t.same([...line.during(before, after)], ['old', 'new'])
  t.same([...line.during(after, after + 10)], ['new'])
})

t.test('memory that is kept is seen, whatever was collected meanwhile', async t => {
  t.same(totals(leaking), { wrong: 1, lost: 0, leaked: 0, verdict: 'failed' }, leaking.notes.join('\n'))
  t.match(leaking.notes.join('\n'), /the live heap grew from/)
})

t.test('garbage is no growth', async t => {
  t.match(totals(littering), NOTHING, littering.notes.join('\n'))
})

t.test('the slope is that of the last half', async t => {
  const values = Array.from({ length: 600 }, (_, at) => ({
    at,
    value: at < 300 ? 9 * at : 2 * at + (at % 7),
  }))
  t.ok(Math.abs(slope(lastHalf(values)) - 2) < 0.05)
  t.equal(slope([]), 0)
})
