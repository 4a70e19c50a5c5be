import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { onceAllIsJudged, onceAllIsRead } from '../../src/upstream/turn.js'
import { ROOT } from '../support/root.js'

const TURN = pathToFileURL(join(ROOT, 'build', 'src', 'upstream', 'turn.js')).href

const turn = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)))

t.test('what a turn brings is judged in order, and written when all of it is judged', async t => {
  const seen: string[] = []
  const request = (name: string) => async () => {
    seen.push(`judge ${name}`)
    await null // such as a token that is known
    seen.push(`decided ${name}`)
    onceAllIsJudged(() => seen.push(`write ${name}`))
  }
  for (const name of ['a', 'b', 'c']) onceAllIsRead(request(name))
  t.same(seen, [], 'nothing before all is read')
  await turn()
  t.same(seen, [
    ...['judge a', 'judge b', 'judge c'],
    ...['decided a', 'decided b', 'decided c'],
    ...['write a', 'write b', 'write c'],
  ])
})

t.test('what comes meanwhile is for the next turn, and nothing is run twice', async t => {
  const seen: string[] = []
  onceAllIsRead(() => {
    seen.push('first')
    onceAllIsRead(() => seen.push('second'))
    onceAllIsJudged(() => seen.push('written'))
  })
  await turn()
  await turn()
  t.same(seen, ['first', 'written', 'second'])
})

t.test('a single request does not wait for others', async t => {
  const order: string[] = []
  await new Promise<void>(resolve => {
    setImmediate(() => {
      onceAllIsRead(() => onceAllIsJudged(() => order.push('written')))
      setImmediate(() => {
        order.push('the end of the turn')
        resolve()
      })
    })
  })
  t.same(order, ['written', 'the end of the turn'])
})

t.test('a fault in one of them is told, and the others go on', async t => {
  const script = `
    import { onceAllIsJudged, onceAllIsRead } from ${JSON.stringify(TURN)}
    process.on('uncaughtException', ({ message }) => console.log('fault: ' + message))
    for (const step of [onceAllIsRead, onceAllIsJudged]) {
      step(() => console.log('before'))
      step(() => { throw new Error('broken') })
      step(() => console.log('after'))
    }`
  const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script])
  t.equal(status, 0)
  t.same(String(stdout).trim().split('\n').sort(), [
    ...['after', 'after', 'before', 'before'],
    ...['fault: broken', 'fault: broken'],
  ])
})
