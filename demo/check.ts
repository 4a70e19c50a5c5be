/** `npm run demo:check`: every row of api-security.md in every situation of a client, and the clients of further.yaml. */
import { parseArgs } from 'node:util'
import { fetch } from 'undici'
import { describeDeath } from './child-process.js'
import { addressesFromEnvironment, freeAddresses, furtherFromEnvironment } from './demo-addresses.js'
import { readEndpointTable, scopesOf } from './endpoint-table.js'
import { failureDetails, furtherTable, resultTable } from './result-table.js'
import { type Demo, runDemo } from './run-demo.js'
import { type Delivery, seenRequests } from './send-request.js'
import { attemptsOf } from './situations.js'
import { walkEndpoints } from './walk-endpoints.js'
import { walkFurther } from './walk-further.js'

const usage = `Usage: npm run demo:check [-- --fixed-ports]

Starts the demo, walks every row of demo/api-security.md and the clients of
demo/further.yaml, and ends with "N passed, N failed".
It takes free ports, so that it can run beside a running demo; with --fixed-ports it takes
those of POSTERN_LISTEN, POSTERN_ADMIN_LISTEN, POSTERN_ISSUER, POSTERN_UPSTREAM,
POSTERN_FURTHER_LISTEN and POSTERN_FURTHER_ADMIN_LISTEN.`

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`)
}

/** Samples of what no row names; they show that the default is to refuse, not that the policy has no further route. */
const unnamedPaths = ['/-/requests', '/', '/fdx/v6/core']

async function pathsOutsideTheTable(demo: Demo): Promise<string[]> {
  const token = await demo.tokens.clientCredentialsToken('data-recipient', [])
  const complaints: string[] = []
  for (const path of unnamedPaths) {
    const response = await fetch(`${demo.addresses.publicUrl}${path}`, {
      headers: { authorization: `Bearer ${token}` },
      dispatcher: demo.identities['data-recipient'],
    })
    await response.body?.cancel()
    if (response.status !== 404) complaints.push(`GET ${path} answered ${response.status}, expected 404`)
  }
  return complaints
}

/** Counts what came without any request of ours: the data provider must have seen nothing else. */
async function strangersUpstream(demo: Demo, results: readonly Delivery[]): Promise<string[]> {
  const ours = new Set(results.map(({ interactionId }) => interactionId))
  const strangers = (await seenRequests(demo.addresses.upstream)).filter(
    ({ interactionId = '' }) => !ours.has(interactionId),
  )
  return strangers.map(({ method, path }) => `the data provider saw ${method} ${path}, which no row allowed`)
}

async function check(demo: Demo): Promise<boolean> {
  const rows = readEndpointTable()
  const scopes = scopesOf(rows)
  const attempts = rows.flatMap(row => attemptsOf(row, scopes))
  const rowResults = await walkEndpoints(demo, attempts, done =>
    showProgress(`${done} of ${attempts.length} requests`),
  )
  const outside = await pathsOutsideTheTable(demo)
  const { further } = demo.addresses
  const furtherResults = further ? await walkFurther(demo, further, showProgress) : []
  const results = [...rowResults, ...furtherResults]
  const strangers = await strangersUpstream(demo, results)
  showProgress('')

  const failures = failureDetails(results)
  const others = [
    { what: `no row names ${unnamedPaths.join(', ')}: 404`, complaints: outside },
    { what: 'the data provider saw nothing but what the rows allow', complaints: strangers },
  ]
  console.log(`${resultTable(rowResults)}\n\n${furtherTable(furtherResults)}\n`)
  for (const { what, complaints } of others) {
    console.log([`${complaints.length === 0 ? '✓' : '✗'} ${what}`, ...complaints].join('\n    '))
  }
  if (failures) console.log(`\n${failures}`)

  const failed = [...results, ...others].filter(({ complaints }) => complaints.length > 0).length
  console.log(`\n${results.length + others.length - failed} passed, ${failed} failed`)
  return failed === 0
}

async function run(fixedPorts: boolean): Promise<boolean> {
  const stop = new AbortController()
  const stopped = new Promise<never>((_resolve, reject) => {
    stop.signal.addEventListener('abort', () => reject(stop.signal.reason))
  })
  // It may reject when nobody waits for it: while the demo starts, or after the check.
  stopped.catch(() => {})
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => stop.abort(new Error(`stopped by ${signal}`)))
  }

  const addresses = fixedPorts
    ? { ...addressesFromEnvironment(process.env), further: furtherFromEnvironment(process.env) }
    : await freeAddresses()
  const demo = await runDemo({ addresses, progress: showProgress, abandon: stop.signal })
  const died = demo.died.then(({ child, how }) => {
    throw new Error(describeDeath(child, how))
  })
  // It settles in any case when the demo is stopped.
  died.catch(() => {})
  try {
    return await Promise.race([check(demo), died, stopped])
  } finally {
    await demo.stop()
  }
}

function readArguments(): { fixedPorts: boolean; help: boolean } {
  try {
    const options = { 'fixed-ports': { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
    const { values } = parseArgs({ options })
    return { fixedPorts: values['fixed-ports'] === true, help: values.help === true }
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    process.exit(2)
  }
}

const { fixedPorts, help } = readArguments()
if (help) {
  console.log(usage)
} else {
  try {
    process.exitCode = (await run(fixedPorts)) ? 0 : 1
  } catch (error) {
    showProgress('')
    console.error((error as Error).message)
    console.log('0 passed, 1 failed')
    process.exitCode = 1
  }
}
