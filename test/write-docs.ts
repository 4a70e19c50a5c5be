/** `npm run docs`: the references in docs/ that are made from the code, so that they cannot drift from it. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { policyJsonSchema } from '../src/config/json-schema.js'
import { type Challenge, DENIALS, type Step } from '../src/decision/denials.js'
import { METRICS, type MetricSpec } from '../src/observe/metric-table.js'
import { ROOT } from './support/root.js'
import { licencesPage } from './support/supply-chain.js'

/** The generated files, by their names, as they should be. */
export function generatedDocs(): ReadonlyMap<string, string> {
  return new Map([
    ['docs/denials.md', denialsPage()],
    ['docs/metrics.md', metricsPage()],
    ['docs/policy-reference.md', policyPage()],
    ['docs/licences.md', licencesPage()],
  ])
}

const MADE = (source: string) => `<!-- Made by \`npm run docs\` from ${source}. Edit that file instead. -->\n`

/** In the order in which a request meets them. */
const STEPS: Readonly<Record<Step, string>> = {
  takePlace: 'There is a place among the requests that are handled at a time.',
  readRequest: 'The bytes are read as one request with one meaning.',
  matchRoute: 'The path and method are looked up in the policy.',
  countRequest:
    'The request is counted on the budgets of its route: by address and certificate here, by client and subject once it is granted.',
  readCredentials: 'The access token is taken from the Authorization header.',
  checkCertificate: 'The client certificate of the connection is judged.',
  authenticateToken:
    'The token is checked for what its issuer says of it: form, algorithm, type, issuer, signature.',
  verifyProof:
    'With the scheme DPoP the proof is read and verified with its own key, and judged for this request, token and time.',
  authorise: 'The token is judged for this route, at this time, on this connection.',
  spendProof: 'A DPoP proof that is right in every other respect is used up: it is good once.',
  forward: 'The request goes to the upstream and the answer comes back.',
}

const CHALLENGES: Readonly<Record<Challenge, string>> = {
  none: '-',
  bare: '`Bearer`',
  invalid_request: '`Bearer error="invalid_request"`',
  invalid_token: '`Bearer error="invalid_token"`',
  insufficient_scope: '`Bearer error="insufficient_scope"`',
  insufficient_user_authentication: '`Bearer error="insufficient_user_authentication"`',
  invalid_dpop_proof: '`DPoP error="invalid_dpop_proof"`',
  use_dpop_nonce: '`DPoP error="use_dpop_nonce"` and `DPoP-Nonce`',
}

function denialsPage(): string {
  const sections = Object.entries(STEPS).map(([step, meaning]) => {
    const rows = Object.entries(DENIALS)
      .filter(([, spec]) => spec.step === step)
      .map(([code, { status, challenge, fdx, message, hint }]) => [
        `\`${code}\``,
        String(status),
        CHALLENGES[challenge],
        `\`${fdx}\``,
        message,
        hint,
      ])
    return `## ${step}\n\n${meaning}\n\n${table(['Code', 'Status', 'WWW-Authenticate', 'FDX code', 'What the client reads', 'Where to look'], rows)}`
  })
  return `${MADE('src/decision/catalogue.ts')}
# Refusals

Every refusal has one of these codes. The code is in the log line (\`code\`), in \`postern_denials_total{route,code}\` and
in what \`postern explain\` prints. The client does not read it: the client gets the status, the challenge and the words
below, and the operator's detail stays in the log (\`detail\`).

The first step that fails answers, in the order of the sections. Bodies are \`{"code":"<FDX code>","message":"…"}\`, or
\`application/problem+json\` with \`errors: problem\`. Every refusal carries \`Cache-Control: no-store\` and
\`x-fapi-interaction-id\`; the same id is in the log.

A client that used the scheme DPoP reads \`DPoP algs="…", error="…"\` where the tables say \`Bearer error="…"\`. Others hear of \`DPoP algs="…"\` in a
second line, on routes where a DPoP-bound token would do.

${sections.join('\n\n')}
`
}

const OUTCOMES = [
  ['`allowed`', 'The request was forwarded; the status is that of the upstream.'],
  ['`denied`', 'Refused with a 4xx: the policy or the client.'],
  ['`failed`', 'A 5xx of Postern, or an answer that the upstream broke off: an outage, not an attack.'],
]

