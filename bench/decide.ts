/**
 * What a decision costs without a network: `npm run bench:decide`. The gate is the real one, made from the policy that the
 * benchmark uses, with a bound token and its certificate; only the upstream is missing. Nanoseconds, best of several rounds.
 */
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { dirname, join } from 'node:path'
import { authorise, CHECKS } from '../src/checks/authorise.js'
import { judgeCertificate } from '../src/checks/certificate.js'
import { tokenFacts } from '../src/checks/token-facts.js'
import { loadConfiguration } from '../src/config/load.js'
import { Denial, type Verdict } from '../src/decision/denials.js'
import { createFailures } from '../src/gate/failures.js'
import type { Arrival, House } from '../src/gate/gate.js'
import { handleRequest } from '../src/gate/handle-request.js'
import { Places } from '../src/gate/places.js'
import { openLog } from '../src/observe/logger.js'
import { Metrics } from '../src/observe/metrics.js'
import { Recorder } from '../src/observe/recorder.js'
import { readCredentials } from '../src/request/credentials.js'
import { clientInteractionId } from '../src/request/interaction-id.js'
import { readRequest } from '../src/request/request-facts.js'
import { certificateAsPresented } from '../src/server/client-trust.js'
import { compose, takeOver } from '../src/server/compose.js'
import { closeUpstreams } from '../src/server/upstreams.js'
import { openMemoryBudget } from '../src/sources/budget.js'
import { readCompactJws } from '../src/sources/compact-jws.js'
import { deepFreeze } from '../src/sources/deep-freeze.js'
import { createDpop } from '../src/sources/dpop.js'
import { createMemoryReplayStore } from '../src/sources/replay-store.js'
import { KnownKeys } from '../src/sources/verify-signature.js'
import { requestHeaders } from '../src/upstream/request-headers.js'
import { responseHeaders } from '../src/upstream/response-headers.js'
import { ROOT } from '../test/support/root.js'
import { printLookup } from './lookup.js'
import { HOST, makeMaterial } from './material.js'
import { measure, measureAwaited } from './stopwatch.js'
import { postern } from './targets/postern.js'

const say = (text: string) => process.stdout.write(`${text}\n`)

/** The proof, where a refusal is a fault of the benchmark. */
function proved<T>(verdict: Verdict<T>): T {
  if (verdict instanceof Denial) throw new Error(`${verdict.code}: ${verdict.detail}`)
  return verdict
}

function print(name: string, ns: number): void {
  say(`  ${name.padEnd(44)} ${ns.toFixed(0).padStart(7)}`)
}

const work = join(ROOT, 'build', 'bench-work')
const directory = join(work, 'decide')
mkdirSync(directory, { recursive: true })
const material = await makeMaterial(work, 'ES256', 'ec', 1, say)
const { args } = postern().prepare({ port: 1, upstreamPort: 1, directory, material })
const configuration = await loadConfiguration(args.at(-1) as string, {})
if (!('settings' in configuration)) throw new Error(`the policy in ${dirname(directory)} does not load`)

