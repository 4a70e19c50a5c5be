import { writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { freePort } from '../support/free-port.js'
import {
  type Answered,
  type Ask,
  ask,
  boundToken,
  connectRaw,
  createWorld,
  HOST,
  policyText,
  startPostern,
  until,
  untilAsync,
} from '../support/postern.js'
import {
  answer,
  hang,
  RecordingUpstream,
  rawThenEnd,
  rawThenReset,
  reset,
  type Step,
  switchAndEcho,
} from '../support/recording-upstream.js'

// Addresses that refuse, reset, hang and come back, and what clients notice of it. Judged by what each address saw.

const world = await createWorld()
const started: RecordingUpstream[] = []
const agent = new Agent({ keepAlive: true, maxSockets: 8 })

async function upstream(...steps: Step[]): Promise<RecordingUpstream> {
  const one = await RecordingUpstream.start()
  started.push(one)
  const [first, ...rest] = steps
  if (first !== undefined) one.script(first, ...rest)
  return one
}

/** Answers that fail and succeed in turn, so that no address is taken out; each on a connection that was not idle before. */
function everySecondFails(): Step {
  let count = 0
  return {
    act: (socket, request) =>
      (count++ % 2 === 0 ? reset() : answer(200, '', ['Connection: close'])).act(socket, request),
  }
}

/** Answers its health path as it is told, and everything else with 200. */
function checkedStep(state: { healthy: boolean }): Step {
  return {
    act: (socket, request) =>
      answer(request.target.startsWith('/health') && !state.healthy ? 503 : 200).act(socket, request),
  }
}

/** Resets on one path, breaks the rules of HTTP on another, and answers everything else with 200. */
function poisonedStep(): Step {
  return {
    act: (socket, request) => {
      const step = request.target.includes('/reset')
        ? reset()
        : request.target.includes('/malformed')
          ? rawThenEnd('not HTTP\r\n\r\n')
          : answer(200)
      step.act(socket, request)
    },
  }
}

const MID_HEAD = 'HTTP/1.1 200 OK\r\nContent-Le'
const health = { healthy: true }
const tlsServer = await world.serverCa.issue({
  commonName: 'localhost',
  sanDns: ['localhost'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
})
const tlsKeys = { key: tlsServer.keyPem, cert: tlsServer.certificatePem }
world.write('upstream-ca.pem', world.serverCa.certificatePem)

const dead = `http://127.0.0.1:${await freePort()}`
const [trioA, trioB] = [await upstream(), await upstream()]
const [onceBad, onceGood] = [await upstream(everySecondFails()), await upstream()]
const [safeBad, safeGood] = [await upstream(everySecondFails()), await upstream()]
const [midHead, midGood] = [await upstream(rawThenReset(MID_HEAD)), await upstream()]
const [half, otherHalf] = [await upstream(everySecondFails()), await upstream(everySecondFails())]
const [outA, outB] = [await upstream(answer(503)), await upstream(answer(503))]
const poisoned = await upstream(poisonedStep())
const [poisonedA, poisonedB] = [await upstream(poisonedStep()), await upstream(poisonedStep())]
const [brokenA, brokenB] = [await upstream(poisonedStep()), await upstream(poisonedStep())]
const single = await upstream(reset())
const [slow, slowToo] = [await upstream(hang()), await upstream(hang())]
const silent = await upstream() // speaks no TLS
const secure = await RecordingUpstream.start(tlsKeys)
const secureSlow = await RecordingUpstream.start(tlsKeys)
secureSlow.script(hang())
started.push(secure, secureSlow)
const [checked, checkedGood] = [await upstream(checkedStep(health)), await upstream()]
const [live, liveReset] = [await upstream(switchAndEcho()), await upstream(reset())]
const [kept, liveKept] = [await upstream(), await upstream(switchAndEcho())]

const RETRY = 'retry: { attempts: 1 }'
const silentUrl = silent.url.replace('http://127.0.0.1', 'https://localhost')
const UPSTREAMS = `  trio: { url: [${dead}, ${trioA.url}, ${trioB.url}] }
  once: { url: [${onceBad.url}, ${onceGood.url}] }
  safe: { url: [${safeBad.url}, ${safeGood.url}], ${RETRY} }
  again: { url: [${midHead.url}, ${midGood.url}], ${RETRY} }
  half: { url: [${half.url}, ${otherHalf.url}], retry: { attempts: 3, budget: 10% } }
  out: { url: [${outA.url}, ${outB.url}], health: { path: /up, interval: 1s, healthyAfter: 1, unhealthyAfter: 1 } }
  poisoned: { url: ${poisoned.url}, retry: { attempts: 3, budget: 50% } }
  poisonedPair: { url: [${poisonedA.url}, ${poisonedB.url}] }
  broken: { url: [${brokenA.url}, ${brokenB.url}], retry: { attempts: 3, budget: 50% } }
  single: { url: ${single.url} }
  slow: { url: [${slow.url}, ${slowToo.url}], ${RETRY} }
  secure: { url: [${silentUrl}, ${secure.url}], timeouts: { connect: 300ms }, tls: { ca: upstream-ca.pem } }
  secureSlow: { url: [${silentUrl}, ${secureSlow.url}], timeouts: { connect: 300ms }, tls: { ca: upstream-ca.pem } }
  checked: { url: [${checked.url}, ${checkedGood.url}], health: { path: "/health?deep=1", interval: 1s, healthyAfter: 1, unhealthyAfter: 1 } }
  live: { url: [${dead}, ${live.url}] }
  liveOnce: { url: [${liveReset.url}, ${live.url}], ${RETRY} }
  kept: { url: ${kept.url} }
  liveKept: { url: ${liveKept.url} }
`

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']
const NAMES = [
  'trio',
  'once',
  'safe',
  'again',
  'half',
  'out',
  'poisoned',
  'poisonedPair',
  'broken',
  'single',
  'secure',
  'checked',
  'kept',
]

function apis(liveRoutes: string): string {
  const plain = NAMES.map(
    name => `
  - name: ${name}
    base: /${name}
    security: public
    upstream: ${name}
    routes:
${METHODS.map(method => `      ${method} /{path...}: {}`).join('\n')}`,
  )
  return `${plain.join('')}
  - name: Slow
    base: /slow
    security: public
    routes:
      GET /{path...}: { upstream: slow, timeout: 400ms }
      POST /{path...}: { upstream: slow, timeout: 400ms }
      GET /tls/{path...}: { upstream: secureSlow, timeout: 700ms }
  - name: Live
    base: /live
    security: public
    routes:
      GET /one: { upstream: live, upgrade: websocket }
      GET /once: { upstream: liveOnce, upgrade: websocket }
${liveRoutes}`
}

const LIVE_ROUTES = `      GET /a: { upstream: liveKept, upgrade: websocket }
      GET /b: { upstream: liveKept, upgrade: websocket }
      GET /c: { upstream: liveKept, upgrade: websocket }
      GET /d: { upstream: liveKept, upgrade: websocket }
`

const TOKEN_ROUTE =
  '      GET /a: { upstream: liveKept, upgrade: websocket, security: [mtls, oauth2], flow: authorization_code, scopes: none }\n'

const policy = (liveRoutes = LIVE_ROUTES, bodyBytes = '1MiB', issuer = 'clockSkew: 10s') =>
  policyText(world, {
    issuer,
    upstream: kept.url,
    moreUpstreams: UPSTREAMS,
    limits: `{ bodyBytes: ${bodyBytes} }`,
    apis: apis(liveRoutes),
  })

const postern = await startPostern(world, policy())
t.teardown(async () => {
  agent.destroy()
  postern.child.kill('SIGKILL')
  await Promise.all(started.map(each => each.stop()))
  await world.close()
})

const send = (path: string, options: Ask = {}) => ask(world, postern, { agent, ...options, path })

/** So many requests, a few at a time. */
async function sendMany(count: number, path: string, options: Ask = {}): Promise<Answered[]> {
  const answers: Answered[] = []
  for (let i = 0; i < count; i += 8)
    answers.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(8, count - i) }, (_, k) => send(`${path}/${i + k}`, options)),
      )),
    )
  return answers
}