function metricsPage(): string {
  const specs: readonly MetricSpec[] = Object.values(METRICS)
  const rows = specs.map(({ name, labels, help, across = 'sum' }) => [
    `\`${name}\``,
    labels.map(label => `\`${label}\``).join(', ') || '-',
    help,
    across,
  ])
  return `${MADE('src/observe/metric-table.ts')}
# Metrics

On \`/metrics\` of the admin address, in the text format of Prometheus. Times are in seconds. Labels are ids of routes
and words of closed lists; never a path, a client or a token, so the number of series is bounded by the policy.

${table(['Name', 'Labels', 'Meaning', 'Of several workers'], rows)}

\`route\` is the id of the route in the policy, such as \`GET /fdx/v6/core/accounts\`, or \`unmatched\`. \`method\` is one of the
known methods, or \`other\`. \`code\` is one of the [refusals](denials.md). \`outcome\` is one of:

${table(['Outcome', 'Meaning'], OUTCOMES)}

With \`server.workers\`, what each worker says becomes one sample: the sum, the least (\`min\`) or the greatest (\`max\`) of them. Counters of a
worker that ended stay as they were at the scrape before. One that does not answer within a second stands there as at the scrape before, and
in \`postern_workers_silent\`. Of the default metrics, event loop lags are those of the slowest process, \`process_open_fds\` and \`process_max_fds\`
those of the one that is nearest to its limit, \`process_start_time_seconds\` that of the first; the others are sums.

The default metrics of \`prom-client\` for the process, the garbage collector and the event loop come on top, except the three
gauges whose names end in \`_total\`, which \`promtool check metrics\` refuses.
`
}

interface Schema {
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | Schema
  readonly propertyNames?: Schema
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly default?: unknown
  readonly description?: string
  readonly definitions?: Readonly<Record<string, Schema>>
  readonly $ref?: string
}

function policyPage(): string {
  const root = policyJsonSchema() as Schema
  const definitions = root.definitions ?? {}
  const resolve = (schema: Schema) => resolved(schema, definitions)
  const sections = Object.entries(root.properties ?? {}).map(([key, schema]) => {
    const rows = [row(key, schema, root, resolve), ...rowsBelow(key, schema, resolve)]
    return `## ${key}\n\n${table(['Key', 'Type', 'Default', 'Meaning'], rows)}`
  })
  const named = Object.entries(definitions)
    .filter(([name]) => !name.startsWith('_'))
    .map(([name, schema]) => {
      const type = schema.properties === undefined ? `Type: ${typeOf(schema, resolve)}.` : ''
      const words = escaped([schema.description ?? '', type].filter(part => part !== '').join(' '))
      const rows = rowsBelow('', schema, resolve)
      return `## ${name}\n\n${words}\n\n${table(['Key', 'Type', 'Default', 'Meaning'], rows)}`
    })
  return `${MADE('src/config/schema.ts')}
# The policy file

Every key that a policy file may have. A key that is not here does not load. \`[]\` stands for the entries of a list, and
\`<name>\` for a name of your choice. A key without a default that is **required** must be there; the others may be left out.

Durations carry a unit (\`ms\`, \`s\`, \`m\`, \`h\`, \`d\`), and so do sizes (\`B\`, \`KiB\`, \`MiB\`, \`GiB\`). Any value may be written
\`\${NAME}\` or \`\${NAME:-default}\` to take it from the environment. File names count from the folder of the policy file.
Settings of a route override those of its API, and these override \`defaults\`. For security, flow and scopes there is nothing
to fall back on: a route for which none of the three says them does not load.

${[...sections, ...named].join('\n\n')}
`
}

type Resolve = (schema: Schema) => Schema

/** A reference, or a lone allOf of one, replaced by what it stands for; texts of the place win. */
function resolved(schema: Schema, definitions: Readonly<Record<string, Schema>>): Schema {
  const reference = schema.$ref ?? (schema.allOf?.length === 1 ? schema.allOf[0]?.$ref : undefined)
  if (reference === undefined) return schema
  const name = reference.split('/').at(-1) ?? ''
  const { $ref: _, allOf: __, ...own } = schema
  return { ...definitions[name], ...own }
}

function nameOfReference(schema: Schema): string | null {
  const reference = schema.$ref ?? (schema.allOf?.length === 1 ? schema.allOf[0]?.$ref : undefined)
  const name = reference?.split('/').at(-1) ?? null
  return name === null || name.startsWith('_') ? null : name
}

