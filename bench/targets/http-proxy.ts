import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../test/support/root.js'
import { AUDIENCE, ISSUER } from '../material.js'
import type { Target } from './target.js'

const PROTOTYPE = join(ROOT, 'build', 'bench', 'targets', 'http-proxy-prototype.js')

/** What one writes in an afternoon: http-proxy with a keep-alive agent, jose and a Map of verified tokens. */
export const httpProxy: Target = {
  name: 'http-proxy',
  title: 'http-proxy prototype',
  judgesTokens: true,
  version: () =>
    (
      JSON.parse(readFileSync(join(ROOT, 'node_modules/http-proxy/package.json'), 'utf8')) as {
        version: string
      }
    ).version,
  howToGet: 'npm ci',
  prepare: ({ port, upstreamPort, material }) => ({
    command: process.execPath,
    args: [
      PROTOTYPE,
      JSON.stringify({
        port,
        upstreamPort,
        issuer: ISSUER,
        audience: AUDIENCE,
        ...material,
        cases: undefined,
      }),
    ],
  }),
}
