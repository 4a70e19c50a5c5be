import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { mock } from 'node:test'
import t from 'tap'
import type { Grant } from '../../src/checks/authorise.js'
import { Tunnels } from '../../src/upstream/tunnel.js'

const DAY_MS = 24 * 60 * 60 * 1000

function side(): Duplex {
  return new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
}

/** A way up to a root, which holds between these days. */
const lasting = (to: number, from = -1) => ({
  notBefore: (from * DAY_MS) / 1000,
  notAfter: (to * DAY_MS) / 1000,
})

t.test(
  'a tunnel whose certificate lasts longer than a timer can wait ends with it, and not before',
  async t => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    t.teardown(() => mock.timers.reset())
    const grant = {
      match: { route: { mtls: true } },
      token: null,
      certificate: { notAfter: (90 * DAY_MS) / 1000, paths: [lasting(60), lasting(30), lasting(60, 59)] },
    }
    const tunnels = new Tunnels(1)
    const [client, upstream] = [side(), side()]
    let isJoined = false
    tunnels.add(
      client,
      upstream,
      grant as unknown as Grant,
      () => {
        isJoined = true
      },
      () => {},
    )
    t.ok(isJoined)
    for (let day = 0; day < 59; day++) mock.timers.tick(DAY_MS)
    t.notOk(client.writableEnded)
    mock.timers.tick(DAY_MS)
    t.ok(client.writableEnded)
    const ended = Promise.all([once(client, 'close'), once(upstream, 'close')])
    mock.timers.tick(DAY_MS)
    await ended
    t.ok(tunnels.takesMore)
  },
)
