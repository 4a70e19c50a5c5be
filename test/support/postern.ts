import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Authority, createAuthority, type Issued } from './pki.js'
import { RawClient } from './raw-client.js'
import { ROOT } from './root.js'
import {
  createTokenIssuer,
  type Overrides,
  type TokenIssuer,
  type TokenIssuerOptions,
} from './token-issuer.js'

/** The name that test policies serve; clients connect to 127.0.0.1 and say this name in SNI and Host. */
export const HOST = 'api.bank.example'
export const MAIN = join(ROOT, 'dist', 'main.js')
const START_DEADLINE_MS = 20_000

/** Who issues what in a test: authorities, a server certificate, two clients and a token issuer on loopback. */
export interface World {
  readonly serverCa: Authority
  readonly server: Issued
  readonly clientCa: Authority
  readonly client: Issued
  readonly otherClient: Issued
  readonly issuer: TokenIssuer
  readonly directory: string
  /** Writes a file into the directory of the policy and returns its path. */
  readonly write: (name: string, text: string) => string
  readonly close: () => Promise<void>
}

/** Makes the certificates (an RSA server as FAPI 1.0 wants it) and starts the token issuer. */
export async function createWorld(issuerOptions: TokenIssuerOptions = {}): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), 'postern-test-'))
  const [serverCa, clientCa, issuer] = await Promise.all([
    createAuthority('Test server CA'),
    createAuthority('Test client CA'),
    createTokenIssuer({ audience: `https://${HOST}`, ...issuerOptions }),
  ])
  const [server, client, otherClient] = await Promise.all([
    serverCa.issue({
      commonName: HOST,
      sanDns: [HOST],
      key: 'rsa-2048',
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
    }),
    clientCa.issue({ commonName: 'client-a' }),
    clientCa.issue({ commonName: 'client-b' }),
  ])
  const write = (name: string, text: string) => {
    const path = join(directory, name)
    writeFileSync(path, text)
    return path
  }
  write('server.pem', server.certificatePem)
  write('server.key', server.keyPem)
  write('client-ca.pem', clientCa.certificatePem)
  if (issuer.caPem !== null) write('issuer-ca.pem', issuer.caPem)
  return {
    serverCa,
    server,
    clientCa,
    client,
    otherClient,
    issuer,
    directory,
    write,
    close: async () => {
      await issuer.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** Parts of a test policy that differ from the usual; each is YAML at the indentation where it belongs. */
export interface PolicyParts {
  readonly upstream: string
  readonly profile?: string
  /** Flow-style YAML of server.tls.clients. */
  readonly clients?: string
  readonly limits?: string
  /** More members of the issuer, flow-style: `clockSkew: 10s, maxLifetime: 15m`. */
  readonly issuer?: string
  readonly keys?: string
  readonly upstreamMore?: string
  readonly workers?: string
  /** Default: the key is not there. */
  readonly http2?: boolean
  /** More entries of `issuers:`, each `  name: { … }` on a line of its own. */
  readonly moreIssuers?: string
  /** More entries of `upstreams:`, each `  name: { … }` on a line of its own. */
  readonly moreUpstreams?: string
  readonly certificates?: string
  /** Members of `apis:`. Default: one API with a route of each kind. */
  readonly apis?: string
}

/** A certificate alone says who calls only where authorities vouch for it. */
const MACHINES = `  - name: Machines
    base: /machines
    security: [mtls]
    routes:
      GET /{id}: {}
`

/** Routes of every kind: both flows, both securities, public, WebSocket, rest template, problem+json. */
export const USUAL_APIS = `
  - name: Accounts
    base: /accounts
    security: [mtls, oauth2]
    flow: authorization_code
    routes:
      GET /{accountId}: { scopes: { any: [basic, detailed] } }
      POST /{accountId}/notes: { scopes: { all: [notes] } }
      GET /{accountId}/contact: { scopes: { all: [contact], optional: [personal] } }
      GET /{accountId}/consent: { scopes: none }
      GET /{accountId}/live: { scopes: { all: [basic] }, upgrade: websocket }
  - name: Events
    base: /events
    security: [mtls, oauth2]
    flow: client_credentials
    routes:
      POST /subscriptions: { scopes: { all: [events] } }
      GET /{eventId}: { scopes: { all: [events] } }
      DELETE /{eventId}: { scopes: { all: [events] } }
  - name: Partners
    base: /partners
    security: [oauth2]
    flow: client_credentials
    errors: problem
    routes:
      GET /{id}: { scopes: { all: [partners] } }
${MACHINES}  - name: Open
    base: /open
    security: public
    routes:
      GET /{path...}: {}
      POST /{path...}: {}
      DELETE /{path...}: {}
      OPTIONS /{path...}: {}
`

export function policyText(world: World, parts: PolicyParts): string {
  const ca = world.issuer.caPem === null ? '' : ', ca: issuer-ca.pem'
  const isPossession = parts.clients?.includes('possession') === true
  const usual = isPossession ? USUAL_APIS.replace(MACHINES, '') : USUAL_APIS
  return `version: 1
server:
  listen: 127.0.0.1:0
  publicUrl: https://${HOST}${parts.workers === undefined ? '' : `\n  workers: ${parts.workers}`}${parts.http2 === undefined ? '' : `\n  http2: ${parts.http2}`}
  tls:
    profile: ${parts.profile ?? 'fapi1-advanced'}
    certificates: ${parts.certificates ?? '[{ cert: server.pem, key: server.key }]'}
    clients: ${parts.clients ?? '{ trust: pki, ca: [client-ca.pem] }'}
  limits: ${parts.limits ?? '{ headersTimeout: 10s }'}
admin: { listen: 127.0.0.1:0 }
log: { level: info }
issuers:
  main:
    issuer: ${world.issuer.url}
    audience: [https://${HOST}]
    algorithms: [PS256, ES256]
    keys: ${parts.keys ?? `{ url: ${world.issuer.jwksUrl}, cooldown: 1s${ca} }`}
    flow: { preset: rfc9068 }
${parts.issuer === undefined ? '' : `    ${parts.issuer}\n`}${lines(parts.moreIssuers)}upstreams:
  provider: { url: ${parts.upstream}${parts.upstreamMore === undefined ? '' : `, ${parts.upstreamMore}`} }
${lines(parts.moreUpstreams)}defaults: { upstream: provider, issuer: main, errors: fdx }
apis:${parts.apis ?? usual}`
}

function lines(text: string | undefined): string {
  return text === undefined ? '' : `${text}\n`
}

/** A running sidecar, as its own process. */
export interface Postern {
  readonly port: number
  readonly adminPort: number
  readonly child: ChildProcess
  readonly policyFile: string
  /** Log lines so far, parsed. */
  readonly log: () => readonly Record<string, unknown>[]
  /** Everything that it wrote, for secrets that should not be there. */
  readonly output: () => string
  /** Waits until a log line satisfies the question. */
  readonly logged: (question: (line: Record<string, unknown>) => boolean) => Promise<Record<string, unknown>>
  /** GET on the admin server. */
  readonly admin: (path: string, method?: string) => Promise<{ status: number; text: string }>
  /** SIGTERM; resolves with the exit code. */
  readonly stop: () => Promise<number | null>
}

/** What is waited for after the start. `serving`: the port is open, whatever the issuers do. */
export type Await = 'ready' | 'serving'

// A test file that fails while it is being loaded must not leave sidecars behind.
const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** To start several sidecars on one world: each has a policy file of this name. */
export function underName(world: Pick<World, 'write'>, name: string): Pick<World, 'write'> {
  return { write: (_, text) => world.write(`${name}.yaml`, text) }
}

/** Starts `postern serve` on a policy and waits until it is ready. */
export async function startPostern(
  world: Pick<World, 'write'>,
  policy: string,
  environment: NodeJS.ProcessEnv = {},
  wait: Await = 'ready',
): Promise<Postern> {
  const policyFile = world.write('policies.yaml', policy)
  const child = spawn(process.execPath, [MAIN, 'serve', '-c', policyFile], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', chunk => {
    stdout += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', chunk => {
    stderr += chunk
  })
  const started = /serving https:\/\/[^ ]*:(\d+), admin http:\/\/[^ ]*:(\d+)/
  const endOnFailure = (problem: unknown) => {
    child.kill('SIGKILL')
    throw problem
  }
  await until(
    () => started.test(stderr) || child.exitCode !== null,
    () => `no start: ${stderr}${stdout}`,
  ).catch(endOnFailure)
  const ports = started.exec(stderr)
  if (ports === null) throw new Error(`postern ended with ${child.exitCode}: ${stderr}${stdout}`)
  const [port, adminPort] = [Number(ports[1]), Number(ports[2])]
  const log = () =>
    stdout
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line) as Record<string, unknown>)
  const admin = (path: string, method = 'GET') => adminRequest(adminPort, path, method)
  if (wait === 'ready')
    await untilAsync(
      async () => (await admin('/readyz')).status === 200,
      () => `not ready: ${stderr}${stdout}`,
    ).catch(endOnFailure)
  return {
    port,
    adminPort,
    child,
    policyFile,
    log,
    output: () => stdout + stderr,
    logged: async question => {
      await until(
        () => log().some(question),
        () => `no such log line in ${stdout}`,
      )
      return log().find(question) as Record<string, unknown>
    },
    admin,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
      child.kill('SIGTERM')
      const [code] = (await once(child, 'exit')) as [number | null]
      return code
    },
  }
}

