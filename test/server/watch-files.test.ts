import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { fileRead, readBounded } from '../../src/config/named-files.js'
import { watchFiles } from '../../src/server/watch-files.js'
import { mount } from '../support/mounted-volume.js'
import { until } from '../support/postern.js'

const POLL_MS = 40

/** Files as they are now, as they are read for use. */
const asRead = (...paths: readonly string[]) =>
  Promise.all(paths.map(path => fileRead(path, readFileSync(path))))

/** Reads files as on a slow disk. */
const slowly = (ms: number) => async (path: string, most: number) => {
  await delay(ms)
  return readBounded(path, most)
}

t.test('the slow look reads no file that looks as before', async t => {
  const directory = t.testdir({ policy: 'one' })
  const file = join(directory, 'policy')
  let reads = 0
  const readFile = (path: string, most: number) => {
    reads++
    return readBounded(path, most)
  }
  const watch = watchFiles({ pollMs: POLL_MS, readFile })
  t.teardown(() => watch.close())
  watch.read(await asRead(file))
  let changes = 0
  watch.begin(async () => {
    changes++
    watch.read(await asRead(file))
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
    watch.read(await asRead(join(directory, 'policy')))
    const tries: boolean[] = []
    let isThere = false
    watch.begin(async again => {
      tries.push(again)
      if (isThere) watch.read(await asRead(join(directory, 'policy'), join(elsewhere, 'key.pem')))
      watch.tried(isThere)
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
    watch.read(await asRead(join(directory, 'policy')))
    const tries: boolean[] = []
    watch.begin(async again => {
      tries.push(again)
      await delay(100)
      watch.tried(false)
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
  watch.read(await asRead(file))
  watch.begin(async () => {
    seen = readFileSync(file, 'utf8')
    watch.read(await asRead(file))
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

t.test('a change that comes while the process starts is noticed', async t => {
  const file = join(t.testdir({ policy: 'as it is read' }), 'policy')
  const watch = watchFiles()
  t.teardown(() => watch.close())
  watch.read(await asRead(file))
  writeFileSync(file, 'as it is before the port is open')
  await new Promise<void>(resolve => {
    watch.begin(async () => resolve())
  })
})

// What was read for use is in use, and not what somebody saw a moment before.
t.test('a file that changes and changes back while it is read does not stay in use', async t => {
  const directory = t.testdir({ policy: 'one', crl: 'nobody' })
  const [policy, crl] = [join(directory, 'policy'), join(directory, 'crl')]
  const watch = watchFiles({ pollMs: 60_000 })
  t.teardown(() => watch.close())
  watch.read(await asRead(policy, crl))
  const inUse: string[] = []
  watch.begin(async () => {
    const isFirst = inUse.length === 0
    if (isFirst) writeFileSync(crl, 'somebody')
    inUse.push(readFileSync(crl, 'utf8'))
    watch.read(await asRead(policy, crl))
    if (isFirst) writeFileSync(crl, 'nobody')
  })
  writeFileSync(policy, 'two')
  await until(
    () => inUse.length === 2,
    () => `${inUse.join(', ')} in use`,
  )
  await delay(500)
  t.strictSame(inUse, ['somebody', 'nobody'])
})

t.test('the same when it was somebody else who had it read', async t => {
  const directory = t.testdir({ policy: 'one' })
  const policy = join(directory, 'policy')
  const watch = watchFiles({ pollMs: 60_000 })
  t.teardown(() => watch.close())
  watch.read(await asRead(policy))
  let inUse = 'one'
  watch.begin(async () => {
    inUse = readFileSync(policy, 'utf8')
    watch.read(await asRead(policy))
  })
  await delay(300)
  writeFileSync(policy, 'two')
  const asked = await asRead(policy)
  writeFileSync(policy, 'one')
  // Long enough for the look that the two changes cause: it finds what it knows.
  await delay(500)
  inUse = 'two'
  watch.read(asked)
  await until(
    () => inUse === 'one',
    () => 'two stayed in use',
  )
})

t.test(
  'what was refused is tried again where every look is slow and something happens all the time',
  async t => {
    const directory = t.testdir({ policy: 'one' })
    const policy = join(directory, 'policy')
    const watch = watchFiles({ pollMs: 100, readFile: slowly(300) })
    watch.read(await asRead(policy))
    let tries = 0
    watch.begin(async () => {
      tries++
      watch.tried(false)
    })
    const noise = setInterval(() => writeFileSync(join(directory, 'other.log'), 'x'), 20)
    t.teardown(() => {
      clearInterval(noise)
      watch.close()
    })
    writeFileSync(policy, 'two')
    await until(
      () => tries > 2,
      () => `${tries} tries`,
    )
  },
)

t.test('what somebody else has refused is tried again, and what he has taken into use is not', async t => {
  const directory = t.testdir({ policy: 'one' })
  const policy = join(directory, 'policy')
  const watch = watchFiles({ pollMs: POLL_MS })
  t.teardown(() => watch.close())
  watch.read(await asRead(policy))
  const tries: boolean[] = []
  watch.begin(async again => void tries.push(again))
  writeFileSync(policy, 'two')
  watch.read(await asRead(policy))
  watch.tried(false)
  await until(
    () => tries.length > 1,
    () => 'not tried again',
  )
  watch.tried(true)
  const { length } = tries
  await delay(5 * POLL_MS)
  t.equal(tries.length, length)
  t.ok(tries.every(again => again))
})

t.test('the files of a policy that was read and could not be used are looked at, too', async t => {
  const directory = t.testdir({ one: { policy: 'one' }, two: { key: 'refused' } })
  const [policy, key] = [join(directory, 'one', 'policy'), join(directory, 'two', 'key')]
  const watch = watchFiles({ pollMs: 60_000 })
  t.teardown(() => watch.close())
  watch.read(await asRead(policy))
  const keys: string[] = []
  watch.begin(async () => {
    keys.push(readFileSync(key, 'utf8'))
    watch.read(await asRead(policy, key))
    watch.tried(keys.at(-1) === 'mended')
  })
  writeFileSync(policy, 'names a key')
  await until(
    () => keys.length === 1,
    () => 'not read',
  )
  // Until the look after the reading, a change needs no event.
  await delay(500)
  writeFileSync(key, 'mended')
  await until(
    () => keys.length === 2,
    () => 'the mended key was not noticed',
  )
})

t.test('one change is tried once, however slow the look at it is', async t => {
  const policy = join(t.testdir({ policy: 'one' }), 'policy')
  const watch = watchFiles({ pollMs: POLL_MS, readFile: slowly(250) })
  t.teardown(() => watch.close())
  watch.read(await asRead(policy))
  let changes = 0
  watch.begin(async () => {
    changes++
    await delay(250)
    watch.read(await asRead(policy))
    watch.tried(true)
  })
  writeFileSync(policy, 'two')
  await until(
    () => changes === 1,
    () => 'not noticed',
  )
  await delay(1_500)
  t.equal(changes, 1)
})
