import t, { type Test } from 'tap'
import { untilStopped } from '../../src/cli/serve.js'
import type { Server } from '../../src/server/start.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'uncaughtException', 'unhandledRejection'] as const

/** The exit code of a process whose server stops like this. */
async function exitCode(t: Test, stop: () => Promise<void>) {
  const before = SIGNALS.map(name => process.rawListeners(name))
  t.teardown(() => {
    SIGNALS.forEach((name, index) => {
      for (const listener of process.rawListeners(name))
        if (!before[index]?.includes(listener)) process.removeListener(name, listener as () => void)
    })
  })
  const told: unknown[] = []
  const log = { error: (fields: unknown) => told.push(fields), flush: () => {} }
  const code = untilStopped({ log, stop } as unknown as Server)
  process.listeners('SIGTERM').at(-1)?.('SIGTERM')
  return { code: await code, told: told.length }
}

t.test('a process that cannot stop as it should ends with 1, and says why', async t => {
  const failed = await exitCode(t, () => Promise.reject(new Error('a port that does not close')))
  t.same(failed, { code: 1, told: 1 })
})

t.test('a process that stops ends with 0', async t => {
  t.same(await exitCode(t, () => Promise.resolve()), { code: 0, told: 0 })
})
