import t from 'tap'
import { inputsOf, readCorpus } from '../../fuzz/corpus.js'
import { run, tryInput } from '../../fuzz/run.js'
import type { Target } from '../../fuzz/target.js'
import { TARGETS } from '../../fuzz/targets.js'

/** Random inputs of a test run; a long run is `npm run fuzz`. */
const INPUTS: Readonly<Record<string, number>> = { request: 1000, token: 600, path: 10_000, policy: 50 }

/** Lengths whose times are compared: the second is four times the first. */
const LENGTHS: Readonly<Record<string, number>> = {
  request: 8 * 1024,
  token: 4 * 1024,
  path: 1024,
  policy: 2 * 1024,
}

/** Times four for linear time; what is quadratic takes times sixteen. */
const MOST_GROWTH = 9
/** Below it a time says nothing. */
const LEAST_MS = 4

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 32)

t.teardown(() => Promise.all(TARGETS.map(target => target.close?.())))

for (const target of TARGETS) {
  const { name } = target
  const corpus = readCorpus(name)

  t.test(`whatever once broke the ${name} reader, or got far in it, is read as it should be`, async t => {
    for (const [what, input] of Object.entries(corpus.failures)) {
      t.notMatch(what, /TODO/, 'a find has a name that says what was wrong')
      t.equal((await tryInput(target, input)).find, null, what)
    }
    for (const input of corpus.reached)
      t.equal((await tryInput(target, input)).find, null, JSON.stringify(input.slice(0, 200)))
  })

  t.test(`random bytes and near misses get one reading from the ${name} reader, or a refusal`, async t => {
    const inputs = INPUTS[name] ?? 500
    t.comment(`again with: npm run fuzz -- ${name} --seed ${seed} --inputs ${inputs}`)
    const { finds, outcomes } = await run({
      target,
      seed,
      corpus: inputsOf(corpus),
      goesOn: tried => tried < inputs,
    })
    t.same(finds, [])
    t.ok(outcomes.size > 2, 'the inputs differ in what becomes of them')
  })

  t.test(`the time of the ${name} reader grows no faster than its input, in its worst cases`, async t => {
    const length = LENGTHS[name] ?? 4 * 1024
    for (const [shape, make] of Object.entries(target.worst))
      t.ok(await growsLinearly(target, make(length), make(4 * length)), shape)
  })
}

/** Asks up to five times: the machine has other work, which makes times longer and never shorter. */
async function growsLinearly(target: Target, short: string, long: string): Promise<boolean> {
  let leastShort = Number.POSITIVE_INFINITY
  let leastLong = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    leastShort = Math.min(leastShort, await msOf(target, short))
    leastLong = Math.min(leastLong, await msOf(target, long))
    if (leastLong <= LEAST_MS || leastLong <= MOST_GROWTH * leastShort) return true
  }
  return false
}

async function msOf(target: Target, input: string): Promise<number> {
  const start = process.cpuUsage()
  await target.judge(input)
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1000
}