function rowsBelow(path: string, schema: Schema, resolve: Resolve): string[][] {
  const name = nameOfReference(schema)
  if (name !== null) return [] // has a section of its own
  const {
    properties = {},
    items,
    anyOf = [],
    oneOf = [],
    additionalProperties,
    propertyNames,
  } = resolve(schema)
  const prefix = path === '' ? '' : `${path}.`
  const rows = Object.entries(properties).flatMap(([key, value]) => [
    row(`${prefix}${key}`, value, resolve(schema), resolve),
    ...rowsBelow(`${prefix}${key}`, value, resolve),
  ])
  if (typeof additionalProperties === 'object') {
    const entry = propertyNames?.pattern?.includes('GET') === true ? '<METHOD /path>' : '<name>'
    rows.push(...rowsBelow(`${prefix}${entry}`, additionalProperties, resolve))
  }
  if (items !== undefined) rows.push(...rowsBelow(`${path}[]`, items, resolve))
  const known = new Set<string>()
  for (const option of anyOf)
    for (const below of rowsBelow(path, option, resolve)) {
      if (!known.has(below[0] as string)) rows.push(below)
      known.add(below[0] as string)
    }
  // One after the other: the same key means something else in each.
  for (const option of oneOf) rows.push(...rowsBelow(path, option, resolve))
  return rows
}

function row(path: string, schema: Schema, parent: Schema, resolve: Resolve): string[] {
  const full = resolve(schema)
  const key = path.split('.').at(-1) ?? path
  const required = parent.required?.includes(key.replace(/\[\]$/, '')) === true
  return [`\`${path}\``, typeOf(schema, resolve), defaultOf(full, required), full.description ?? '']
}

function defaultOf({ default: standard }: Schema, required: boolean): string {
  if (standard === undefined) return required ? '**required**' : '-'
  if (typeof standard === 'object' && standard !== null && Object.keys(standard).length === 0) return '-'
  return `\`${typeof standard === 'string' ? standard : JSON.stringify(standard)}\``
}

/** The type in words. A value from the environment is always possible and not repeated here. */
function typeOf(schema: Schema, resolve: Resolve): string {
  const name = nameOfReference(schema)
  if (name !== null) return `[${name}](#${name.toLowerCase()})`
  const { type, items, enum: values, const: only, minimum, maximum, pattern, ...rest } = resolve(schema)
  const anyOf = rest.anyOf ?? rest.oneOf
  if (only !== undefined) return `\`${String(only)}\``
  if (values !== undefined) return oneOf(values.map(value => `\`${String(value)}\``))
  if (anyOf !== undefined) {
    const options = anyOf.filter(option => !isFromEnvironment(option)).map(option => typeOf(option, resolve))
    return [...new Set(options)].join(', or ')
  }
  if (type === 'array') return `list of ${items === undefined ? 'anything' : typeOf(items, resolve)}`
  if (type === 'object') return mapOf(rest.additionalProperties, resolve)
  if (type === 'integer' || type === 'number')
    return minimum !== undefined && maximum !== undefined ? `${minimum} to ${maximum}` : 'number'
  if (Array.isArray(type)) return type.map(one => (one === 'string' ? 'text' : one)).join(', or ')
  if (type === 'boolean') return '`true` or `false`'
  if (pattern?.includes('(?:ms|s|m|h|d)') === true) return 'duration'
  if (pattern?.includes('(?:B|KiB|MiB|GiB)') === true) return 'size'
  if (pattern?.includes('%$') === true) return 'percentage'
  return type === 'string' ? 'text' : 'anything'
}

/** Entries with a section of their own are named; the keys of all others follow in the table. */
function mapOf(entries: Schema['additionalProperties'], resolve: Resolve): string {
  const type = typeof entries === 'object' ? typeOf(entries, resolve) : ''
  if (!type.includes('](#')) return 'map'
  return type.includes(', or ') ? `map of (${type})` : `map of ${type}`
}

/** `a`, `b` or `c`. */
function oneOf(values: readonly string[]): string {
  return [values.slice(0, -1).join(', '), values.at(-1)].filter(part => part !== '').join(' or ')
}

function isFromEnvironment({ type, pattern }: Schema): boolean {
  return type === 'string' && pattern === '\\$\\{'
}

/** A Markdown table; `|` and `<` of the cells stand for themselves. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(' | ')} |`
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n')
}

function escaped(cell: string): string {
  const parts = cell.split(/(`[^`]*`)/)
  return parts
    .map(part => (part.startsWith('`') ? part : part.replaceAll('<', '&lt;')))
    .join('')
    .replaceAll('|', '\\|')
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === process.argv[1]) {
  for (const [name, text] of generatedDocs()) {
    const path = join(ROOT, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    process.stdout.write(`${name}\n`)
  }
}
