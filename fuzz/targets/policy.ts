import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { loadConfiguration } from '../../src/config/load.js'
import { createAuthority } from '../../test/support/pki.js'
import { newSigningKey } from '../../test/support/token-issuer.js'
import type { Random } from '../random.js'
import { promise, type Target } from '../target.js'
import { PARTS, WORST_POLICIES } from './policy-texts.js'

/** A value of the environment that a policy may use and no message may repeat. */
const SECRET = 'Wrought-Iron-7719'
const ENVIRONMENT = { SECRET, PORT: '8443', EMPTY: '', ONE: '1' }

/** The largest file that is read. */
const MAX_LENGTH = 1024 * 1024 + 1

/** A directory with the files that policies name, made when the first policy comes. */
let directory: Promise<string> | null = null

async function makeDirectory(): Promise<string> {
  const made = mkdtempSync(join(tmpdir(), 'postern-fuzz-'))
  const authority = await createAuthority('Fuzz CA')
  const server = await authority.issue({
    commonName: 'api.bank.example',
    sanDns: ['api.bank.example'],
    key: 'rsa-2048',
    extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
  })
  writeFileSync(join(made, 'server.pem'), server.certificatePem)
  writeFileSync(join(made, 'server.key'), server.keyPem, { mode: 0o600 })
  writeFileSync(join(made, 'ca.pem'), authority.certificatePem)
  writeFileSync(join(made, 'jwks.json'), JSON.stringify({ keys: [newSigningKey('ES256', 'one').jwk] }))
  return made
}

/** Reads policies: all of it or every problem with its place, and never an exception. */
export const policy: Target = {
  name: 'policy',
  maxLength: MAX_LENGTH,
  // Of any file of at most 1 MiB; a reload reads policies beside the requests.
  maxMs: 2500,
  words: [
    ...[
      '\n',
      '\n  ',
      ': ',
      '- ',
      '? ',
      '[',
      ']',
      '{',
      '}',
      ',',
      '#',
      '&a ',
      '*a',
      '!x ',
      '|\n',
      '>\n',
      '"',
      "'",
      '---\n',
      '%YAML 1.1\n',
      '<<: ',
      '\t',
      '\ufeff',
      '\xff',
    ],
    ...[
      `\${SECRET}`,
      `\${PORT}`,
      `\${EMPTY:-x}`,
      `\${ONE}`,
      `\${NONE}`,
      `\${`,
      '$$',
      '~',
      'true',
      '0',
      '-1',
      '1e9',
      '0x10',
      '.inf',
      '12s',
      '1KiB',
      '0',
      'null',
    ],
    ...[
      'version: 1',
      'server:',
      'issuers:',
      'apis:',
      'routes:',
      'scopes: none',
      'flow: authorization_code',
      'security: public',
      'GET /a: {}',
      'GET /{id}: {}',
      'GET /{rest...}: {}',
    ],
    ...[
      'server.pem',
      'server.key',
      'ca.pem',
      'jwks.json',
      'missing.pem',
      '__proto__',
      'constructor',
      'defaults: {}',
      'dpop: {}',
      'claims: []',
      'introspection: {}',
    ],
  ],
  generate: random => (random.oneIn(8) ? yaml(random, 0) : fromParts(random)),
  async judge(input) {
    directory ??= makeDirectory()
    const file = join(await directory, 'policy.yaml')
    writeFileSync(file, Buffer.from(input, 'latin1'))
    const loaded = await loadConfiguration(file, ENVIRONMENT)
    const problems = 'settings' in loaded ? loaded.warnings : loaded
    judgePlaces(problems, file, input)
    if (!('settings' in loaded)) {
      promise(loaded.length > 0, 'nothing was loaded and no problem says why')
      const first = loaded[0]?.message.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""') ?? ''
      return first.split(/[:;,]/)[0]?.slice(0, 40) ?? ''
    }
    // The parser by itself, with its own look for duplicate keys (which takes minutes where there are many).
    if (input.length < 64 * 1024) {
      const text = Buffer.from(input, 'latin1').toString()
      const tree: unknown = parse(text, {
        uniqueKeys: true,
        strict: true,
        stringKeys: true,
        logLevel: 'error',
      })
      promise(typeof tree === 'object' && tree !== null, 'a configuration that is no map')
    }
    for (const route of loaded.routes.routes)
      promise(
        route.token !== null || route.mtls || /public/.test(input),
        'a public route that nobody asked for',
      )
    return `loaded, ${Math.min(9, loaded.routes.routes.length)} routes`
  },
  worst: WORST_POLICIES,
  async close() {
    if (directory !== null) rmSync(await directory, { recursive: true, force: true })
    directory = null
  },
}

function judgePlaces(
  problems: readonly {
    readonly file: string
    readonly line: number
    readonly column: number
    readonly message: string
    readonly hint: string
  }[],
  file: string,
  input: string,
): void {
  const lines = Buffer.from(input, 'latin1').toString().split('\n')
  for (const { file: named, line, column, message, hint } of problems) {
    promise(named === file, 'a problem of another file')
    promise(Number.isInteger(line) && line >= 1 && line <= lines.length, 'a problem beyond the last line')
    promise(
      Number.isInteger(column) && column >= 1 && column <= (lines[line - 1]?.length ?? 0) + 1,
      'a problem beyond the end of its line',
    )
    promise(
      message.trim() !== '' && !message.includes('undefined') && !message.includes('[object'),
      'a problem without words',
    )
    promise(!`${message}${hint}`.includes(SECRET), 'a problem repeats a value of the environment')
  }
}

function fromParts(random: Random): string {
  const seldom = random.below(6)
  return `${PARTS.map(part => (random.below(8) < seldom ? random.pick(part) : part[0])).join('\n')}\n`
}

/** YAML of any kind, with indentation that is mostly right. */
function yaml(random: Random, depth: number): string {
  const scalar = () =>
    random.pick([
      'a',
      '1',
      'true',
      '""',
      "'x'",
      '"\\u0041"',
      '~',
      '*a',
      '&a b',
      '!!str 1',
      `\${ONE}`,
      '|\n x',
      '>-\n x',
      'a: b',
      '\xc3\xa9',
    ])
  if (depth > 4 || random.oneIn(3)) return scalar()
  const indent = '  '.repeat(depth)
  switch (random.below(4)) {
    case 0:
      return random.repeat(
        1,
        4,
        () =>
          `\n${indent}${random.pick(['a', 'b', 'version', 'apis', 'routes', '"q"', '? k', '*a ', '<<'])}: ${yaml(random, depth + 1)}`,
      )
    case 1:
      return random.repeat(1, 4, () => `\n${indent}- ${yaml(random, depth + 1)}`)
    case 2:
      return `[${random.repeat(0, 4, () => yaml(random, depth + 3), ', ')}]`
    default:
      return `{${random.repeat(0, 4, () => `k${random.below(3)}: ${yaml(random, depth + 3)}`, ', ')}}`
  }
}
