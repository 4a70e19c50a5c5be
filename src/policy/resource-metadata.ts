import type { Route, TokenRule } from './policy.js'

/** Where a protected resource says how it is protected; the path of the resource follows (RFC 9728 section 3.1). */
export const METADATA_PREFIX = '/.well-known/oauth-protected-resource'

/** The members of a metadata document except `resource`, which is the URL that the client used (RFC 9728 section 2). */
export interface ResourceMetadata {
  readonly resource_name?: string
  readonly authorization_servers: readonly string[]
  readonly scopes_supported?: readonly string[]
  readonly bearer_methods_supported: readonly ['header']
  /** Left out when false, which is its default. */
  readonly tls_client_certificate_bound_access_tokens?: true
  readonly dpop_signing_alg_values_supported?: readonly string[]
}

/**
 * Describes the routes of one resource, or null when none of them asks for a token. Empty lists are left out, as RFC 9728
 * section 3.2 wants.
 * @param identifiers the issuer identifiers by their names in the policy
 */
export function describeResource(
  name: string | null,
  routes: readonly Route[],
  identifiers: ReadonlyMap<string, string>,
): ResourceMetadata | null {
  const rules = routes.map(({ token }) => token).filter(token => token !== null)
  const servers = distinct(rules.flatMap(rule => rule.issuers)).flatMap(
    issuer => identifiers.get(issuer) ?? [],
  )
  if (servers.length === 0) return null
  const scopes = distinct(rules.flatMap(({ scopes }) => [...scopes.all, ...scopes.any, ...scopes.optional]))
  const binds = routes.some(({ mtls, token }) => token !== null && (mtls || token.binding === 'required'))
  return {
    ...(name === null ? {} : { resource_name: name }),
    authorization_servers: servers,
    ...(scopes.length === 0 ? {} : { scopes_supported: scopes }),
    bearer_methods_supported: ['header'],
    ...(binds ? { tls_client_certificate_bound_access_tokens: true } : {}),
    ...dpopMembers(rules),
  }
}

/** RFC 9728 section 2: the proofs that count somewhere in the resource. */
function dpopMembers(
  rules: readonly TokenRule[],
): Pick<ResourceMetadata, 'dpop_signing_alg_values_supported'> {
  const algorithms = distinct(rules.flatMap(({ dpop }) => (dpop.satisfiesBinding ? dpop.algorithms : [])))
  return algorithms.length === 0 ? {} : { dpop_signing_alg_values_supported: algorithms }
}

/** The document at a path below one of our origins; `path` is that of the request, and begins with `METADATA_PREFIX`. */
export function metadataDocument(metadata: ResourceMetadata, host: string, path: string): string {
  return JSON.stringify({ resource: `https://${host}${path.slice(METADATA_PREFIX.length)}`, ...metadata })
}

function distinct(values: readonly string[]): string[] {
  return [...new Set(values)]
}
