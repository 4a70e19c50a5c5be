/** Builds the load generator and runs it: one run is one slice. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../test/support/root.js'
import type { Material } from './material.js'
import { run, versionOf } from './processes.js'

/** What bench/loadgen.c prints. Statuses and errors are those of the whole run, all else is of the counted part. */
export interface LoadResult {
  readonly seconds: number
  /** Answered with 2xx. */
  readonly requests: number
  readonly others: number
  readonly statuses: Readonly<Record<string, number>>
  readonly errors: Readonly<Record<string, number>>
  readonly handshakes: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** Connections at the end. */
  readonly open: number
  readonly outOfTokens: boolean
  readonly tokensUsed: number
  /** Requests whose time had come, with --rate, and that no connection was free for. */
  readonly backlog: number
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
  readonly targetCpuUs: number
  readonly ownCpuUs: number
  readonly busyMs: number
  readonly stolenMs: number
  readonly loadBusyMs: number
  readonly loadStolenMs: number
  readonly rssKb: number
  readonly pssKb: number
  readonly peakKb: number
}

export type LoadArguments = Readonly<Record<string, string | number | boolean>>

/** Compiles the generator when it is older than its source. Throws with what is missing. */
export function buildLoadGenerator(work: string): string {
  const source = join(ROOT, 'bench', 'loadgen.c')
  const binary = join(work, 'loadgen')
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary
  if (versionOf('cc', '--version') === null)
    throw new Error('the load generator is C, and there is no compiler `cc`: apt-get install gcc libssl-dev')
  const args = ['-O2', '-Wall', '-o', binary, source, '-lssl', '-lcrypto']
  const { status, stderr } = spawnSync('cc', args, { encoding: 'utf8' })
  if (status === 0) return binary
  if (/openssl\/\w+\.h|-lssl|-lcrypto/.test(stderr))
    throw new Error(`the headers of OpenSSL are missing: apt-get install libssl-dev\n${stderr}`)
  throw new Error(`bench/loadgen.c does not compile:\n${stderr}`)
}

/** The OpenSSL that the generator uses. */
export function opensslVersion(): string {
  return execFileSync('openssl', ['version'], { encoding: 'utf8' }).trim()
}

export interface LoadedTarget {
  readonly port: number
  readonly pids: readonly number[]
}

/** One run against a target; `args` are options of bench/loadgen.c, and what the material brings is added. */
export async function load(
  binary: string,
  target: LoadedTarget,
  material: Material,
  cores: { readonly target: string; readonly load: string },
  args: LoadArguments,
): Promise<LoadResult> {
  const all: LoadArguments = {
    port: target.port,
    cert: material.client.cert,
    key: material.client.key,
    tokens: material.tokens,
    pids: target.pids.join(','),
    cores: cores.target,
    'load-cores': cores.load,
    ...args,
  }
  const flags = Object.entries(all).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : value === false ? [] : [`--${name}`, String(value)],
  )
  return JSON.parse(await run(binary, flags, cores.load)) as LoadResult
}
