import {
  type ClientAuthentication,
  type IntrospectionSettings,
  introspectedRules,
} from '../policy/introspection.js'
import type { IssuerRules } from '../policy/issuer.js'
import { readClientAuthentication } from './client-authentication.js'
import type { IssuerParts } from './compile-issuers.js'
import { isLoopback, readBundle } from './compile-upstreams.js'
import type { Draft } from './draft.js'
import type { Path } from './source-tree.js'

/** Revoked tokens serve this long at most without a warning. */
const LONG_CACHE_MS = 300_000
/** Of a reply nothing but active is sure (RFC 7662 section 2.2); without a client no token is of use here. */
const REQUIRED_CLAIMS = ['client_id']

/** Whether tokens, revocation, keys, algorithms and introspection of one issuer fit together. */
export function checkTokenSettings(draft: Draft, path: Path, parts: IssuerParts): void {
  const { tokens, revocation, introspection } = parts
  const name = String(path.at(-1))
  const asks = draft.stands([...path, 'introspection'])
  if (tokens !== undefined && tokens !== 'jwt' && !asks)
    draft.problem(
      [...path, 'tokens'],
      `tokens: ${tokens} needs introspection: only the issuer can say what an opaque token is`,
      'add introspection: { url: https://issuer.example/introspect, auth: { … } }',
    )
  if (revocation === 'introspect' && !asks)
    draft.problem(
      [...path, 'revocation'],
      'revocation: introspect needs introspection',
      'add introspection: { url: https://issuer.example/introspect, auth: { … } }',
    )
  if (revocation === 'introspect' && tokens === 'opaque')
    draft.warning(
      [...path, 'revocation'],
      'revocation concerns JWTs, and this issuer has none',
      'take it out: opaque tokens are introspected anyway',
    )
  if (asks && tokens === 'jwt' && revocation === 'none')
    draft.findings.warning(
      draft.keyPlace([...path, 'introspection']),
      'nothing uses introspection: tokens are JWTs, and revocation is none',
      'write revocation: introspect, or take it out',
    )
  const response = introspection?.response
  const isSigned = tokens !== 'opaque' || response === 'jwt'
  if (tokens === undefined || (asks && response === undefined)) return
  for (const [key, hint] of SIGNATURE_SETTINGS) {
    const at = [...path, key]
    if (isSigned && !draft.stands(at)) draft.problemAtKey(path, `"${key}" is missing in "${name}"`, hint)
    if (!isSigned && draft.stands(at))
      draft.findings.warning(
        draft.keyPlace(at),
        `nothing uses "${key}": neither tokens nor answers are signed`,
        'take it out, or write introspection.response: jwt',
      )
  }
}

const SIGNATURE_SETTINGS = [
  ['algorithms', 'Signature algorithms that tokens and signed answers may use. FAPI: PS256, ES256.'],
  ['keys', 'Where the keys come from: url, file, or discovery.'],
] as const

/** The settings of introspection; null when there are none, or they are wrong, and then they are reported. */
export async function compileIntrospection(
  draft: Draft,
  issuerPath: Path,
  rules: IssuerRules,
  parts: IssuerParts['introspection'],
): Promise<IntrospectionSettings | null> {
  const path = [...issuerPath, 'introspection']
  if (parts === undefined || !draft.stands(path)) return null
  const { auth, cache, negativeCache, timeout, response, requireAudience } = parts
  checkEndpoint(draft, path, rules, parts)
  const ca = parts.ca === undefined ? null : await readBundle(draft, parts.ca, [...path, 'ca'])
  const authentication =
    auth === undefined ? null : await readClientAuthentication(draft, auth, rules.issuer, [...path, 'auth'])
  if (cache !== undefined && cache > LONG_CACHE_MS)
    draft.warning(
      [...path, 'cache'],
      'a revoked token is accepted for more than five minutes',
      'shorten it: 15s is usual',
    )
  if (requireAudience === false)
    draft.warning(
      [...path, 'requireAudience'],
      'a token that names no audience passes, also one that was issued for another API',
      'have the issuer write aud, or make sure that it calls only tokens for this API active',
    )
  if (authentication === null || requireAudience === undefined || response === undefined) return null
  if (cache === undefined || negativeCache === undefined || timeout === undefined) return null
  const requiredClaims = draft.stands([...issuerPath, 'requiredClaims'])
    ? rules.requiredClaims
    : REQUIRED_CLAIMS
  return {
    rules: introspectedRules(rules, { requireAudience, requiredClaims }),
    ...{ url: parts.url ?? null, ca, authentication, response },
    ...{ cacheMs: cache, negativeCacheMs: negativeCache, timeoutMs: timeout },
  }
}

function checkEndpoint(
  draft: Draft,
  path: Path,
  { issuer }: IssuerRules,
  { url, auth }: NonNullable<IssuerParts['introspection']>,
): void {
  if (url === undefined) {
    if (draft.stands([...path, 'url'])) return
    const keys = [...path.slice(0, -1), 'keys']
    const byDiscovery = draft.stands([...keys, 'discovery']) || !draft.stands(keys)
    if (!byDiscovery)
      draft.problemAtKey(
        path,
        '"introspection" has no url',
        'name the endpoint, or find it and the keys by discovery: keys: { discovery: true }',
      )
    // RFC 8414 section 2.
    else if (!/^https:\/\/[^/?#@\s]+[^?#\s]*$/.test(issuer))
      draft.problemAtKey(
        path,
        'discovery of the endpoint needs an issuer that is an https URL without query and fragment',
        'write the issuer as its metadata has it, or name introspection.url',
      )
    return
  }
  const { protocol, hostname } = new URL(url)
  if (protocol === 'https:') return
  if (!isLoopback(hostname))
    draft.problem(
      [...path, 'url'],
      'tokens and credentials would go to this endpoint without encryption',
      'use https; http is for an address of this machine alone',
    )
  const method: ClientAuthentication['method'] | undefined = auth?.method
  if (method === 'tls_client_auth')
    draft.problem(
      [...path, 'url'],
      'tls_client_auth needs https',
      'a connection without TLS has no certificate',
    )
}
