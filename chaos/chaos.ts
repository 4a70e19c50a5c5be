/** `npm run chaos`: faults under load, against the real process on loopback. Prints what was wrong, lost or left over. */
import { EXIT, positive, readOptions, say, showProgress, usage } from './options.js'
import { conditions, record } from './record.js'
import { markdownTable, summary, textTable } from './report.js'
import { brokenOff, type Result, runScenario } from './run-scenario.js'
import { SCENARIOS } from './scenarios.js'

const HELP = `npm run chaos                                            every scenario, 60 s each, 200 connections
npm run chaos -- --only drain --seconds 10 --connections 50
npm run chaos -- --record                                the figures go into docs/reliability.md

  --only NAME        one scenario, or those that begin so: ${SCENARIOS.map(({ name }) => name).join(', ')}
  --seconds N        length of each (60)
  --connections N    clients at a time (200)
  --record           write the figures into docs/reliability.md
`

const options = readOptions(
  {
    seconds: { type: 'string' },
    connections: { type: 'string' },
    only: { type: 'string' },
    record: { type: 'boolean' },
  },
  HELP,
)
const seconds = positive('seconds', options.seconds as string | undefined, 60)
const connections = positive('connections', options.connections as string | undefined, 200)
const chosen = SCENARIOS.filter(
  ({ name }) => options.only === undefined || name.startsWith(String(options.only)),
)
if (chosen.length === 0) usage(`--only takes one of ${SCENARIOS.map(({ name }) => `"${name}"`).join(', ')}`)

const results: Result[] = []
for (const scenario of chosen) {
  const running = runScenario(scenario, { seconds, connections, onProgress: showProgress })
  const result = await running.catch((fault: Error) => brokenOff(scenario, fault))
  results.push(result)
  say(`${result.verdict === 'failed' ? 'FAIL' : 'ok  '} ${scenario.name}`)
  for (const note of result.notes) say(note.replace(/^/gm, '     '))
}
say(`\n${textTable(results)}\n\n${summary(results)}`)
if (options.record === true) {
  const words = `${seconds} s for each scenario, ${connections} connections`
  record('chaos', `${conditions(words)}\n\n${markdownTable(results)}`)
}
process.exit(results.some(({ verdict }) => verdict === 'failed') ? EXIT.failed : EXIT.ok)
