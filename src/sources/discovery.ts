import { excerpt } from '../policy/excerpt.js'
import type { JsonObject } from '../policy/strict-json.js'
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

/** Takes an address out of metadata; undefined when it is not there. */
type Pick = (metadata: JsonObject) => { readonly name: string; readonly value: unknown }

/**
 * The `jwks_uri` of an issuer, from whichever form of metadata answers; the RFC 8414 form when both do. The document
 * must name the very issuer it was asked for (RFC 8414 section 3.3). Never rejects.
 */
export function discoverKeysUrl(
  issuer: string,
  get: GetJson,
  signal?: AbortSignal,
): Promise<string | OutboundFailure> {
  return discoverUrl(issuer, ({ jwks_uri }) => ({ name: 'jwks_uri', value: jwks_uri }), get, signal)
}

/**
 * The `introspection_endpoint` of an issuer, in the same way. With mutual TLS it is the alias for that, where the issuer has one
 * (RFC 8705 section 5). Never rejects.
 */
export function discoverIntrospectionUrl(
  issuer: string,
  mutualTls: boolean,
  get: GetJson,
): Promise<string | OutboundFailure> {
  const name = 'introspection_endpoint'
  return discoverUrl(
    issuer,
    metadata => {
      const aliases = metadata.mtls_endpoint_aliases
      const alias =
        mutualTls && typeof aliases === 'object' && aliases !== null && Object.hasOwn(aliases, name)
          ? (aliases as JsonObject)[name]
          : undefined
      return { name, value: alias ?? metadata[name] }
    },
    get,
  )
}

async function discoverUrl(
  issuer: string,
  pick: Pick,
  get: GetJson,
  signal?: AbortSignal,
): Promise<string | OutboundFailure> {
  const problem = urlProblem(issuer)
  if (problem !== null) return new OutboundFailure(`the issuer is ${problem}`)
  const answers = await Promise.all(metadataUrls(issuer).map(url => urlAt(url, issuer, pick, get, signal)))
  const failures: string[] = []
  for (const answer of answers) {
    if (typeof answer === 'string') return answer
    failures.push(answer.detail)
  }
  return new OutboundFailure(failures.join('; '))
}

async function urlAt(
  url: string,
  issuer: string,
  pick: Pick,
  get: GetJson,
  signal: AbortSignal | undefined,
): Promise<string | OutboundFailure> {
  const document = await get(url, signal)
  if (document instanceof OutboundFailure) return document
  const { issuer: named } = document
  if (named !== issuer)
    return new OutboundFailure(`${url}: issuer is ${typeof named === 'string' ? excerpt(named) : 'absent'}`)
  const { name, value } = pick(document)
  if (typeof value !== 'string') return new OutboundFailure(`${url}: ${name} is absent`)
  const problem = urlProblem(value)
  return problem === null ? value : new OutboundFailure(`${url}: ${name} is ${problem}`)
}
