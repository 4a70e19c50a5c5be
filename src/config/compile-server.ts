import { isIP } from 'node:net'
import type { Route } from '../policy/policy.js'
import { readClientTrust } from './client-trust.js'
import type { Draft } from './draft.js'
import { readServerCertificates } from './server-certificates.js'
import type { Address, Limits, Settings } from './settings.js'

/** The side that clients see, or null when something of it is wrong and reported. */
export async function compileServer(
  draft: Draft,
  routes: readonly Route[],
): Promise<Settings['server'] | null> {
  const { listen, workers, publicUrl, tls, http2, limits } = draft.parts.server ?? {}
  const certificates = await readServerCertificates(draft)
  // A token that must be bound needs a certificate that is trusted, whether or not the route itself asks for one.
  const needsCa = routes.some(route => route.mtls || route.token?.binding === 'required')
  const clients = await readClientTrust(draft, needsCa)
  const compiledLimits = compileLimits(draft, limits)
  if (
    listen === undefined ||
    workers === undefined ||
    http2 === undefined ||
    publicUrl === undefined ||
    tls?.profile === undefined ||
    compiledLimits === null
  )
    return null
  const publicOrigins = [...new Set(publicUrl.map(one => new URL(one).origin))]
  return {
    listen,
    workers,
    publicOrigins,
    tls: { profile: tls.profile, certificates, clients },
    http2,
    limits: compiledLimits,
  }
}

type LimitParts = NonNullable<NonNullable<Draft['parts']['server']>['limits']>

function compileLimits(draft: Draft, parts: LimitParts | undefined): Limits | null {
  const { headerBytes, bodyBytes, proofs, failures } = parts ?? {}
  const { connections, connectionsPerAddress = null, connectionAge, handshakes, requests } = parts ?? {}
  const { handshakeTimeout, headersTimeout, requestTimeout, idleTimeout } = parts ?? {}
  // Node refuses to start a server like that.
  if (headersTimeout !== undefined && requestTimeout !== undefined && headersTimeout > requestTimeout)
    draft.problemAtKey(
      ['server', 'limits', 'headersTimeout'],
      '"headersTimeout" is longer than "requestTimeout", which includes it',
      'lower it, or raise requestTimeout',
    )
  if (headerBytes === undefined || bodyBytes === undefined || proofs === undefined) return null
  if (failures?.requests === undefined || failures.per === undefined) return null
  if (connections === undefined || connectionAge === undefined) return null
  if (handshakes === undefined || requests === undefined || handshakeTimeout === undefined) return null
  if (headersTimeout === undefined || requestTimeout === undefined || idleTimeout === undefined) return null
  return {
    ...{ headerBytes, bodyBytes, connections, connectionsPerAddress, handshakes, requests, proofs },
    failures: { requests: failures.requests, perSeconds: failures.per / 1000 },
    ...{ connectionAgeMs: connectionAge, handshakeTimeoutMs: handshakeTimeout },
    ...{ headersTimeoutMs: headersTimeout, requestTimeoutMs: requestTimeout, idleTimeoutMs: idleTimeout },
  }
}

/** The admin port has no authentication of its own. */
export function checkAdmin(draft: Draft, admin: Address | undefined): void {
  const listen = draft.parts.server?.listen
  if (admin === undefined) return
  const path = ['admin', 'listen']
  if (!isLoopback(admin.host))
    draft.warning(
      path,
      'the admin port listens beyond this machine, and asks nobody who they are',
      'let only your monitoring reach it, or listen on 127.0.0.1',
    )
  if (listen !== undefined && listen.port !== 0 && listen.port === admin.port && listen.host === admin.host)
    draft.problem(path, 'the admin port is the port of server.listen', 'choose another port')
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