const statuses = (answers: readonly Answered[]) => [...new Set(answers.map(({ status }) => status))].sort()
const targets = (...upstreams: RecordingUpstream[]) =>
  upstreams.flatMap(({ requests }) => requests.map(({ target }) => target)).sort()
const isOnce = (all: readonly string[]) => new Set(all).size === all.length

async function metric(name: string, labels: string): Promise<number> {
  const { text } = await postern.admin('/metrics')
  const line = text.split('\n').find(each => each.startsWith(`${name}{${labels}}`))
  return Number(line?.split(' ').at(-1))
}

const retries = (name: string, result: string) =>
  metric('postern_upstream_retries_total', `upstream="${name}",result="${result}"`)
const healthy = (name: string, url: string) =>
  metric('postern_upstream_healthy', `upstream="${name}",address="${url}"`)

t.test('no client notices that one address of three refuses connections', async t => {
  t.strictSame(statuses(await sendMany(24, '/trio/get')), [200])
  t.strictSame(statuses(await sendMany(24, '/trio/post', { method: 'POST', body: 'a payment' })), [200])
  const seen = [...trioA.requests, ...trioB.requests]
  t.equal(seen.length, 48)
  t.ok(isOnce(targets(trioA, trioB)), 'each arrived once')
  for (const { method, body } of seen) if (method === 'POST') t.equal(body.toString(), 'a payment')
  t.equal(await healthy('trio', dead), 0, 'it is taken out')
  t.equal(await healthy('trio', trioA.url), 1)
  t.equal(await metric('postern_upstream_ejections_total', `upstream="trio",address="${dead}"`), 1)
  t.ok((await retries('trio', 'answered')) >= 5)
  const line = await postern.logged(({ path, attempts }) => /^\/trio/.test(String(path)) && attempts === 2)
  t.match(line, { status: 200, upstream: 'trio', address: /^http:\/\/127\.0\.0\.1:/ })
  t.notSame(line.address, dead)
  await postern.logged(({ msg, address }) => msg === 'address ejected' && address === dead)
})

