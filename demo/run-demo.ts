/** Starts the authorization server, the data provider and one sidecar or two, each as its own process, and stops them. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Agent, fetch } from 'undici'
import { type Child, startChild, waitUntilReady } from './child-process.js'
import { type ClientIdentities, closeIdentities, readClientIdentities } from './client-identities.js'
import { type DemoAddresses, portOf, refuseTakenPorts } from './demo-addresses.js'
import { acceptsConnections, parseListenAddress } from './listen-address.js'
import { projectRoot } from './project-root.js'
import { dataProvider, dpopRecipient } from './sample-names.js'
import { makeSigningKey, signingKeyInFile } from './signing-keys.js'
import { createTokenClient, type TokenClient } from './tokens.js'

/** The resource indicator of the API. It stays the same on whatever port the sidecar listens: policies.yaml names it. */
export const audience = 'https://localhost:8443'

export type Demo = {
  readonly addresses: DemoAddresses
  readonly identities: ClientIdentities
  readonly tokens: TokenClient
  /** Settles when one of the processes ends without having been asked to. */
  readonly died: Promise<{ child: Child; how: string }>
  /** For good: what the sidecars do without it. */
  stopAuthorizationServer(): Promise<void>
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
/** The name that further.yaml has for it. */
const introspectionKeyFile = join(projectRoot, 'build/demo/introspection.key')
const sidecarProgram = join(projectRoot, 'dist/main.js')

export async function runDemo(options: DemoOptions): Promise<Demo> {
  const { addresses, logs, progress, abandon } = options
  await refuseTakenPorts(addresses)
  await makeCertificatesOnce(progress)
  if (logs) mkdirSync(logs, { recursive: true })

  const dataProviderKey = await makeSigningKey()
  const dpopRecipientKey = await makeSigningKey()
  const identities = readClientIdentities(certificates)
  const children: Child[] = []
  const dismissed = new Set<Child>()
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

  let authorizationServer: Child
  try {
    progress('starting the authorization server and the data provider')
    authorizationServer = start(
      'authorization server',
      [join(import.meta.dirname, 'authorization-server.js')],
      {
        DEMO_ISSUER: addresses.issuer,
        DEMO_LISTEN: `127.0.0.1:${portOf(addresses.issuer)}`,
        DEMO_CERTS: certificates,
        DEMO_AUDIENCE: audience,
        DEMO_DATA_PROVIDER_KEY: dataProviderKey.publicJwk,
        ...(addresses.further && {
          DEMO_DPOP_RECIPIENT_KEY: dpopRecipientKey.publicJwk,
          DEMO_POSTERN_KEY: signingKeyInFile(introspectionKeyFile),
        }),
      },
    )
    const provider = parseListenAddress(new URL(addresses.upstream).host)
    const dataProviderProcess = start('data provider', [join(import.meta.dirname, 'data-provider.js')], {
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
      waitUntilReady(dataProviderProcess, () => acceptsConnections(provider), startDeadline, abandon),
    ])

    progress('starting the sidecar')
    const { issuer, upstream, further } = addresses
    const others = { POSTERN_ISSUER: issuer, POSTERN_UPSTREAM: upstream }
    const startSidecar = async (name: string, policy: string, admin: string, own: Record<string, string>) => {
      const sidecar = start(name, [sidecarProgram, 'serve', '-c', policy], { ...others, ...own })
      await waitUntilReady(sidecar, () => answersOk(`http://${admin}/readyz`), startDeadline, abandon)
    }
    await Promise.all([
      startSidecar('sidecar', 'policies.yaml', addresses.admin, {
        POSTERN_LISTEN: addresses.listen,
        POSTERN_PUBLIC_URL: addresses.publicUrl,
        POSTERN_ADMIN_LISTEN: addresses.admin,
      }),
      further &&
        startSidecar('further sidecar', 'demo/further.yaml', further.admin, {
          POSTERN_FURTHER_LISTEN: further.listen,
          POSTERN_FURTHER_PUBLIC_URL: further.publicUrl,
          POSTERN_FURTHER_ADMIN_LISTEN: further.admin,
        }),
    ])
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
      signingKeys: {
        [dataProvider]: dataProviderKey.privateKey,
        [dpopRecipient]: dpopRecipientKey.privateKey,
      },
    }),
    died: Promise.race(
      children.map(async child => {
        const how = await child.ended
        return dismissed.has(child) ? await new Promise<never>(() => {}) : { child, how }
      }),
    ),
    stopAuthorizationServer: async () => {
      dismissed.add(authorizationServer)
      await authorizationServer.stop()
    },
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
