import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { askedReplayStore } from '../../src/server/workers/asked-replay-store.js'
import { Channel, SILENCE } from '../../src/server/workers/channel.js'
import { hangs } from '../../src/server/workers/vigil.js'
import { wholeLines } from '../../src/server/workers/whole-lines.js'

type Left = { double: (number: number) => number; wait: () => Promise<string> }
type Right = { log: (word: string) => true }

/** Both ends of a pipe that delivers in order, a moment later; `cut` makes it lose what is sent. */
function pipe({ mostOpen = 10 } = {}) {
  let cut = false
  const heard: string[] = []
  const release: (() => void)[] = []
  const left: Channel<Left, Right> = new Channel<Left, Right>(
    message => queueMicrotask(() => cut || right.hear(structuredClone(message) as never)),
    {
      log: word => {
        heard.push(word)
        return true
      },
    },
    mostOpen,
  )
  const right: Channel<Right, Left> = new Channel<Right, Left>(
    message => queueMicrotask(() => left.hear(structuredClone(message) as never)),
    {
      double: number => {
        heard.push(`double ${number}`)
        return number * 2
      },
      wait: () => new Promise(resolve => release.push(() => resolve('late'))),
    },
    10,
  )
  return {
    left,
    right,
    heard,
    release,
    cut: (value: boolean) => {
      cut = value
    },
  }
}

t.test('both sides ask, and questions are heard in the order in which they are asked', async t => {
  const { left, right, heard } = pipe()
  const answers = [left.ask('double', 1, 1000), left.ask('double', 2, 1000)]
  t.same(await Promise.all(answers), [2, 4])
  t.same(heard, ['double 1', 'double 2'])
  t.equal(await right.ask('log', 'word', 1000), true)
  t.equal(heard.at(-1), 'word')
})

t.test('a question has its deadline, and counts until its answer comes after all', async t => {
  const { left, release } = pipe({ mostOpen: 2 })
  t.equal(await left.ask('wait', undefined, 1), SILENCE)
  t.equal(await left.ask('wait', undefined, 1), SILENCE)
  t.equal(await left.ask('double', 1, 1000), SILENCE, 'no third one while two are open')
  for (const answer of release) answer()
  await delay(1)
  t.equal(await left.ask('double', 1, 1000), 2)
})

t.test('when the other side is gone, nothing waits any more', async t => {
  const { left } = pipe()
  const asked = left.ask('wait', undefined, 60_000)
  left.close()
  t.equal(await asked, SILENCE)
  t.equal(await left.ask('double', 1, 60_000), SILENCE)
  const failing = new Channel<Left, Right>((_, failed) => failed(), { log: () => true }, 1)
  t.equal(await failing.ask('double', 1, 60_000), SILENCE, 'what cannot be sent')
})

t.test('a primary that does not know, or does not answer, is no pass', async t => {
  const store = (answer: boolean | string | typeof SILENCE) => askedReplayStore(async () => answer)
  t.equal(await store(true).takeOnce('a', 1), true)
  t.equal(await store(false).takeOnce('a', 1), false)
  t.match(await store('full').takeOnce('a', 1), { code: 'store_unavailable', detail: 'full' })
  t.match(await store(SILENCE).takeOnce('a', 1), { code: 'store_unavailable' })
})

t.test('lines come out whole, whatever pieces they come in', async t => {
  const text = 'one\ntwo\n\nthree\n'
  for (let size = 1; size <= text.length; size++) {
    const written: string[] = []
    const write = wholeLines(lines => written.push(lines))
    for (let at = 0; at < text.length; at += size) write(text.slice(at, at + size))
    write('half')
    t.equal(written.join(''), text)
    t.ok(
      written.every(lines => lines.endsWith('\n')),
      `pieces of ${size}`,
    )
  }
})

t.test('a line without an end takes no memory, and is no line', async t => {
  const written: string[] = []
  const write = wholeLines(lines => written.push(lines))
  write('first\n')
  const mebibyte = 'x'.repeat(1024 * 1024)
  for (let i = 0; i < 20; i++) write(mebibyte)
  write('its end\nnext\n')
  t.same(written, ['first\n', 'next\n'])
})

t.test(
  'a worker hangs when it has answered nothing many times, and not when it was slow a few times',
  async t => {
    // The vigil keeps no process alive.
    const alive = setInterval(() => {}, 1000)
    t.teardown(() => clearInterval(alive))
    /** A worker that answers as it is told, one question after the other. */
    const worker = (answers: string) => {
      let asked = 0
      const ask = async () => (answers[asked++] === '-' ? SILENCE : [])
      return { ask: ask as never, isOver: () => asked > answers.length }
    }
    const isHung = ({ ask, isOver }: ReturnType<typeof worker>) => hangs({ ask }, isOver, 1)
    t.equal(await isHung(worker('++------')), true)
    t.equal(await isHung(worker('-----+-----+')), false)
    t.equal(await isHung(worker('--')), false, 'over before it is sure')
  },
)
