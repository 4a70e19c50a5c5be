import { formatProblem } from '../config/problem.js'
import type { Configuration, IssuerSettings } from '../config/settings.js'
import type { Logger } from '../observe/logger.js'
import type { PolicyParts } from '../observe/metrics.js'

/** Says what policy is in use. */
export function announce({ settings, hash, routes, warnings }: Configuration, log: Logger): void {
  log.info(
    { policy: hash.slice(0, 12), routes: routes.routes.length, profile: settings.server.tls.profile },
    'policy in use',
  )
  for (const warning of warnings) log.warn({ problem: formatProblem(warning) }, 'policy warning')
}

/** What the metrics say of a policy, and of the addresses of its upstreams as this process sees them. */
export function partsOf({ settings, hash }: Configuration, addresses: PolicyParts['addresses']): PolicyParts {
  const { certificates, clients } = settings.server.tls
  const issuers = [...settings.issuers.values()]
  return {
    hash,
    certificates,
    lists: clients.crl ?? [],
    fetched: namesOf(issuers.filter(({ keys }) => keys !== null && keys.from !== 'file')),
    asked: namesOf(issuers.filter(({ introspection }) => introspection !== null)),
    addresses,
  }
}

function namesOf(issuers: readonly IssuerSettings[]): readonly string[] {
  return issuers.map(({ rules }) => rules.name)
}

/** Settings that a reload cannot change are said, not ignored in silence, for as long as they differ from the start. */
export function warnOfRestart(atStart: Configuration, after: Configuration, log: Logger): void {
  const fixed = ({ settings: { server, admin } }: Configuration) => {
    const { bodyBytes: _, ...limits } = server.limits
    return JSON.stringify([server.listen, server.workers, server.http2, admin, limits])
  }
  if (fixed(atStart) !== fixed(after))
    log.warn(
      {},
      'server.listen, server.workers, server.http2, server.limits (except bodyBytes) and admin.listen take effect at the next start',
    )
}
