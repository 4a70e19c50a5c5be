import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { watchFiles } from '../../src/server/watch-files.js'

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
