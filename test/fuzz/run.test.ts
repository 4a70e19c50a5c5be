import t from 'tap'
import { Random } from '../../fuzz/random.js'
import { type Find, run } from '../../fuzz/run.js'
import { promise, type Target } from '../../fuzz/target.js'

/** A reader of numbers, right unless told otherwise. */
function target(judge: Target['judge'], changes: Partial<Target> = {}): Target {
  return {
    name: 'numbers',
    maxLength: 100,
    maxMs: 1000,
    words: ['42', '-'],
    generate: random => String(random.below(1000)),
    judge,
    worst: {},
    ...changes,
  }
}

const tried = (inputs: number) => ({ seed: 7, corpus: [], goesOn: (made: number) => made < inputs })

t.test('a broken promise is found, and made as short as it can be', async t => {
  const { finds } = await run({
    target: target(input => {
      promise(!input.includes('42'), 'forty-two was accepted')
      return /^\d+$/.test(input) ? 'a number' : 'no number'
    }),
    ...tried(5000),
  })
  t.same(finds, [{ input: '42', what: 'forty-two was accepted' }])
})

t.test('what goes wrong with an input of the corpus is found as well', async t => {
  const judge = (input: string) => {
    promise(input !== 'known', 'what was mended is broken again')
    return 'read'
  }
  const { finds } = await run({ ...tried(1), target: target(judge), corpus: ['known'] })
  t.same(finds, [{ input: 'known', what: 'what was mended is broken again' }])
})

t.test('a reader that throws is found once for each place, whatever it says of the input', async t => {
  const { finds } = await run({
    target: target(input => {
      if (input.includes('-')) throw new RangeError(`cannot read ${input}`)
      return 'read'
    }),
    ...tried(5000),
  })
  t.equal(finds.length, 1)
  t.match(finds[0]?.what, 'it threw RangeError')
  t.equal(finds[0]?.input, '-')
})

t.test('a reader that takes too long is found', async t => {
  const found: Find[] = []
  await run({
    target: target(
      input => {
        const end = process.cpuUsage().user + (input.length > 10 ? 20_000 : 0)
        while (process.cpuUsage().user < end);
        return 'read'
      },
      { maxMs: 10 },
    ),
    ...{ seed: 7, corpus: [], onFind: (find: Find) => found.push(find) },
    goesOn: made => made < 5000 && found.length === 0,
  })
  t.match(found[0]?.what, /^it took \d+ ms of at most 10 ms$/)
})

t.test('inputs with a new outcome are kept, and what follows is built on them', async t => {
  const depthOf = (input: string) => /^(?:4(?:2(?:4(?:2)?)?)?)?/.exec(input)?.[0].length ?? 0
  const { kept, outcomes } = await run({
    target: target(input => `depth ${depthOf(input)}`, { words: [], generate: random => random.byte() }),
    ...tried(60_000),
  })
  t.ok(outcomes.has('depth 4'), 'four bytes in a row, which chance alone finds once in four thousand million')
  t.equal(kept.length, outcomes.size)
})

t.test('the same seed makes the same run', async t => {
  const inputsOf = async (seed: number) => {
    const inputs: string[] = []
    const judge = (input: string) => {
      inputs.push(input)
      return String(input.length)
    }
    await run({ ...tried(300), seed, target: target(judge) })
    return inputs
  }
  t.same(await inputsOf(1), await inputsOf(1))
  t.notSame(await inputsOf(1), await inputsOf(2))
  const random = new Random(3)
  t.ok(
    Array.from({ length: 1000 }, () => random.below(7)).every(
      number => Number.isInteger(number) && number >= 0 && number < 7,
    ),
  )
})
