/** `npm start`: the whole demo on its usual ports, with commands to paste, until Ctrl-C. */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeDeath } from './child-process.js'
import { addressesFromEnvironment } from './demo-addresses.js'
import { projectRoot } from './project-root.js'
import { type Demo, runDemo } from './run-demo.js'
import { accountId, dataProvider, dataRecipient } from './sample-names.js'

/** Milliseconds. Tokens last ten minutes, so that one in the file always has some minutes left. */
const tokenRefresh = 4 * 60 * 1000

const tokenFolder = 'build/demo/tokens'
const logFolder = 'build/demo/logs'

const say = (text: string) => process.stderr.write(`${text}\n`)

/** The tokens of the commands below, each in a file that only this user can read. */
async function writeTokens({ tokens }: Demo): Promise<void> {
  const files = {
    accounts: await tokens.authorizationCodeToken(dataRecipient, ['fdx:accountbasic:read']),
    consents: await tokens.clientCredentialsToken(dataProvider, ['participantuser:consents:read']),
  }
  const folder = join(projectRoot, tokenFolder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const [name, token] of Object.entries(files)) {
    const file = join(folder, name)
    // Renamed into place, so that a command never reads half a token.
    await writeFile(`${file}.new`, token, { mode: 0o600 })
    await rename(`${file}.new`, file)
  }
}

function instructions({ addresses }: Demo): string {
  const curl = 'curl -si --cacert certs/ca.pem'
  const certificate = '--cert certs/client.pem --key certs/client.key'
  const bearer = (name: string) => `-H "Authorization: Bearer $(cat ${tokenFolder}/${name})"`
  const core = `${addresses.publicUrl}/fdx/v6/core/accounts`
  return `
Postern guards ${addresses.upstream} at ${addresses.publicUrl}. From this folder, in another terminal:

# 200: a consented token of ${dataRecipient}, with its certificate
${curl} ${certificate} ${bearer('accounts')} ${core}

# 401: the same without a token
${curl} ${certificate} ${core}

# 403: the token may read accounts, not transactions
${curl} ${certificate} ${bearer('accounts')} ${core}/${accountId}/transactions

# 401: the right token, but not the certificate that it is bound to
${curl} --cert certs/other-client.pem --key certs/other-client.key ${bearer('accounts')} ${core}

# 200: a route without mutual TLS, called by the data provider's own application
${curl} ${bearer('consents')} ${addresses.publicUrl}/participant/user/v1/consents

# metrics, and one log line per request
curl http://${addresses.admin}/metrics
tail -f ${logFolder}/sidecar.log

The tokens are renewed every four minutes. Stop with Ctrl-C.`
}

async function start(): Promise<number> {
  const addresses = addressesFromEnvironment(process.env)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => stop.abort(new Error(`stopped by ${signal} while starting`)))
  }
  const stopAsked = new Promise<'stop'>(resolve => {
    stop.signal.addEventListener('abort', () => resolve('stop'))
  })

  const logs = join(projectRoot, logFolder)
  const demo = await runDemo({ addresses, logs, progress: say, abandon: stop.signal })
  const renewal = setInterval(() => {
    writeTokens(demo).catch(error => say(`the tokens could not be renewed: ${(error as Error).message}`))
  }, tokenRefresh)
  try {
    await writeTokens(demo)
    console.log(instructions(demo))
    const end = await Promise.race([stopAsked, demo.died])
    if (end === 'stop') return 0
    // Ctrl-C reaches the children too, and one of them may be seen to end before the signal is seen here.
    if ((await Promise.race([stopAsked, pause(200)])) === 'stop') return 0
    say(describeDeath(end.child, end.how))
    return 1
  } finally {
    clearInterval(renewal)
    await demo.stop()
  }
}

const pause = (milliseconds: number) =>
  new Promise<'over'>(resolve => setTimeout(() => resolve('over'), milliseconds))

try {
  process.exit(await start())
} catch (error) {
  say((error as Error).message)
  process.exit(1)
}
