import t from 'tap'
import { BoundedMap } from '../../src/server/bounded-map.js'

t.test('what is remembered has a bound, and the oldest goes for what is new', async t => {
  const map = new BoundedMap<number>(3)
  for (let i = 0; i < 5; i++) map.add(`key ${i}`, i)
  t.strictSame(
    [0, 1, 2, 3, 4].map(i => map.get(`key ${i}`)),
    [undefined, undefined, 2, 3, 4],
  )
})