/** Four requests, one after the other: each address gets two of them, and the bad one fails the first of its two. */
async function four(path: string, options: Ask): Promise<number[]> {
  const statuses: number[] = []
  for (let i = 0; i < 4; i++) statuses.push((await send(`${path}/${i}`, options)).status)
  return statuses.sort()
}

t.test('without retry nothing is sent twice that may have arrived', async t => {
  for (const method of METHODS) {
    t.strictSame(await four(`/once/${method}`, { method }), [200, 200, 200, 502], method)
    t.ok(isOnce(targets(onceBad, onceGood)), method)
    for (const each of [onceBad, onceGood]) each.requests.length = 0
  }
})

t.test(
  'with retry a GET that failed in the middle of the header is answered by the other address',
  async t => {
    t.strictSame(statuses(await sendMany(4, '/again/get')), [200])
    t.ok(midHead.requests.length > 0)
    t.equal(await retries('again', 'answered'), midHead.requests.length)
    await postern.logged(({ path, attempts }) => /^\/again\/get/.test(String(path)) && attempts === 2)
  },
)

t.test('with retry the safe methods are not lost, and all others are still sent once', async t => {
  for (const method of METHODS) {
    const isSafe = ['GET', 'HEAD', 'OPTIONS'].includes(method)
    t.strictSame(await four(`/safe/${method}`, { method }), [200, 200, 200, isSafe ? 200 : 502], method)
    t.equal(isOnce(targets(safeBad, safeGood)), !isSafe, method)
    for (const each of [safeBad, safeGood]) each.requests.length = 0
    const body = { body: 'a payment', headers: { 'Content-Length': '9' } }
    t.strictSame(await four(`/safe/body/${method}`, { method, ...body }), [200, 200, 200, 502], method)
    t.ok(isOnce(targets(safeBad, safeGood)), `${method} with a body`)
    for (const each of [safeBad, safeGood]) each.requests.length = 0
  }
})

