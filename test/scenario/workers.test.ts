import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import t, { type Test } from 'tap'
import { newProofKey, proofFor } from '../support/dpop.js'
import { ask2, connectHttp2 } from '../support/http2-client.js'
import { withUnknownSignature } from '../support/pki.js'
import {
  ask,
  connectRaw,
  createWorld,
  HOST,
  type PolicyParts,
  type Postern,
  policyText,
  refusedStart,
  startCounting,
  startPostern,
  until,
  untilAsync,
  webSocketHandshake,
} from '../support/postern.js'
import { checkMetrics, withoutPromtool } from '../support/promtool.js'
import type { RawClient } from '../support/raw-client.js'
import { RecordingUpstream, switchAndEcho } from '../support/recording-upstream.js'

// Several worker processes are one sidecar to its clients and its operators.

t.setTimeout(120_000)

const world = await createWorld()
const counting = await startCounting()
const tunnels = await RecordingUpstream.start()
tunnels.script(switchAndEcho())
const held: ServerResponse[] = []
counting.respond = (request, response) => {
  if (request.url === '/open/held') held.push(response)
  else response.end('{"ok":true}')
}
const running: Postern[] = []
t.teardown(async () => {
  for (const { child } of running) child.kill('SIGKILL')
  counting.close()
  await tunnels.stop()
  await world.close()
})

/** Says by its routes which release of the policy it is. */
function release(number: number, parts: Partial<PolicyParts> = {}): string {
  const apis = `
  - name: Plain
    base: /plain
    security: [oauth2]
    flow: client_credentials
    routes:
      GET /{id}: { scopes: none }
      GET /{id}/nonce: { scopes: none, dpop: { nonce: required } }
  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
  - name: Counted
    base: /counted
    security: public
    rate: { requests: 4, per: 1h, by: address }
    routes:
      GET /{id}: {}
  - name: Live
    base: /live
    security: public
    routes:
      GET /now: { upgrade: websocket, upstream: tunnels }
  - name: Release
    base: /release
    security: public
    routes:
      GET /${number}: {}
`
  const moreUpstreams = `  tunnels: { url: ${tunnels.url} }`
  return policyText(world, {
    upstream: counting.url,
    workers: '2',
    http2: true,
    apis,
    moreUpstreams,
    ...parts,
  })
}

async function start(name: string, parts: Partial<PolicyParts> = {}): Promise<Postern> {
  const write = (_: string, text: string) => world.write(`${name}.yaml`, text)
  const postern = await startPostern({ write }, release(1, parts))
  running.push(postern)
  return postern
}

const postern = await start('postern')

async function get(client: RawClient, path: string, headers: readonly string[] = []) {
  const fields = [`Host: ${HOST}`, ...headers].join('\r\n')
  client.write(`GET ${path} HTTP/1.1\r\n${fields}\r\n\r\n`)
  return client.answer()
}

/** A connection to each of the two workers, in their order; the log says whose it is. */
async function connections(to: Postern): Promise<readonly [RawClient, RawClient]> {
  const found = new Map<unknown, RawClient>()
  for (let attempt = 0; found.size < 2 && attempt < 20; attempt++) {
    const client = await connectRaw(world, to)
    const interactionId = randomUUID()
    await get(client, '/open/whose', [`x-fapi-interaction-id: ${interactionId}`])
    const { worker } = await to.logged(line => line.interactionId === interactionId)
    if (found.has(worker)) client.destroy()
    else found.set(worker, client)
  }
  return [found.get(1) as RawClient, found.get(2) as RawClient]
}

/** The pid of the process that is worker 1 or 2 now. */
const pidOf = (to: Postern, worker: number) =>
  Number(
    to
      .log()
      .filter(line => line.worker === worker && line.msg === 'a worker serves')
      .at(-1)?.pid,
  )

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function sample(to: Postern, name: string): Promise<number> {
  const { status, text } = await to.admin('/metrics')
  if (status !== 200) throw new Error(`a scrape was answered with ${status}`)
  const line = text.split('\n').find(each => each.startsWith(`${name} `))
  return line === undefined ? Number.NaN : Number(line.slice(name.length + 1))
}

