/** `npm run test:nodes` with binaries that only play Node. */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), 'nodes.js')

/** A binary for each version that prints these lines when it is given tests, and ends with this code. */
function play(
  t: Test,
  versions: Readonly<Record<string, { readonly lines: string; readonly code: number }>>,
  more: readonly string[] = [],
): Promise<{ readonly code: number; readonly lines: readonly string[] }> {
  const directory = t.testdir({})
  const binaries = Object.entries(versions).map(([version, { lines, code }]) => {
    const path = join(directory, version)
    const script = `#!/bin/sh\nif [ "$1" = --version ]; then echo ${version}; else printf '${lines}\\n'; exit ${code}; fi\n`
    writeFileSync(path, script, { mode: 0o755 })
    return path
  })
  const env = { ...process.env, NODE_BINARIES: [...binaries, ...more].join(delimiter) }
  return new Promise(resolve => {
    const child = execFile(process.execPath, [SCRIPT], { env, timeout: 30_000 }, (_error, stdout) =>
      resolve({ code: child.exitCode ?? -1, lines: stdout.trimEnd().split('\n') }),
    )
  })
}

const GOOD = { lines: 'ok   a.test.ts: 3 passed, 0 failed\\n3 passed, 0 failed', code: 0 }

t.test('every supported Node has its row, and the sum comes last', async t => {
  const { code, lines } = await play(t, {
    'v20.1.0': GOOD,
    'v22.2.0': GOOD,
    'v24.3.0': GOOD,
    'v26.4.0': GOOD,
  })
  t.equal(code, 0)
  t.match(lines[0], 'v20.1.0  ok   a.test.ts: 3 passed, 0 failed', 'progress')
  t.match(lines.slice(-6, -1), [
    /^NODE +PASSED +FAILED +SECONDS$/,
    ...['v20.1.0', 'v22.2.0', 'v24.3.0', 'v26.4.0'].map(version => new RegExp(`^${version} +3 +0 +\\d+$`)),
  ])
  t.equal(lines.at(-1), '12 passed, 0 failed')
})

t.test('a name that is no Node is said and is a failure', async t => {
  const { code, lines } = await play(t, {}, [join(t.testdir({}), 'missing')])
  t.equal(code, 1)
  t.equal(lines.at(-1), '0 passed, 1 failed')
})

t.test('a Node whose tests fail, break off or contradict themselves is a failure', async t => {
  const { code, lines } = await play(t, {
    'v20.1.0': { lines: '3 passed, 2 failed', code: 1 },
    'v22.2.0': { lines: 'Segmentation fault', code: 139 },
    'v24.3.0': { lines: '3 passed, 0 failed', code: 1 },
    'v26.4.0': GOOD,
  })
  t.equal(code, 1)
  t.match(lines.slice(-5), [
    /^v20.1.0 +3 +2 +\d+$/,
    /^v22.2.0 +0 +1 +\d+ {2}ended with 139 and no result$/,
    /^v24.3.0 +3 +1 +\d+ {2}ended with 1$/,
    /^v26.4.0 +3 +0 +\d+$/,
    '9 passed, 4 failed',
  ])
})
