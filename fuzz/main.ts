/**
 * `npm run fuzz [-- TARGET ... --minutes N --seed S --inputs N]`: gives hostile input to the readers until the time is over, one
 * target after the other. What is found goes to the corpus in test/vectors/fuzz/, where every test run tries it again.
 */
import { parseArgs } from 'node:util'
import { addToCorpus, corpusFile, inputsOf, readCorpus } from './corpus.js'
import { type Find, run } from './run.js'
import type { Target } from './target.js'
import { TARGETS } from './targets.js'

const say = (text: string) => process.stdout.write(`${text}\n`)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    inputs: { type: 'string', default: 'Infinity' },
  },
})
const seed = Number(values.seed ?? Date.now() % 2 ** 32)
const ms = Number(values.minutes) * 60_000
const mostInputs = Number(values.inputs)
const targets = positionals.length === 0 ? TARGETS : TARGETS.filter(({ name }) => positionals.includes(name))
const unknown = positionals.filter(name => !TARGETS.some(target => target.name === name))
if (unknown.length > 0 || !(ms > 0) || !(mostInputs > 0) || !Number.isInteger(seed)) {
  say(
    `usage: npm run fuzz [-- TARGET ... --minutes N --seed S --inputs N]; targets: ${TARGETS.map(({ name }) => name).join(', ')}`,
  )
  process.exitCode = 2
} else {
  let found = 0
  for (const target of targets) found += await fuzz(target)
  process.exitCode = found === 0 ? 0 : 1
}

/** Runs one target; returns the number of finds. */
async function fuzz(target: Target): Promise<number> {
  const start = Date.now()
  let lastTold = start
  const tellFind = ({ what, input }: Find) =>
    say(`\n${target.name}: ${what}\n  ${JSON.stringify(input.slice(0, 400))}`)
  const result = await run({
    target,
    seed,
    corpus: inputsOf(readCorpus(target.name)),
    onFind: tellFind,
    goesOn(inputs) {
      const now = Date.now()
      if (process.stdout.isTTY && now - lastTold > 1000) {
        lastTold = now
        process.stdout.write(`\r${target.name}: ${inputs} inputs, ${Math.round((now - start) / 1000)} s `)
      }
      return now - start < ms && inputs < mostInputs
    },
  })
  await target.close?.()
  const { inputs, kept, outcomes, finds } = result
  if (process.stdout.isTTY) process.stdout.write('\r')
  say(
    `${target.name}: seed ${seed}, ${inputs} inputs, ${outcomes.size} outcomes, ${kept.length} new, ${finds.length} finds`,
  )
  const names = addToCorpus(
    target.name,
    finds.map(({ input }) => input),
    kept,
  )
  if (names.length > 0)
    say(`  added as ${names.join(', ')} to ${corpusFile(target.name)}:
  give each a name that says what is wrong, mend the reader, and keep the input: npm test -- fuzz tries it from now on`)
  return finds.length
}