const ANSWERED =
  'postern_requests_total{route="GET /open/{path...}",method="GET",status="200",outcome="allowed"}'
const RESTARTS = 'postern_worker_restarts_total'

async function ready(to: Postern): Promise<void> {
  await untilAsync(
    async () => (await to.admin('/readyz')).status === 200,
    () => `not ready: ${to.output()}`,
  )
}

t.test('connections are spread over the workers, and the metrics are those of all', async t => {
  const before = await sample(postern, ANSWERED)
  const both = await connections(postern)
  t.ok(both.every(Boolean), 'a connection to each')
  const open = await sample(postern, 'postern_connections')
  t.equal(open, 2)
  const asked = (await sample(postern, ANSWERED)) - (before || 0)
  for (let i = 0; i < 5; i++) for (const client of both) t.equal((await get(client, '/open/x')).status, 200)
  await untilAsync(
    async () => (await sample(postern, ANSWERED)) - (before || 0) === asked + 10,
    () => 'the sum is not what was sent',
  )
  t.equal(
    await sample(postern, 'postern_upstream_duration_seconds_count{upstream="provider"}'),
    await sample(postern, ANSWERED),
    'histograms are summed as well',
  )
  t.equal(await sample(postern, 'postern_workers'), 2)
  t.equal(await sample(postern, 'postern_workers_silent'), 0)
  t.equal(await sample(postern, RESTARTS), 0)
  for (const client of both) client.destroy()
})

t.test('each worker speaks HTTP/2', async t => {
  const workers = new Set<unknown>()
  for (let attempt = 0; workers.size < 2 && attempt < 20; attempt++) {
    const client = await connectHttp2(world, postern)
    const interactionId = randomUUID()
    const asked = ask2(client, { ':path': '/open/http2', 'x-fapi-interaction-id': interactionId })
    t.equal((await asked).status, 200)
    client.destroy()
    workers.add((await postern.logged(line => line.interactionId === interactionId)).worker)
  }
  t.equal(workers.size, 2)
})

t.test('promtool has nothing to say about the metrics of all', { skip: withoutPromtool() }, async t => {
  t.equal(checkMetrics((await postern.admin('/metrics')).text), '')
})

t.test('a DPoP proof that one worker has taken is refused by the other', async t => {
  const [one, two] = await connections(postern)
  const key = newProofKey()
  const token = world.issuer.token({ sub: 'client-1', cnf: { jkt: key.jkt } })
  const fields = (proof: string) => [`Authorization: DPoP ${token}`, `DPoP: ${proof}`]
  for (const [first, second] of [
    [one, two],
    [two, one],
  ] as const) {
    const proof = proofFor(key, { htu: `https://${HOST}/plain/1`, token })
    t.equal((await get(first, '/plain/1', fields(proof))).status, 200)
    const interactionId = randomUUID()
    const replayed = await get(second, '/plain/1', [
      ...fields(proof),
      `x-fapi-interaction-id: ${interactionId}`,
    ])
    t.equal(replayed.status, 401)
    const line = await postern.logged(line => line.interactionId === interactionId)
    t.equal(line.code, 'proof_replayed')
  }
  const htu = `https://${HOST}/plain/1/nonce`
  const asked = await get(one, '/plain/1/nonce', fields(proofFor(key, { htu, token })))
  const [nonce] = asked.values('dpop-nonce')
  const answered = await get(two, '/plain/1/nonce', fields(proofFor(key, { htu, token }, { nonce })))
  t.equal(answered.status, 200, 'a nonce of one is good at the other')
  for (const client of [one, two]) client.destroy()
})

let latest = 1
async function reload(to: Postern, text: string) {
  writeFileSync(`${to.policyFile}`, text)
  return to.admin('/-/reload', 'POST')
}

