/** Starts the authorization server, the data provider and the sidecar, each as its own process, and stops them. */
import { execFile } from 'node:child_process'
import { webcrypto } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Agent, fetch } from 'undici'
import { type Child, startChild, waitUntilReady } from './child-process.js'
import { type ClientIdentities, closeIdentities, readClientIdentities } from './client-identities.js'
import { type DemoAddresses, portOf, refuseTakenPorts } from './demo-addresses.js'
import { acceptsConnections, parseListenAddress } from './listen-address.js'
import { projectRoot } from './project-root.js'
import { createTokenClient, type TokenClient } from './tokens.js'

/** The resource indicator of the API. It stays the same on whatever port the sidecar listens: policies.yaml names it. */
export const audience = 'https://localhost:8443'

export type Demo = {
  readonly addresses: DemoAddresses
  readonly identities: ClientIdentities
  readonly tokens: TokenClient
  /** Settles when one of the processes ends without having been asked to. */
  readonly died: Promise<{ child: Child; how: string }>
  stop(): Promise<void>
}

export type DemoOptions = {
  readonly addresses: DemoAddresses
  /** Folder for one log file per process; without one their output is only kept for error messages. */
  readonly logs?: string
  /** Told what happens, for a person who waits. */
  readonly progress: (text: string) => void
  /** Aborted by whoever no longer wants the demo, while it starts. */
  readonly abandon: AbortSignal
}

/** Milliseconds for one process to start on a slow and busy machine. */
const startDeadline = 20_000
const certificates = join(projectRoot, 'certs')
const sidecarProgram = join(projectRoot, 'dist/main.js')

export async function runDemo(options: DemoOptions): Promise<Demo> {
  const { addresses, logs, progress, abandon } = options
  await refuseTakenPorts(addresses)
  await makeCertificatesOnce(progress)
  if (logs) mkdirSync(logs, { recursive: true })

  const dataProviderKeys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, [
    'sign',
    'verify',
  ])
  const { kty, crv, x, y } = await webcrypto.subtle.exportKey('jwk', dataProviderKeys.publicKey)
  const identities = readClientIdentities(certificates)
  const children: Child[] = []
  const start = (name: string, script: string[], environment: Record<string, string>) => {
    const logFile = logs && join(logs, `${name.replaceAll(' ', '-')}.log`)
    const child = startChild({ name, script, environment, folder: projectRoot, ...(logFile && { logFile }) })
    children.push(child)
    return child
  }
  const stop = async () => {
    // The sidecar first: it drains while what it depends on still answers.
    for (const child of children.toReversed()) await child.stop()
    await closeIdentities(identities)
  }

  try {
    progress('starting the authorization server and the data provider')
    const authorizationServer = start(
      'authorization server',
      [join(import.meta.dirname, 'authorization-server.js')],
      {
        DEMO_ISSUER: addresses.issuer,
        DEMO_LISTEN: `127.0.0.1:${portOf(addresses.issuer)}`,
        DEMO_CERTS: certificates,
        DEMO_AUDIENCE: audience,
        DEMO_DATA_PROVIDER_KEY: JSON.stringify({ kty, crv, x, y }),
      },
    )
    const provider = parseListenAddress(new URL(addresses.upstream).host)
    const dataProvider = start('data provider', [join(import.meta.dirname, 'data-provider.js')], {
      DEMO_PROVIDER_LISTEN: new URL(addresses.upstream).host,
    })
    const discovery = `${addresses.issuer}/.well-known/openid-configuration`
    await Promise.all([
      waitUntilReady(
        authorizationServer,
        () => answersOk(discovery, identities.noCertificate),
        startDeadline,
        abandon,
      ),
      waitUntilReady(dataProvider, () => acceptsConnections(provider), startDeadline, abandon),
    ])

    progress('starting the sidecar')
    const sidecar = start('sidecar', [sidecarProgram, 'serve', '-c', 'policies.yaml'], {
      POSTERN_LISTEN: addresses.listen,
      POSTERN_PUBLIC_URL: addresses.publicUrl,
      POSTERN_ADMIN_LISTEN: addresses.admin,
      POSTERN_ISSUER: addresses.issuer,
      POSTERN_UPSTREAM: addresses.upstream,
    })
    await waitUntilReady(sidecar, () => answersOk(`http://${addresses.admin}/readyz`), startDeadline, abandon)
  } catch (error) {
    await stop()
    throw error
  }

  return {
    addresses,
    identities,
    tokens: createTokenClient({
      issuer: addresses.issuer,
      audience,
      identities,
      dataProviderKey: dataProviderKeys.privateKey,
    }),
    died: Promise.race(children.map(async child => ({ child, how: await child.ended }))),
    stop,
  }
}

/** The same command that makes them for anyone: nothing about the demo's certificates is special. */
async function makeCertificatesOnce(progress: (text: string) => void): Promise<void> {
  if (existsSync(join(certificates, 'server.pem'))) return
  progress('making development certificates')
  try {
    await promisify(execFile)(process.execPath, [sidecarProgram, 'certs', certificates], { cwd: projectRoot })
  } catch (error) {
    throw new Error(`postern certs ${certificates} failed: ${(error as Error).message}`, { cause: error })
  }
}

async function answersOk(url: string, dispatcher?: Agent): Promise<boolean> {
  try {
    const response = await fetch(url, {
      signal: AbortSignal.timeout(2000),
      ...(dispatcher && { dispatcher }),
    })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}