t.test('when every second answer fails, no more is sent again than the budget grants', async t => {
  const COUNT = 160
  const answers = await sendMany(COUNT, '/half/get')
  const calls = half.requests.length + otherHalf.requests.length
  t.ok(calls > COUNT, 'some are sent again')
  t.ok(calls <= COUNT * 1.1, `${calls} calls for ${COUNT} requests`)
  t.ok((await retries('half', 'over_budget')) > 0)
  t.ok(
    answers.some(({ status }) => status === 502),
    'and the others fail as they would without',
  )
})

t.test('one client with a path that fails takes the last address from nobody', async t => {
  for (const name of ['poisoned', 'poisonedPair']) {
    let goesOn = true
    let attacks = 0
    const attack = async () => {
      while (goesOn) {
        t.equal((await send(`/${name}/reset`, { agent: attackers })).status, 502)
        attacks++
      }
    }
    const attackers = new Agent({ keepAlive: true, maxSockets: 20 })
    const all = Array.from({ length: 20 }, attack)
    await until(
      () => attacks > 40,
      () => `${attacks} attacks`,
    )
    t.strictSame(statuses(await sendMany(64, `/${name}/good`)), [200], name)
    goesOn = false
    await Promise.all(all)
    attackers.destroy()
  }
  t.equal(
    await metric('postern_upstream_ejections_total', `upstream="poisoned",address="${poisoned.url}"`),
    0,
  )
})

t.test('neither malformed answers nor the retries of one request take an address out', async t => {
  await sendMany(24, '/broken/malformed')
  // Twelve attempts at two addresses: failures enough for one of them, were each attempt counted.
  for (let i = 0; i < 3; i++) t.equal((await send(`/broken/reset/${i}`)).status, 502)
  t.equal(targets(brokenA, brokenB).filter(target => target.includes('/reset')).length, 12)
  for (const { url } of [brokenA, brokenB]) t.equal(await healthy('broken', url), 1)
})

t.test(
  'when all addresses fail their checks, clients are told at once and the upstream is spared',
  async t => {
    for (const { url } of [outA, outB])
      await untilAsync(
        async () => (await healthy('out', url)) === 0,
        () => 'not out',
        5000,
      )
    const answers = await sendMany(24, '/out/get')
    t.strictSame(statuses(answers), [502])
    t.ok(answers.every(({ headers }) => headers['retry-after'] === '1'))
    t.match(answers[0]?.json(), { code: '501' })
    t.strictSame([...new Set(targets(outA, outB))], ['/up'])
    await postern.logged(
      ({ path, code, detail, attempts }) =>
        /^\/out/.test(String(path)) &&
        code === 'upstream_unavailable' &&
        detail === 'out: all 2 addresses fail their checks' &&
        attempts === undefined,
    )

    await t.test('which does not make the instance unready, and shows', async t => {
      const { status, text } = await postern.admin('/readyz?verbose')
      t.equal(status, 200)
      t.match(text, /^\[!\]upstream out 0 of 2 addresses healthy$/m)
      t.match(text, /^\[\+\]upstream trio 2 of 3 addresses healthy$/m)
    })
  },
)

t.test('an only address that comes back serves the very next request', async t => {
  t.strictSame(statuses(await sendMany(16, '/single/down')), [502])
  single.script(answer(200))
  t.strictSame(statuses(await sendMany(16, '/single/up')), [200])
})

