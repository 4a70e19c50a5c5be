import { type ParseArgsConfig, parseArgs } from 'node:util'
import { EXIT, fail, print } from './output.js'
import { version } from './version.js'

type Options = NonNullable<ParseArgsConfig['options']>
export type Values = Readonly<Record<string, string | boolean | undefined>>

/** What a command is given. */
export interface Invocation {
  readonly positionals: readonly string[]
  readonly values: Values
  readonly environment: NodeJS.ProcessEnv
}

interface Command {
  readonly summary: string
  /** Lead the help: what people copy. */
  readonly examples: readonly (readonly [line: string, meaning: string])[]
  readonly usage: string
  /** How many arguments: least and most. */
  readonly positionals: readonly [number, number]
  readonly options: Readonly<Record<string, Options[string] & { readonly help: string }>>
  /** Returns the exit code. Loaded when called, so that `--help` starts at once. */
  readonly run: (invocation: Invocation) => Promise<number>
}

const CONFIG = {
  config: {
    type: 'string',
    short: 'c',
    help: 'FILE  the policy (default: $POSTERN_CONFIG, or policies.yaml)',
  },
} as const
const JSON_OUTPUT = { json: { type: 'boolean', help: 'print JSON for machines' } } as const

const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    summary: 'run the sidecar',
    examples: [
      ['postern serve', 'with policies.yaml in this folder'],
      ['postern serve -c /etc/postern/policies.yaml', 'with another policy'],
      ['kill -HUP PID', 'reload the policy, certificates and lists'],
    ],
    usage: 'postern serve [-c FILE]',
    positionals: [0, 0],
    options: CONFIG,
    run: async invocation => (await import('./serve.js')).serve(invocation),
  },
  check: {
    summary: 'find every problem of a policy, or show what it means',
    examples: [
      ['postern check', 'the problems with line and hint, or the table of routes'],
      ['postern check -c policies.yaml --json', 'the same for a pipeline'],
    ],
    usage: 'postern check [-c FILE] [--json]',
    positionals: [0, 0],
    options: { ...CONFIG, ...JSON_OUTPUT },
    run: async invocation => (await import('./check.js')).check(invocation),
  },
  explain: {
    summary: 'show how one request would be judged, and on what each answer rests',
    examples: [
      ['postern explain GET /fdx/v6/core/accounts', 'which route it is and what it asks for'],
      [
        'postern explain GET /fdx/v6/core/accounts --token token.txt --cert client.pem',
        'would this client pass?',
      ],
      [
        'postern explain GET /fdx/v6/core/accounts --claims claims.json --at 2026-12-01T00:00:00Z',
        'and in December?',
      ],
    ],
    usage:
      'postern explain METHOD PATH [-c FILE] [--token FILE | --claims FILE] [--cert FILE] [--proof FILE] [--at TIME] [--json]',
    positionals: [2, 2],
    options: {
      ...CONFIG,
      token: {
        type: 'string',
        help: 'FILE  an access token; without a network its signature is checked only with key files',
      },
      claims: { type: 'string', help: 'FILE  the claims of a token as JSON, taken as authentic' },
      cert: { type: 'string', help: 'FILE  the client certificate as PEM' },
      proof: { type: 'string', help: 'FILE  the DPoP header that comes with the token' },
      at: { type: 'string', help: 'TIME  judge at this time instead of now' },
      ...JSON_OUTPUT,
    },
    run: async invocation => (await import('./explain.js')).explain(invocation),
  },
  certs: {
    summary: 'make a development CA, server and client certificates',
    examples: [
      ['postern certs', 'into certs/'],
      ['postern certs /tmp/pki --force', 'into another folder, replacing what is there'],
    ],
    usage: 'postern certs [DIR] [--force]',
    positionals: [0, 1],
    options: { force: { type: 'boolean', help: 'replace files that exist' } },
    run: async invocation => (await import('./certs-command.js')).certs(invocation),
  },
  schema: {
    summary: 'print the JSON Schema of the policy file, for editors',
    examples: [
      ['postern schema > policies.schema.json', 'completion and hover texts in VS Code, JetBrains, Vim …'],
    ],
    usage: 'postern schema',
    positionals: [0, 0],
    options: {},
    run: async () => (await import('./schema.js')).schema(),
  },
  healthcheck: {
    summary: 'ask a running sidecar whether it is ready; exit code 0 or 1',
    examples: [
      ['postern healthcheck', 'at the admin address of the policy'],
      ['postern healthcheck --url http://127.0.0.1:9464', 'at another address'],
    ],
    usage: 'postern healthcheck [-c FILE] [--url URL]',
    positionals: [0, 0],
    options: { ...CONFIG, url: { type: 'string', help: 'URL  the admin server' } },
    run: async invocation => (await import('./healthcheck.js')).healthcheck(invocation),
  },
}