/** Runs `postern serve` on a policy that it must refuse: its exit code, null when it had to be killed, and its words. */
export function refusedStart(
  world: Pick<World, 'write'>,
  name: string,
  policy: string,
): Promise<{ readonly code: number | null; readonly text: string }> {
  const file = world.write(`${name}.yaml`, policy)
  return new Promise(resolve => {
    const options = { timeout: START_DEADLINE_MS, killSignal: 'SIGKILL' } as const
    const child = execFile(process.execPath, [MAIN, 'serve', '-c', file], options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, text: stdout + stderr }),
    )
  })
}

/** A certificate with its key, as PEM. */
export type Identity = Pick<Issued, 'certificatePem' | 'keyPem'>

/** The part of a world that a client needs to trust the sidecar. */
export interface Trusting {
  readonly serverCa: Pick<Issued, 'certificatePem'>
}

export interface Ask {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** Certificate of the client; none when absent. */
  readonly client?: Identity
  /** Bearer token. */
  readonly token?: string
  readonly body?: string | Buffer
  readonly agent?: RequestOptions['agent']
  readonly tls?: RequestOptions
}

export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly rawHeaders: readonly string[]
  readonly text: string
  readonly json: () => Record<string, unknown>
}

/** One real request over a real TLS connection. */
export function ask(
  world: Trusting,
  postern: { readonly port: number },
  options: Ask = {},
): Promise<Answered> {
  const { client, token, body } = options
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host: '127.0.0.1',
        port: postern.port,
        servername: HOST,
        ca: world.serverCa.certificatePem,
        method: options.method ?? 'GET',
        path: options.path ?? '/accounts/1',
        headers: {
          Host: HOST,
          ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
          ...options.headers,
        } as Record<string, string>,
        agent: options.agent ?? false,
        ...(client === undefined ? {} : { cert: client.certificatePem, key: client.keyPem }),
        ...options.tls,
      },
      response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            rawHeaders: response.rawHeaders,
            text,
            json: () => JSON.parse(text) as Record<string, unknown>,
          })
        })
      },
    )
    request.setTimeout(15_000, () => request.destroy(new Error('no answer within 15 s')))
    request.on('error', reject)
    request.end(body)
  })
}

