import t from 'tap'
import type { Problem } from '../../src/config/problem.js'
import type { Configuration } from '../../src/config/settings.js'
import { createReload } from '../../src/server/reload.js'

/** A reload whose loads end when the test says so. */
function setUp() {
  const loads: ((result: Configuration | readonly Problem[]) => void)[] = []
  const used: string[] = []
  const counted: string[] = []
  const told: string[] = []
  const tried: boolean[] = []
  let most = 0
  let running = 0
  const reload = createReload({
    load: async () => {
      most = Math.max(most, ++running)
      const result = await new Promise<Configuration | readonly Problem[]>(resolve => loads.push(resolve))
      running--
      return result
    },
    use: ({ hash }) => void used.push(hash),
    hashInUse: () => used.at(-1) ?? '',
    log: { info: () => {}, error: (fields: { problem: string }) => told.push(fields.problem) } as never,
    metrics: { reloaded: result => counted.push(result) },
    watch: { tried: isInUse => tried.push(isInUse) },
  })
  const turn = () => new Promise(resolve => setImmediate(resolve))
  return { loads, used, counted, told, tried, most: () => most, reload, turn }
}

const policy = (hash: string) => ({ settings: {}, hash }) as unknown as Configuration
const problem = (message: string): Problem => ({ file: 'p.yaml', line: 1, column: 1, message, hint: 'do' })

t.test('reloads never overlap, whoever asks at whichever moment', async t => {
  const { loads, used, most, reload, turn } = setUp()
  const first = reload('admin')
  // At this moment the first is over, and the one that waits for it has not begun.
  const third = first.then(() => reload('admin'))
  await turn()
  const second = reload('SIGHUP')
  t.equal(reload('file'), second, 'those that wait together are one')
  loads[0]?.(policy('a'))
  await turn()
  for (const load of loads.slice(1)) load(policy('b'))
  await second
  await third
  t.equal(most(), 1)
  t.same(used, ['a', 'b'])
})

t.test('a retry that meets the same refusal is silent; another refusal is told', async t => {
  const { loads, counted, told, reload, turn } = setUp()
  const refuse = async (cause: 'file' | 'retry' | 'admin', message: string) => {
    const problems = reload(cause)
    await turn()
    loads.shift()?.([problem(message)])
    return (await problems).length
  }
  t.equal(await refuse('file', 'gone'), 1)
  t.equal(await refuse('retry', 'gone'), 1)
  t.same([counted.length, told.length], [1, 1])
  t.equal(await refuse('admin', 'gone'), 1, 'who asks is answered')
  t.same([counted.length, told.length], [2, 2])
  await refuse('retry', 'wrong')
  t.same([counted.length, told.length], [3, 3])
})

t.test('a fault of one reload does not end those after it', async t => {
  const { loads, used, tried, reload, turn } = setUp()
  const first = reload('file')
  await turn()
  loads.shift()?.(null as never)
  t.equal((await first).length, 1)
  const second = reload('file')
  await turn()
  loads.shift()?.(policy('b'))
  t.same(await second, [])
  t.same(used, ['b'])
  t.same(tried, [false, true], 'who watches the files hears of both')
})