t.test('the timeout of a route holds for all attempts together', async t => {
  for (const method of ['GET', 'POST']) {
    const began = performance.now()
    t.equal((await send('/slow/x', { method })).status, 504)
    const ms = performance.now() - began
    t.ok(ms >= 390 && ms < 800, `${method}: ${ms} ms`)
  }
  t.equal(slow.requests.length + slowToo.requests.length, 2, 'no time was left for another')
  const began = performance.now()
  for (let i = 0; i < 2; i++) t.equal((await send('/slow/tls/x')).status, 504)
  const ms = performance.now() - began
  // One of the two begins where 300 ms are lost on the connection, and gets the rest.
  t.ok(ms >= 1380 && ms < 1600, `${ms} ms`)
})

t.test('a connection that does not come about costs its time, and no request', async t => {
  t.strictSame(statuses(await sendMany(8, '/secure/post', { method: 'POST', body: 'a payment' })), [200])
  t.equal(secure.requests.length, 8)
  t.ok(silent.connections.length > 0)
})

t.test('checks take an address out and bring it back', async t => {
  await checked.arrived(1, 3000)
  health.healthy = false
  await untilAsync(
    async () => (await healthy('checked', checked.url)) === 0,
    () => 'not out',
    5000,
  )
  checked.requests.length = 0
  t.strictSame(statuses(await sendMany(8, '/checked/x')), [200])
  t.strictSame(
    [...new Set(targets(checked))].filter(target => target !== '/health?deep=1'),
    [],
  )
  health.healthy = true
  await untilAsync(
    async () => (await healthy('checked', checked.url)) === 1,
    () => 'not back',
    5000,
  )
  await postern.logged(({ msg, address }) => msg === 'address returned' && address === checked.url)
  await sendMany(8, '/checked/y')
  t.ok(targets(checked).some(target => target.startsWith('/checked/y')))

  await t.test('with requests that have nothing of a client in them', async t => {
    const check = checked.requests.find(({ target }) => target.startsWith('/health'))
    t.strictSame(check?.headers.map(([name, value]) => `${name}: ${value}`).sort(), [
      'Connection: close',
      `Host: 127.0.0.1:${checked.port}`,
      'User-Agent: postern',
    ])
  })
})

async function webSocket(path: string, early = '', token: string | null = null) {
  const client = await connectRaw(world, postern, token === null ? undefined : world.client)
  const authorization = token === null ? '' : `Authorization: Bearer ${token}\r\n`
  client.write(
    `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${authorization}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n${early}`,
  )
  return client
}

t.test('a WebSocket opens at another address when one refuses, with what came early once', async t => {
  for (let i = 0; i < 3; i++) {
    const client = await webSocket('/live/one', 'early')
    t.equal((await client.answer()).status, 101)
    client.write('late')
    t.equal((await client.bytes(9)).toString(), 'earlylate')
    client.destroy()
  }
})

t.test('a handshake that was sent is not sent again', async t => {
  live.requests.length = 0
  let refused = 0
  for (let i = 0; i < 4; i++) {
    const client = await webSocket(`/live/once`)
    if ((await client.answer()).status === 502) refused++
    client.destroy()
  }
  t.ok(refused > 0)
  t.equal(liveReset.requests.length, refused)
  t.equal(live.requests.length, 4 - refused)
})