/** Runs the command line; never throws. Returns the exit code. */
export async function runCommand(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h') {
    print(overview())
    return EXIT.ok
  }
  if (name === 'help') return help(rest[0])
  if (name === '--version' || name === '-v') {
    print(version())
    return EXIT.ok
  }
  const command = commandNamed(name)
  if (command === undefined) return noCommand(name)
  const options: Options = { help: { type: 'boolean', short: 'h' } }
  for (const [option, { help: _, ...config }] of Object.entries(command.options)) options[option] = config
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    parsed = parseArgs({ args: rest, options, allowPositionals: true, strict: true })
  } catch (problem) {
    fail((problem as Error).message, `see postern ${name} --help`)
    return EXIT.usage
  }
  if (parsed.values.help === true) {
    print(helpOf(name, command))
    return EXIT.ok
  }
  const [least, most] = command.positionals
  if (parsed.positionals.length < least || parsed.positionals.length > most) {
    fail(`wrong number of arguments for ${name}`, `usage: ${command.usage}`, `see postern ${name} --help`)
    return EXIT.usage
  }
  try {
    return await command.run({
      positionals: parsed.positionals,
      values: parsed.values as Values,
      environment,
    })
  } catch (fault) {
    fail(fault instanceof Error ? fault.message : String(fault))
    return EXIT.failure
  }
}

function commandNamed(name: string): Command | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
}

function noCommand(name: string): number {
  fail(
    `there is no command "${name}"`,
    `the commands are ${Object.keys(COMMANDS).join(', ')}`,
    'see postern --help',
  )
  return EXIT.usage
}

function help(topic: string | undefined): number {
  const command = topic === undefined ? undefined : commandNamed(topic)
  if (topic === undefined) print(overview())
  else if (command === undefined) return noCommand(topic)
  else print(helpOf(topic, command))
  return EXIT.ok
}

/** The policy file of an invocation: flag, then environment, then the default. */
export function policyFile({ values, environment }: Invocation): string {
  return typeof values.config === 'string' ? values.config : (environment.POSTERN_CONFIG ?? 'policies.yaml')
}

function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map(name => name.length))
  return `Postern: a reverse proxy that lets through what the policy allows, and nothing else.

Examples:
  postern certs                                  make development certificates in certs/
  postern check                                  find every problem of policies.yaml, or show what it means
  postern serve                                  run the sidecar
  postern explain GET /fdx/v6/core/accounts      show how a request would be judged

Commands:
${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`)
  .join('\n')}

postern COMMAND --help says more. Exit codes: 0 ok, 1 failure, 2 usage, 78 invalid policy.`
}

function helpOf(name: string, { summary, examples, usage, options }: Command): string {
  const lines = Object.entries(options).map(
    ([option, { short, help }]) =>
      `  ${short === undefined ? '    ' : `-${short}, `}--${option.padEnd(8)} ${help}`,
  )
  const width = Math.max(...examples.map(([line]) => line.length))
  return `postern ${name}: ${summary}

Examples:
${examples.map(([line, meaning]) => `  ${line.padEnd(width)}   ${meaning}`).join('\n')}

Usage: ${usage}
${lines.length === 0 ? '' : `\nOptions:\n${lines.join('\n')}\n`}`
}
