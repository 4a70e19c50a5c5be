import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { Deadline } from '../../src/upstream/deadline.js'

t.test('what is late is told, and not before its time', async t => {
  const started = performance.now()
  const late = await new Promise<number>(resolve => {
    new Deadline(() => resolve(performance.now() - started)).allow(50)
  })
  t.ok(late >= 49, `${late} ms`)
})

t.test('the last time that was given counts, longer or shorter', async t => {
  let told = 0
  const deadline = new Deadline(() => told++)
  deadline.allow(20)
  deadline.allow(150)
  await delay(60)
  t.equal(told, 0)
  deadline.allow(10)
  await delay(60)
  t.equal(told, 1)
  await delay(150)
  t.equal(told, 1)
})

t.test('what is cleared is never late, until more is allowed', async t => {
  let told = 0
  const deadline = new Deadline(() => told++)
  deadline.allow(10)
  deadline.clear()
  await delay(40)
  t.equal(told, 0)
  deadline.allow(10)
  await delay(60)
  t.equal(told, 1)
})
