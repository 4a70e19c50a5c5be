/** What the upstream gets to read: the client's own fields without those that it may not set, and what is proved. */
import { isIPv4, isIPv6 } from 'node:net'
import type { Grant } from '../checks/authorise.js'
import type { Upstream } from '../policy/upstream.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'
import { plainAddress } from '../request/plain-address.js'
import type { IncomingRequest } from './client-message.js'
import { foldedName, isFraming, isHopByHop, nominatedByConnection, remembered } from './field-names.js'
import { fieldValue, listedWord } from './field-value.js'
import type { Exchange } from './forwarding.js'

/** How an upstream wants to be spoken to. */
export interface RequestHeaderRules extends Pick<Upstream, 'authorization' | 'clientCert'> {
  /** The pseudonym of this process in Via (RFC 9110 section 7.6.3). */
  readonly via: string
}

/** What a header says of the client's side. */
interface ExchangeFacts extends Pick<Exchange, 'clientAddress' | 'interactionId'> {
  readonly request: Pick<IncomingRequest, 'httpVersion'>
}

/** Fields that only this process may set, or that are not for the upstream; folded names. */
const RESERVED: ReadonlySet<string> = new Set([
  'dpop', // a proof can be replayed by whoever reads it
  'expect', // answered here
  'forwarded',
  'via',
  'x-fapi-interaction-id',
  'x-forwarded',
  'x-real-ip',
  // Frameworks that honour these run another method or path than the one that was matched.
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
  'x-envoy-original-path',
  'x-http-path-override',
  'x-original-uri',
  // Programs behind CGI take it for their own setting (httpoxy, CVE-2016-5385).
  'proxy',
  // Identities and addresses that frameworks take from a proxy in front of them.
  'cf-connecting-ip',
  'fastly-client-ip',
  'remote-user',
  'true-client-ip',
  'x-arr-clientcert',
  'x-client-dn',
  'x-client-ip',
  'x-client-verify',
  'x-cluster-client-ip',
  'x-host',
  'x-original-host',
  'x-originating-ip',
  'x-remote-user',
  'x-tls-client-cert',
])
const RESERVED_PREFIX = /^(?:postern-|x-forwarded-|client-cert|x-client-cert|x-ssl-|ssl-client-|x-amzn-mtls-)/

/** A request with one of these and without framing has no body (RFC 9112 section 6.3); the others must say so. */
const METHODS_WITHOUT_BODY: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS'])

/**
 * The header of the request to the upstream, in order, duplicates kept. Pure.
 *
 * Fields of ours come after the removal of the client's, so that neither a forged copy in whatever spelling nor a
 * `Connection: postern-subject` has a say in them. A fact that is absent is no field at all. `upgrade` is the protocol
 * that is asked for; such a request has no body.
 */
export function requestHeaders(
  grant: Grant,
  exchange: ExchangeFacts,
  rules: RequestHeaderRules,
  upgrade: 'websocket' | null,
): RawHeaders {
  const { request } = grant
  const headers = ['Host', request.host]
  keepClientFields(headers, request.headers, rules)
  if (upgrade === null) addFraming(headers, request.method, request.headers)
  else headers.push('Connection', 'Upgrade', 'Upgrade', upgrade)
  addConnectionFacts(headers, exchange, request.host, rules.via)
  addIdentity(headers, grant, rules)
  return headers
}

function keepClientFields(to: string[], headers: RawHeaders, rules: RequestHeaderRules): void {
  const nominated = nominatedByConnection(headers)
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string
    if (isForUpstream(name, nominated, rules)) to.push(name, headers[i + 1] as string)
  }
}

function isForUpstream(name: string, nominated: ReadonlySet<string>, rules: RequestHeaderRules): boolean {
  const kind = kindOf(name)
  // `Connection: authorization` would otherwise let a client show its token here and not to the upstream.
  if (kind === 'authorization') return rules.authorization === 'forward'
  return kind === 'ordinary' && (nominated.size === 0 || !nominated.has(name.toLowerCase()))
}

const kindOf = remembered((name): 'ours' | 'authorization' | 'ordinary' => {
  const folded = foldedName(name)
  if (isReserved(folded) || isHopByHop(folded) || isFraming(folded) || folded === 'host') return 'ours'
  if (folded !== 'authorization') return 'ordinary'
  return name.toLowerCase() === folded ? 'authorization' : 'ours'
})

/** Asks for a folded name: fields that no client may set towards an upstream. */
function isReserved(folded: string): boolean {
  return RESERVED.has(folded) || RESERVED_PREFIX.test(folded)
}

/**
 * Exactly the framing with which the body was read. Without it, node:http writes the body of a GET or DELETE
 * unframed, and the upstream reads it as a second request that nobody checked (CWE-444, nodejs/node#27880).
 */
function addFraming(to: string[], method: string, headers: RawHeaders): void {
  const length = valuesOf(headers, 'content-length')[0]
  if (valuesOf(headers, 'transfer-encoding').length > 0) to.push('Transfer-Encoding', 'chunked')
  else if (length !== undefined) to.push('Content-Length', length)
  else if (!METHODS_WITHOUT_BODY.has(method)) to.push('Content-Length', '0')
}

function addConnectionFacts(to: string[], exchange: ExchangeFacts, host: string, via: string): void {
  const address = addressOrUnknown(exchange.clientAddress)
  to.push('X-Forwarded-For', address, 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', host)
  to.push('Forwarded', `for=${forwardedNode(address)};host=${quotedIfNeeded(host)};proto=https`)
  to.push('Via', `${exchange.request.httpVersion} ${via}`, 'x-fapi-interaction-id', exchange.interactionId)
}

function addIdentity(to: string[], { certificate, token, match }: Grant, rules: RequestHeaderRules): void {
  if (token !== null) {
    if (token.clientId !== null) to.push('Postern-Client-Id', fieldValue(token.clientId))
    if (token.subject !== null) to.push('Postern-Subject', fieldValue(token.subject))
    if (token.scopes.size > 0) to.push('Postern-Scopes', Array.from(token.scopes, scopeValue).join(' '))
    if (token.flow !== 'unknown') to.push('Postern-Flow', token.flow)
  }
  to.push('Postern-Route', routeValue(match.route.id))
  // RFC 9440 section 2.2: a Structured Field byte sequence.
  if (rules.clientCert === 'forward' && certificate !== null)
    to.push('Client-Cert', `:${certificate.der.toString('base64')}:`)
}

const scopeValue = remembered(listedWord)
const routeValue = remembered(fieldValue)

/** A client that has gone may have left none (RFC 7239 section 6.2). */
const addressOrUnknown = remembered(address => {
  const plain = plainAddress(address)
  return isIPv4(plain) || isIPv6(plain) ? plain : 'unknown'
})

/** RFC 7239 section 6: IPv6 in brackets and quotes. Asks for a plain address. */
function forwardedNode(address: string): string {
  return address.includes(':') ? `"[${address}]"` : address
}

/** RFC 7239 section 4: a value that is no token, such as a host with a port, is quoted. */
const quotedIfNeeded = remembered(host => (/^[a-z0-9.\-_]+$/i.test(host) ? host : `"${host}"`))