t.test('workers count the requests of an address together', async t => {
  const both = await connections(postern)
  const statuses: number[] = []
  for (let number = 0; number < 6; number++)
    statuses.push((await get(both[number % 2] as RawClient, '/counted/x')).status)
  t.strictSame(statuses, [200, 200, 200, 200, 429, 429])
  for (const client of both) client.destroy()
})

t.test('who has met a new policy never meets the old one on a connection made later', async t => {
  let stopped = false
  const wrong: string[] = []
  let newest = 1
  const look = async () => {
    while (!stopped) {
      const known = newest
      const client = await connectRaw(world, postern)
      const answers = []
      for (const number of [known, known + 1]) answers.push((await get(client, `/release/${number}`)).status)
      client.destroy()
      const [old, next] = answers
      // Between the two questions of one connection the policy may change; what may not be is neither of the two.
      if (next === 200) newest = Math.max(newest, known + 1)
      else if (old !== 200 && newest === known) wrong.push(`neither ${known} nor its successor`)
    }
  }
  const lookers = [look(), look(), look()]
  for (latest = 2; latest <= 6; latest++) {
    t.equal((await reload(postern, release(latest))).status, 200)
    for (const client of await connections(postern)) {
      t.equal(
        (await get(client, `/release/${latest}`)).status,
        200,
        'in both workers when the reload is over',
      )
      client.destroy()
    }
    await until(
      () => newest === latest,
      () => 'nobody has met it',
    )
  }
  latest -= 1
  stopped = true
  await Promise.all(lookers)
  t.same(wrong, [])
  t.equal(newest, latest)
})

t.test('a policy that one worker cannot use is used by none', async t => {
  const both = await connections(postern)
  const refused = await withUnknownSignature(HOST)
  try {
    createSecureContext({ cert: refused.certificatePem, key: refused.keyPem, ciphers: 'DEFAULT:@SECLEVEL=2' })
    return t.comment('the OpenSSL of this Node refuses nothing that the reader of the policy lets through')
  } catch {
    // as it should
  }
  world.write('refused.pem', refused.certificatePem)
  world.write('refused.key', refused.keyPem)
  const certificates = '[{ cert: refused.pem, key: refused.key }]'
  const answer = await reload(postern, release(latest + 1, { certificates }))
  t.equal(answer.status, 422)
  for (const client of both) {
    t.equal((await get(client, `/release/${latest}`)).status, 200, 'the policy before serves on')
    client.destroy()
  }
})