t.test('a reload', async t => {
  const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9])
  const use = async (text: string) => {
    writeFileSync(postern.policyFile, text)
    const { status, text: problems } = await postern.admin('/-/reload', 'POST')
    t.equal(status, 200, problems)
  }
  const names = ['a', 'b', 'c', 'd']
  const clients = await Promise.all(names.map(name => webSocket(`/live/${name}`)))
  for (const client of clients) t.equal((await client.answer()).status, 101)
  const [same, deleted, plain, changed] = clients
  await send('/kept/1', { method: 'POST', body: 'x'.repeat(100) })

  await t.test(
    'of bodyBytes leaves connections, tunnels and what is known of addresses as they are',
    async t => {
      t.equal(await healthy('trio', dead), 0)
      await use(policy(LIVE_ROUTES, '50B'))
      t.equal(await healthy('trio', dead), 0)
      t.equal((await send('/kept/2', { method: 'POST', body: 'x'.repeat(100) })).status, 413)
      t.equal((await send('/kept/3', { method: 'POST', body: 'x' })).status, 200)
      t.equal(kept.connections.length, 1)
      same?.write('still here')
      t.equal((await same?.bytes(10))?.toString(), 'still here')
    },
  )

  await t.test('ends the tunnels of routes that are gone or changed, with 1001, and no others', async t => {
    await use(
      policy(`      GET /a: { upstream: liveKept, upgrade: websocket }
      GET /c: { upstream: liveKept }
      GET /d: { upstream: liveKept, upgrade: websocket, security: [oauth2], flow: authorization_code, scopes: none }
`),
    )
    for (const client of [deleted, plain, changed]) t.same((await client?.closed())?.rest, GOING_AWAY)
    same?.write('once more')
    t.equal((await same?.bytes(19))?.toString(), 'still hereonce more')
    same?.destroy()
  })
})

/** The upstream thinks about handshakes until it is told to go on. */
function answerLate(): () => void {
  const late: (() => void)[] = []
  liveKept.requests.length = 0
  liveKept.script({
    switches: true,
    act: (socket, request) => void late.push(() => switchAndEcho().act(socket, request)),
  })
  return () => {
    for (const go of late) go()
  }
}

/** Resolves when the cause has changed what is asked for. Not by the log, whose lines may come after an answer that they precede. */
async function changes(cause: () => void, what: () => Promise<unknown>): Promise<void> {
  const before = await what()
  cause()
  await untilAsync(
    async () => (await what()) !== before,
    () => 'no reload',
  )
}

/** By the change of the file alone: a reload that is asked for besides would come when a tunnel is open, and end it. */
const usesFile = (text: string) =>
  changes(
    () => writeFileSync(postern.policyFile, text),
    async () => /^postern_policy_info.*$/m.exec((await postern.admin('/metrics')).text)?.[0],
  )
const reloadsAgain = () =>
  changes(
    () => postern.child.kill('SIGHUP'),
    () => metric('postern_reload_total', 'result="success"'),
  )

t.test('an upgrade that is answered after its route has gone ends at once', async t => {
  const goOn = answerLate()
  const client = await webSocket('/live/a')
  await liveKept.arrived(1)
  await usesFile(policy(''))
  client.write('too late'.repeat(1_000))
  await delay(200)
  goOn()
  t.equal((await client.answer()).status, 101)
  t.same((await client.closed()).rest, Buffer.from([0x88, 0x02, 0x03, 0xe9]))
  t.notMatch(liveKept.connections.at(-1)?.bytes.toString('latin1'), /too late/)
})

t.test(
  'an upgrade that is answered two reloads after the rules of its issuer have gone ends at once',
  async t => {
    await usesFile(policy(TOKEN_ROUTE))
    const goOn = answerLate()
    const token = boundToken(world, world.client, 'authorization_code')
    const client = await webSocket('/live/a', '', token)
    await liveKept.arrived(1)
    const stricter = policy(TOKEN_ROUTE, '1MiB', 'maxLifetime: 30s')
    await usesFile(stricter)
    await reloadsAgain()
    goOn()
    t.equal((await client.answer()).status, 101)
    t.same((await client.closed()).rest, Buffer.from([0x88, 0x02, 0x03, 0xe9]))
  },
)

t.test('an upgrade that is answered two reloads later under the same rules opens', async t => {
  await usesFile(policy(TOKEN_ROUTE))
  const goOn = answerLate()
  const token = boundToken(world, world.client, 'authorization_code')
  const client = await webSocket('/live/a', '', token)
  await liveKept.arrived(1)
  await usesFile(policy(TOKEN_ROUTE, '2MiB'))
  await reloadsAgain()
  goOn()
  t.equal((await client.answer()).status, 101)
  client.write('hello')
  t.equal((await client.bytes(5)).toString(), 'hello')
  client.destroy()
})
