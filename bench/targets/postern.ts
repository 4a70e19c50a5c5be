import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { ROOT } from '../../test/support/root.js'
import { AUDIENCE, HOST, ISSUER } from '../material.js'
import { type Place, type Target, write } from './target.js'

const MAIN = join(ROOT, 'dist', 'main.js')

export interface Variant {
  /** Distinguishes it from `postern`. */
  readonly suffix?: string
  /** Routes of the policy; the measured ones are the last. Default 2. */
  readonly routes?: number
  readonly workers?: number
  /** Arguments of node itself. */
  readonly nodeArguments?: readonly string[]
}

/** Postern as it is deployed: everything on that a policy for FAPI has, a line in the log for every request, metrics. */
export function postern({ suffix = '', routes = 2, workers = 1, nodeArguments = [] }: Variant = {}): Target {
  return {
    name: `postern${suffix}`,
    title: `Postern${suffix.replace('-', ', ')}`,
    judgesTokens: true,
    version: () => execFileSync(process.execPath, [MAIN, '--version'], { encoding: 'utf8' }).trim(),
    howToGet: 'npm run build',
    prepare: place => ({
      command: process.execPath,
      args: [
        ...nodeArguments,
        MAIN,
        'serve',
        '-c',
        write(place, 'policies.yaml', policy(place, routes, workers)),
      ],
    }),
  }
}

/** Why this version does not load the policy of a variant; null when it does. */
export function posternProblem(place: Place, { routes = 2, workers = 1 }: Variant): string | null {
  const file = write(place, 'policies.yaml', policy(place, routes, workers))
  try {
    execFileSync(process.execPath, [MAIN, 'check', '-c', file], { stdio: 'pipe' })
    return null
  } catch (error) {
    const said = (error as { stderr?: Buffer }).stderr?.toString().trim().split('\n')[0]
    return said?.replace(file, 'policies.yaml') ?? String(error)
  }
}

function policy({ port, upstreamPort, material }: Place, routes: number, workers: number): string {
  const others = Array.from(
    { length: routes - 2 },
    (_, number) =>
      `      GET /v${number % 10}/resource-${number}/{id}/items: { scopes: { all: [api.read] } }\n`,
  )
  return `version: 1
server:
  listen: 127.0.0.1:${port}
  http2: true
  publicUrl: https://${HOST}
${workers === 1 ? '' : `  workers: ${workers}\n`}  tls:
    profile: fapi2
    certificates: [{ cert: ${material.serverCert}, key: ${material.serverKey} }]
    clients: { trust: pki, ca: [${material.ca}] }
  limits: { connections: 20000, bodyBytes: 256MiB, idleTimeout: 1h }
admin: { listen: 127.0.0.1:0 }
log: { level: info }
issuers:
  main:
    issuer: ${ISSUER}
    audience: [${AUDIENCE}]
    algorithms: [${material.algorithm}]
    keys: { file: ${material.jwks} }
    flow: { preset: rfc9068 }
upstreams:
  provider: { url: http://127.0.0.1:${upstreamPort}, connections: 512 }
defaults: { upstream: provider, issuer: main, errors: fdx }
apis:
  - name: Bench
    base: /api
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
${others.join('')}      GET /{path...}: { scopes: { all: [api.read] } }
      POST /{path...}: { scopes: { all: [api.write] } }
`
}