t.test(
  'a worker that is killed takes only its own requests along, and is replaced with the same policy',
  async t => {
    latest += 1
    t.equal((await reload(postern, release(latest))).status, 200)
    const [one, two] = await connections(postern)
    for (let i = 0; i < 30; i++) await get(one, '/open/x')
    const answered = await sample(postern, ANSWERED)
    t.equal((await reload(postern, 'version: 1\nserver: broken\n')).status, 422)
    for (const client of [one, two]) client.write(`GET /open/held HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
    await until(
      () => held.length === 2,
      () => 'the requests did not arrive',
    )
    const pid = pidOf(postern, 1)
    process.kill(pid, 'SIGKILL')
    await one.closed()
    // Until the primary has heard of the end, it hands new connections to the dead as well: they break before anything was asked.
    await postern.logged(line => line.msg === 'a worker ended; it is replaced' && line.pid === pid)
    for (let i = 0; i < 5; i++)
      t.equal((await ask(world, postern, { path: '/open/x' })).status, 200, 'others are served meanwhile')
    for (const response of held.splice(0)) response.end('held')
    t.equal((await two.answer()).body.toString(), 'held', 'the request of the other worker goes on')
    await until(
      () => pidOf(postern, 1) !== pid,
      () => 'no replacement',
    )
    await ready(postern)
    for (const client of await connections(postern)) {
      t.equal((await get(client, `/release/${latest}`)).status, 200, 'not the broken file that lies there')
      client.destroy()
    }
    t.equal(await sample(postern, RESTARTS), 1)
    t.ok((await sample(postern, ANSWERED)) >= answered + 6, 'counters do not go back')
    two.destroy()
    t.equal((await reload(postern, release(latest))).status, 200)
  },
)

t.test('a worker that hangs costs readiness and its own share, and no scrape', async t => {
  const [one, two] = await connections(postern)
  const answered = await sample(postern, ANSWERED)
  const pid = pidOf(postern, 2)
  process.kill(pid, 'SIGSTOP')
  try {
    const started = performance.now()
    t.equal(await sample(postern, 'postern_workers_silent'), 1)
    t.ok(performance.now() - started < 5_000, 'a scrape has its bound')
    t.equal(await sample(postern, ANSWERED), answered, 'what it had counted stands for it')
    const health = await postern.admin('/readyz')
    t.equal(health.status, 503)
    t.match(health.text, '[-]workers failed: 1 of 2 serve')
    t.equal((await get(one, '/open/x')).status, 200)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await ready(postern)
  t.equal((await get(two, '/open/x')).status, 200)
  t.equal(await sample(postern, 'postern_workers_silent'), 0)
  for (const client of [one, two]) client.destroy()
})

t.test('a connection on its way to a worker that dies is ended, and not left waiting', async t => {
  const pid = pidOf(postern, 2)
  process.kill(pid, 'SIGSTOP')
  const outcome = (client: RawClient) => {
    client.destroy()
    return 'served'
  }
  const clients = [1, 2, 3, 4].map(() => connectRaw(world, postern).then(outcome, () => 'ended'))
  const quick = clients.map(client => Promise.race([client, delay(1500, 'waits')]))
  t.same((await Promise.all(quick)).sort(), ['served', 'served', 'served', 'waits'])
  process.kill(pid, 'SIGKILL')
  t.same((await Promise.race([Promise.all(clients), delay(10_000, ['left waiting'])])).sort(), [
    'ended',
    ...['served', 'served', 'served'],
  ])
  await until(
    () => pidOf(postern, 2) !== pid,
    () => 'no replacement',
  )
  await ready(postern)
})

t.test('lines of the log do not mix, however long they are', async t => {
  const path = `/open/${'x'.repeat(4_080)}`
  const ids = Array.from({ length: 60 }, () => randomUUID())
  await Promise.all(ids.map(id => ask(world, postern, { path, headers: { 'x-fapi-interaction-id': id } })))
  // Every line is parsed on the way.
  for (const id of ids)
    t.match(await postern.logged(line => line.interactionId === id), { path, status: 200 })
  t.same([...new Set(postern.log().map(({ worker }) => worker))].sort(), [1, 2, undefined])
})

t.test('limits of connections are divided among the workers', async t => {
  const small = await start('small', { limits: '{ connections: 2, failures: { requests: 4, per: 1h } }' })
  const both = await connections(small)
  const dropped = 'postern_connections_dropped_total{limit="connections"}'
  const before = await sample(small, dropped)
  for (let i = 0; i < 10; i++) await t.rejects(connectRaw(world, small))
  t.equal(await sample(small, dropped), before + 10)

  await t.test('workers count failed authentications together, and before the client is told', async t => {
    const guess = async (client: RawClient) =>
      (await get(client, '/plain/1', ['Authorization: Bearer e30.e30.e30'])).status
    small.child.kill('SIGSTOP')
    const first = guess(both[0])
    try {
      t.equal(await Promise.race([first, delay(300, 'waits for the count')]), 'waits for the count')
    } finally {
      small.child.kill('SIGCONT')
    }
    t.equal(await first, 401)
    const statuses: number[] = []
    for (const client of [both[1], ...both, ...both]) statuses.push(await guess(client))
    t.strictSame(statuses, [401, 401, 401, 429, 429])
    for (const client of both) await client.closed()
  })
  await t.test('when the primary is killed, what is in flight ends and no worker is left', async t =>
    killPrimary(t, small, await connections(small)),
  )
})

async function killPrimary(t: Test, small: Postern, both: readonly RawClient[]): Promise<void> {
  const pids = [pidOf(small, 1), pidOf(small, 2)]
  for (const client of both) client.write(`GET /open/held HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await until(
    () => held.length === 2,
    () => 'the requests did not arrive',
  )
  small.child.kill('SIGKILL')
  await untilAsync(
    () =>
      ask(world, small).then(
        () => false,
        ({ code }) => code === 'ECONNREFUSED',
      ),
    () => 'new connections are still taken',
  )
  for (const response of held.splice(0)) response.end('held')
  for (const client of both) t.equal((await client.answer()).body.toString(), 'held')
  await until(
    () => !pids.some(isAlive),
    () => `still there: ${pids.filter(isAlive)}`,
  )
}

t.test('a second signal ends everything at once', async t => {
  const third = await start('third')
  const [one] = await connections(third)
  const pids = [pidOf(third, 1), pidOf(third, 2)]
  one.write(`GET /open/held HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await until(
    () => held.length === 1,
    () => 'the request did not arrive',
  )
  third.child.kill('SIGINT')
  await third.logged(({ msg }) => msg === 'draining')
  third.child.kill('SIGINT')
  await one.closed()
  await until(
    () => third.child.exitCode !== null && !pids.some(isAlive),
    () => `still there: ${pids.filter(isAlive)}`,
  )
  t.equal(third.child.exitCode, 1)
  for (const response of held.splice(0)) response.end()
})

t.test('a port that is taken ends the start', async t => {
  const text = release(1).replace('listen: 127.0.0.1:0', `listen: 127.0.0.1:${postern.port}`)
  const { code, text: words } = await refusedStart(world, 'taken', text)
  t.equal(code, 1)
  t.match(words, 'EADDRINUSE')
})

t.test('SIGTERM ends all workers when their requests have ended, and none before', async t => {
  const [one, two] = await connections(postern)
  const tunnel = await connectRaw(world, postern)
  tunnel.write(webSocketHandshake('/live/now'))
  t.equal((await tunnel.answer()).status, 101)
  let stopped = false
  const wrong: string[] = []
  const load = async () => {
    while (!stopped)
      try {
        const { status } = await ask(world, postern, { path: '/open/x' })
        if (status !== 200) wrong.push(String(status))
      } catch (error) {
        // A load balancer goes elsewhere then. What nobody has accepted yet is reset by the kernel.
        if (!/ECONNREFUSED|ECONNRESET/.test(String((error as NodeJS.ErrnoException).code)))
          wrong.push(String(error))
        return
      }
  }
  const loads = [load(), load(), load()]
  one.write(`GET /open/held HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await until(
    () => held.length === 1,
    () => 'the request did not arrive',
  )
  // As Ctrl-C in a terminal does, and systemd: the workers hear it as well.
  const pids = [pidOf(postern, 1), pidOf(postern, 2)]
  for (const pid of pids) process.kill(pid, 'SIGTERM')
  const ended = postern.stop()
  await untilAsync(
    async () => (await postern.admin('/readyz')).status === 503,
    () => 'still ready',
  )
  t.equal((await get(two, '/open/x')).status, 200, 'served during the notice')
  await Promise.all(loads)
  stopped = true
  t.same(wrong, [])
  t.same((await tunnel.closed()).rest.subarray(-4), Buffer.from([0x88, 0x02, 0x03, 0xe9]), 'going away')
  t.ok(pids.some(isAlive), 'a request is in flight')
  for (const response of held.splice(0)) response.end('held')
  t.equal((await one.answer()).body.toString(), 'held')
  t.equal(await ended, 0)
  t.notOk(pids.some(isAlive))
})
