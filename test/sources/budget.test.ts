import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { createMemoryBudget, openMemoryBudget } from '../../src/sources/budget.js'

t.test('a budget is counted by name, and says how long until it is whole again', async t => {
  const budget = openMemoryBudget('a', { count: 2, perSeconds: 60 })
  t.equal(await budget.wait('x'), null, 'unknown')
  t.equal(await budget.spend('x'), null)
  t.equal(await budget.wait('x'), null)
  t.equal(await budget.spend('x'), null)
  t.ok(Number(await budget.wait('x')) > 58, 'nothing is left')
  const wait = Number(await budget.spend('x'))
  t.ok(Number.isInteger(wait) && wait > 58 && wait <= 60, String(wait))
  t.equal(await budget.spend('y'), null, 'another name')
  budget.close()
  t.equal(await budget.wait('x'), null, 'closed: forgotten')
})

t.test('two budgets do not count together', async t => {
  const size = { count: 1, perSeconds: 60 }
  const [one, other] = [openMemoryBudget('one', size), openMemoryBudget('other', size)]
  t.equal(await one.spend('x'), null)
  t.equal(await other.spend('x'), null)
  t.type(await one.spend('x'), 'number')
  one.close()
  other.close()
})

t.test('a window ends at its time', async t => {
  const budget = openMemoryBudget('a', { count: 1, perSeconds: 0.2 })
  await budget.spend('x')
  t.equal(await budget.spend('x'), 1, 'whole seconds, and never 0')
  await delay(250)
  t.equal(await budget.wait('x'), null)
  t.equal(await budget.spend('x'), null)
  budget.close()
})

t.test('its memory is bounded: the name that was used least recently gives way', async t => {
  const budget = createMemoryBudget('a', { count: 1, perSeconds: 60 }, 3)
  for (const name of ['a', 'b', 'c', 'a', 'd']) await budget.spend(name)
  t.type(await budget.wait('a'), 'number', 'in use')
  t.equal(await budget.wait('b'), null, 'gave way')
  for (let i = 0; i < 1000; i++) await budget.spend(`made up ${i}`)
  t.equal(await budget.wait('a'), null)
  budget.close()
})
