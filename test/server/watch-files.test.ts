import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { watchFiles } from '../../src/server/watch-files.js'
import { mount } from '../support/mounted-volume.js'
import { until } from '../support/postern.js'

const POLL_MS = 40

t.test('the slow look reads no file that looks as before', async t => {
  const directory = t.testdir({ policy: 'one' })
  const file = join(directory, 'policy')
  let reads = 0
  const read = (path: string) => {
    reads++
    return readFile(path)
  }
  const watch = watchFiles({ pollMs: POLL_MS, read })
  t.teardown(() => watch.close())
  await watch.files([file])
  let changes = 0
  watch.begin(async () => {
    changes++
    return true
  })
  await delay(3 * POLL_MS)
  const before = reads
  await delay(10 * POLL_MS)
  t.equal(reads, before)
  t.equal(changes, 0)
  writeFileSync(file, 'two')
  await delay(300)
  t.equal(changes, 1)
  t.ok(reads > before)
})

t.test(
  'what was refused is tried again, also when the missing file is in a directory of its own',
  async t => {
    const directory = t.testdir({ policy: 'one' })
    const elsewhere = join(directory, 'later')
    mkdirSync(elsewhere)
    const watch = watchFiles({ pollMs: POLL_MS })
    t.teardown(() => watch.close())
    await watch.files([join(directory, 'policy')])
    const tries: boolean[] = []
    let isThere = false
    watch.begin(async again => {
      tries.push(again)
      return isThere
    })
    writeFileSync(join(directory, 'policy'), 'names a file that comes later')
    await delay(300)
    t.equal(tries[0], false, 'the change itself')
    t.ok(tries.length > 1 && tries.slice(1).every(again => again), 'and again and again')
    writeFileSync(join(elsewhere, 'key.pem'), 'here')
    isThere = true
    await delay(3 * POLL_MS)
    const { length } = tries
    await delay(5 * POLL_MS)
    t.equal(tries.length, length, 'until it is taken')
  },
)

t.test(
  'what takes long to be refused is seldom tried again, and a change is looked at all the same',
  async t => {
    const directory = t.testdir({ policy: 'one' })
    const watch = watchFiles({ pollMs: POLL_MS })
    t.teardown(() => watch.close())
    await watch.files([join(directory, 'policy')])
    const tries: boolean[] = []
    watch.begin(async again => {
      tries.push(again)
      await delay(100)
      return false
    })
    writeFileSync(join(directory, 'policy'), 'dear')
    await delay(1200)
    t.same(tries, [false], 'not within 20 times the time that it took')
    writeFileSync(join(directory, 'policy'), 'dear still')
    await delay(700)
    t.same(tries, [false, false])
  },
)

t.test('a file that is written in place is noticed also behind a volume that was just swapped', async t => {
  const directory = t.testdir()
  let seen = ''
  const file = join(directory, 'policy')
  mount(directory, { policy: 'one' }, 1)
  const watch = watchFiles({ pollMs: 60_000 })
  t.teardown(() => watch.close())
  await watch.files([file])
  watch.begin(async () => {
    seen = readFileSync(file, 'utf8')
    return true
  })
  const noticed = (text: string) =>
    until(
      () => seen === text,
      () => `${text} was not noticed`,
    )
  for (const revision of [2, 3]) {
    mount(directory, { policy: `swapped ${revision}` }, revision)
    await noticed(`swapped ${revision}`)
    writeFileSync(file, `written ${revision}`)
    await noticed(`written ${revision}`)
  }
})
