import { excerpt } from './excerpt.js'
import { type GetJson, OutboundFailure, urlProblem } from './outbound.js'

/**
 * Where the metadata of an issuer may be: RFC 8414 section 3.1 puts the well-known part before the path of the issuer,
 * OpenID Connect Discovery section 4 behind it.
 */
export function metadataUrls(issuer: string): readonly [oauth: string, openid: string] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  return [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ]
}

/**
 * The `jwks_uri` of an issuer, from whichever form of metadata answers; the RFC 8414 form when both do. The document
 * must name the very issuer it was asked for (RFC 8414 section 3.3). Never rejects.
 */
export async function discoverKeysUrl(
  issuer: string,
  get: GetJson,
  signal?: AbortSignal,
): Promise<string | OutboundFailure> {
  const problem = urlProblem(issuer)
  if (problem !== null) return new OutboundFailure(`the issuer is ${problem}`)
  const answers = await Promise.all(metadataUrls(issuer).map(url => keysUrlAt(url, issuer, get, signal)))
  const failures: string[] = []
  for (const answer of answers) {
    if (typeof answer === 'string') return answer
    failures.push(answer.detail)
  }
  return new OutboundFailure(failures.join('; '))
}

async function keysUrlAt(
  url: string,
  issuer: string,
  get: GetJson,
  signal: AbortSignal | undefined,
): Promise<string | OutboundFailure> {
  const document = await get(url, signal)
  if (document instanceof OutboundFailure) return document
  const { issuer: named, jwks_uri: keysUrl } = document
  if (named !== issuer)
    return new OutboundFailure(`${url}: issuer is ${typeof named === 'string' ? excerpt(named) : 'absent'}`)
  if (typeof keysUrl !== 'string') return new OutboundFailure(`${url}: jwks_uri is absent`)
  const problem = urlProblem(keysUrl)
  return problem === null ? keysUrl : new OutboundFailure(`${url}: jwks_uri is ${problem}`)
}
