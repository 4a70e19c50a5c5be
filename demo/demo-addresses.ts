/** Where the processes of the demo are found, from the same environment variables that policies.yaml reads. */
import { freePorts, parseListenAddress, portIsTaken } from './listen-address.js'

export type DemoAddresses = {
  /** host:port of the sidecar's public listener. */
  readonly listen: string
  readonly publicUrl: string
  /** host:port of the sidecar's metrics and health. */
  readonly admin: string
  readonly issuer: string
  /** Base URL of the data provider. */
  readonly upstream: string
  /** The second sidecar, with further.yaml; absent where nobody wants it. */
  readonly further?: FurtherAddresses
}

export type FurtherAddresses = Pick<DemoAddresses, 'listen' | 'publicUrl' | 'admin'>

export function addressesFromEnvironment(environment: NodeJS.ProcessEnv): DemoAddresses {
  const listen = environment.POSTERN_LISTEN ?? '127.0.0.1:8443'
  return {
    listen,
    publicUrl: environment.POSTERN_PUBLIC_URL ?? `https://localhost:${parseListenAddress(listen).port}`,
    admin: environment.POSTERN_ADMIN_LISTEN ?? '127.0.0.1:9464',
    issuer: environment.POSTERN_ISSUER ?? 'https://localhost:9443',
    upstream: environment.POSTERN_UPSTREAM ?? 'http://127.0.0.1:8080',
  }
}

/** The second sidecar has variables of its own. */
export function furtherFromEnvironment(environment: NodeJS.ProcessEnv): FurtherAddresses {
  const listen = environment.POSTERN_FURTHER_LISTEN ?? '127.0.0.1:8444'
  return {
    listen,
    publicUrl:
      environment.POSTERN_FURTHER_PUBLIC_URL ?? `https://localhost:${parseListenAddress(listen).port}`,
    admin: environment.POSTERN_FURTHER_ADMIN_LISTEN ?? '127.0.0.1:9465',
  }
}

/** Free ports for everything, so that a check can run beside a running demo. */
export async function freeAddresses(): Promise<DemoAddresses> {
  const [listen, admin, issuer, upstream, furtherListen, furtherAdmin] = await freePorts(6)
  return {
    listen: `127.0.0.1:${listen}`,
    publicUrl: `https://localhost:${listen}`,
    admin: `127.0.0.1:${admin}`,
    issuer: `https://localhost:${issuer}`,
    upstream: `http://127.0.0.1:${upstream}`,
    further: {
      listen: `127.0.0.1:${furtherListen}`,
      publicUrl: `https://localhost:${furtherListen}`,
      admin: `127.0.0.1:${furtherAdmin}`,
    },
  }
}

export function portOf(url: string): number {
  const { port, protocol } = new URL(url)
  return port ? Number(port) : protocol === 'https:' ? 443 : 80
}

/** A taken port is the likeliest reason for a demo not to start; each is named with the variable that moves it. */
export async function refuseTakenPorts(addresses: DemoAddresses): Promise<void> {
  const wanted = [
    {
      who: 'sidecar',
      address: parseListenAddress(addresses.listen),
      change: 'POSTERN_LISTEN=127.0.0.1:18443',
    },
    {
      who: 'admin listener of the sidecar',
      address: parseListenAddress(addresses.admin),
      change: 'POSTERN_ADMIN_LISTEN=127.0.0.1:19464',
    },
    {
      who: 'authorization server',
      address: { host: '127.0.0.1', port: portOf(addresses.issuer) },
      change: 'POSTERN_ISSUER=https://localhost:19443',
    },
    {
      who: 'data provider',
      address: { host: new URL(addresses.upstream).hostname, port: portOf(addresses.upstream) },
      change: 'POSTERN_UPSTREAM=http://127.0.0.1:18080',
    },
    ...(addresses.further
      ? [
          {
            who: 'further sidecar',
            address: parseListenAddress(addresses.further.listen),
            change: 'POSTERN_FURTHER_LISTEN=127.0.0.1:18444',
          },
          {
            who: 'admin listener of the further sidecar',
            address: parseListenAddress(addresses.further.admin),
            change: 'POSTERN_FURTHER_ADMIN_LISTEN=127.0.0.1:19465',
          },
        ]
      : []),
  ]
  const taken: string[] = []
  for (const { who, address, change } of wanted) {
    if (await portIsTaken(address))
      taken.push(`port ${address.port} (${who}) is busy; set for example ${change}`)
  }
  if (taken.length > 0) throw new Error(taken.join('\n'))
}