const log = openLog('info', { sink: { write: () => {} } })
const stopwatch = () => performance.now() / 1000
const metrics = new Metrics('bench')
const house: House = {
  log,
  metrics,
  recorder: new Recorder(log, metrics),
  now: () => Date.now() / 1000,
  stopwatch,
  isDraining: () => false,
  places: new Places(1000),
  failures: createFailures(openMemoryBudget('failures', { count: 60, perSeconds: 60 }), 60, stopwatch),
}
const dpop = createDpop(createMemoryReplayStore(house.now, 1000), Buffer.alloc(32))
const running = compose(configuration, null, house, {
  via: 'postern-bench',
  dpop,
  openBudget: openMemoryBudget,
})
takeOver(running, null)
const { gate, bundle } = running
const now = house.now()
const presented = certificateAsPresented(
  new X509Certificate(readFileSync(material.client.cert)),
  bundle,
  configuration.settings.server.tls.clients,
)
const rawHeaders = [
  ...['Host', HOST, 'User-Agent', 'bench', 'Accept', 'application/json'],
  ...['Authorization', `Bearer ${material.cases.good}`],
]
const head = { method: 'GET', url: '/api/small', httpVersion: '1.1', rawHeaders }
/** No more of the client than is looked at when the answer is written by somebody else. */
const arrival: Arrival = {
  request: head as unknown as IncomingMessage,
  response: {} as ServerResponse,
  upgrade: null,
  clientAddress: '127.0.0.1',
  interactionId: 'c770aef3-6784-41f7-8e0e-ff5f97bddb3a',
  certificate: presented,
  gateInUse: () => gate,
  malformed: () => null,
}
const request = proved(readRequest(head, gate.served))
const match = proved(gate.routes.match(request.method, request))
const rule = match.route.token
if (rule === null) throw new Error('the route asks for no token')
const credentials = proved(readCredentials(request.headers, request.query))
const admitAll = async () => null
const token = proved(await gate.authenticate(credentials, rule.issuers, now, admitAll))
const certificate = judgeCertificate(presented, gate.trust, now) ?? presented
const proofs = { request, match, certificate, token, proof: null, now }
const grant = proved(authorise(proofs))

say('step                                             ns')
print(
  'x-fapi-interaction-id',
  measure(() => clientInteractionId(rawHeaders)),
)
print(
  'read the request',
  measure(() => readRequest(head, gate.served)),
)
print(
  'certificate of the connection',
  measure(() => gate.clientOf(arrival, now)),
)
print(
  'match the route',
  measure(() => gate.routes.match(request.method, request)),
)
print(
  'read the credentials',
  measure(() => readCredentials(request.headers, request.query)),
)
print(
  'judge the certificate',
  measure(() => judgeCertificate(presented, gate.trust, now)),
)
print(
  'facts of a known token',
  measure(() => gate.authenticate(credentials, rule.issuers, now, admitAll)),
)
const keys = running.sources.get('main')?.keys ?? null
if (keys === null) throw new Error('the issuer has no keys')
const jws = proved(readCompactJws(credentials.token))
const candidates = proved(await keys.keysFor(jws.header))
const knownKeys = new KnownKeys()
const signature = () => knownKeys.problem(credentials.token, jws.header.alg, candidates)
await signature() // the first of a key is jose's
print(
  'a new token: read it',
  measure(() => readCompactJws(credentials.token)),
)
print('  its signature', measure(signature))
print(
  '  its facts',
  measure(() => tokenFacts(deepFreeze(jws.claims), token.rules)),
)
print(
  'authorise: all checks',
  measure(() => authorise(proofs)),
)
const subject = { request, match, rule, token, certificate, proof: null, now }
for (const check of CHECKS)
  print(
    `  ${check.name}`,
    measure(() => check.judge(subject)),
  )
const forwarded = { status: 200, end: 'complete', upstreamMs: 1 } as const
const unheard: House = { ...house, recorder: new Recorder({ ...log, isInfoEnabled: false }, metrics) }
const gateAlone = { ...gate, forward: async () => forwarded }
const arrivalAlone = { ...arrival, gateInUse: () => gateAlone }
const whole = await measureAwaited(() => handleRequest(house, arrivalAlone))
const withoutLog = await measureAwaited(() => handleRequest(unheard, arrivalAlone))
print('the whole life, nothing forwarded', whole)
print('  of which the line of the log', whole - withoutLog)
const rules = { via: gate.served.via, authorization: 'forward', clientCert: 'strip' } as const
print(
  'header to the upstream',
  measure(() => requestHeaders(grant, arrival, rules, null)),
)
const answer = {
  status: 200,
  headers: [
    ...['Server', 'nginx', 'Date', new Date().toUTCString(), 'Content-Type', 'application/json'],
    ...['Content-Length', '1024', 'Connection', 'keep-alive'],
  ],
}
const answerRules = { interactionId: arrival.interactionId, isPublic: false, now: new Date(), closes: false }
print(
  'header of the answer',
  measure(() => responseHeaders(answer, answerRules)),
)
printLookup()
for (const { tokens } of running.sources.values()) tokens.close()
closeUpstreams(running.upstreams)