/** The handshake of a WebSocket (RFC 6455 section 1.3); `fields` are whole lines. */
export function webSocketHandshake(path: string, ...fields: readonly string[]): string {
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
  return `${[`GET ${path} HTTP/1.1`, `Host: ${HOST}`, ...fields, ...upgrade, key].join('\r\n')}\r\n\r\n`
}

/** A connection on which a test writes its own bytes. */
export function connectRaw(
  world: Trusting,
  postern: { readonly port: number },
  client: Identity | null = null,
  deadlineMs = 10_000,
): Promise<RawClient> {
  const identity = client === null ? {} : { cert: client.certificatePem, key: client.keyPem }
  const tls = { ca: world.serverCa.certificatePem, servername: HOST, ...identity }
  return RawClient.connect({ port: postern.port, tls, deadlineMs })
}

/** An access token that is bound to the certificate of a client; `flow` says whose sub it has. */
export function boundToken(
  world: Pick<World, 'issuer'>,
  client: Issued,
  flow: 'authorization_code' | 'client_credentials',
  claims: Overrides = {},
): string {
  const sub = flow === 'authorization_code' ? 'user-1' : 'client-1'
  return world.issuer.token({ sub, cnf: { 'x5t#S256': client.thumbprint }, ...claims })
}

/** An API behind the sidecar that counts what reaches it. */
export interface Counting {
  readonly url: string
  /** Requests so far, with their bodies read. */
  readonly requests: readonly IncomingMessage[]
  /** The body of one of them, as UTF-8. */
  readonly bodyOf: (request: IncomingMessage) => string | undefined
  /** Answers every request; replaced at will. Default: 200 and `{"ok":true}`. */
  respond: (request: IncomingMessage, response: ServerResponse) => void
  readonly close: () => void
}

/** Starts an API on loopback. It answers when the body of the request has come. */
export async function startCounting(): Promise<Counting> {
  const requests: IncomingMessage[] = []
  const bodies = new WeakMap<IncomingMessage, string>()
  const server = createServer((request, response) => {
    requests.push(request)
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => {
      bodies.set(request, Buffer.concat(chunks).toString())
      counting.respond(request, response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const counting: Counting = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    bodyOf: request => bodies.get(request),
    respond: (_, response) => {
      response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"ok":true}')
    },
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
  return counting
}

function adminRequest(port: number, path: string, method: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, method, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    request.on('error', reject)
    request.end()
  })
}

/** Waits for a condition; rejects with the words when it does not come. */
export function until(
  condition: () => boolean,
  words: () => string,
  deadlineMs = START_DEADLINE_MS,
): Promise<void> {
  return untilAsync(async () => condition(), words, deadlineMs)
}

export async function untilAsync(
  condition: () => Promise<boolean>,
  words: () => string,
  deadlineMs = START_DEADLINE_MS,
): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(words())
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
