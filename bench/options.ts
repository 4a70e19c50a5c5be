import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../test/support/root.js'
import type { Algorithm, ServerKey } from './material.js'

export interface Options {
  readonly quick: boolean
  readonly profile: boolean
  readonly accept: boolean
  /** Scale up to 1,000,000 tokens. */
  readonly large: boolean
  /** Names to run; null: all. */
  readonly scenarios: readonly string[] | null
  readonly targets: readonly string[] | null
  /** Slices of each target in each scenario; more when the machine is noisy. */
  readonly slices: number
  readonly sliceSeconds: number
  /** Longest wait for a quiet moment before a slice. */
  readonly quietSeconds: number
  readonly algorithm: Algorithm
  readonly serverKey: ServerKey
  /** Such as `0` or `0,2`. */
  readonly cores: string
  readonly loadCores: string
  readonly work: string
}

export const USAGE = `npm run bench -- [options]          the whole comparison: about half an hour
npm run bench:quick -- [options]    one, many, cold, hs in under two minutes

  --scenario A,B     one, many, cold, post, h2, 64k, 1m, 1m-up, 100m, 100m-up, hs, hs12, rate, connections, routes, tokens, workers
  --target A,B       postern, nginx, haproxy, haproxy-cache, apache, http-proxy
  --slices N         slices of each target (10; quick: 3)
  --slice SECONDS    length of a slice (1; quick: 0.5)
  --quiet SECONDS    longest wait for a quiet moment before a slice (2; quick: 0)
  --alg NAME         ES256 or PS256
  --key KIND         server key: ec or rsa
  --cores LIST       cores of the targets (0)
  --load-cores LIST  cores of upstream and load (1)
  --large            scenario tokens up to 1,000,000
  --accept           write docs/performance.md and bench/record.json in spite of a loss
  --profile          Postern alone under --cpu-prof: where its time goes in the first of the scenarios (many)
`

/** Reads the command line; null when it asks for help. Throws with a sentence for the person who wrote it. */
export function readOptions(args: readonly string[]): Options | null {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: flag,
      profile: flag,
      accept: flag,
      help: flag,
      large: flag,
      scenario: text,
      target: text,
      slices: text,
      slice: text,
      quiet: text,
      alg: { ...text, default: 'ES256' },
      key: { ...text, default: 'ec' },
      cores: { ...text, default: '0' },
      'load-cores': { ...text, default: '1' },
    },
  })
  if (values.help) return null
  const { quick, profile, accept, large, alg, key } = values
  if (alg !== 'ES256' && alg !== 'PS256') throw new Error('--alg is ES256 or PS256')
  if (key !== 'ec' && key !== 'rsa') throw new Error('--key is ec or rsa')
  return {
    quick,
    profile,
    accept,
    large,
    scenarios: values.scenario?.split(',') ?? null,
    targets: values.target?.split(',') ?? null,
    slices: positive('--slices', values.slices, quick ? 3 : 10),
    sliceSeconds: positive('--slice', values.slice, quick ? 0.5 : 1),
    quietSeconds: values.quiet === undefined ? (quick ? 0 : 2) : Number(values.quiet),
    algorithm: alg,
    serverKey: key,
    cores: values.cores,
    loadCores: values['load-cores'],
    work: join(ROOT, 'build', 'bench-work'),
  }
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  const number = text === undefined ? otherwise : Number(text)
  if (!(number > 0)) throw new Error(`${name} is a number above 0`)
  return number
}
