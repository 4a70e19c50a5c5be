/** The head of an HTTP/2 request (RFC 9113 section 8) in the words of HTTP/1, in which everything else reads it. */
import { Denial, type Verdict } from '../decision/denials.js'
import type { RawHeaders } from './headers.js'

/** What an HTTP/1.1 request would have said. */
export interface Http2Head {
  readonly method: string
  readonly target: string
  /** Host first; the framing of the body as HTTP/1.1 needs it. */
  readonly headers: string[]
}

/** What the frames of a request's head tell. */
export interface Http2Fields {
  /** Pseudo-header fields included, in order. */
  readonly fields: RawHeaders
  /** There is no body. */
  readonly isWhole: boolean
  /** The most bytes that the fields may have, each counted with the 32 of section 6.5.2. */
  readonly mostBytes: number
}

const PSEUDO = new Set([':method', ':scheme', ':authority', ':path'])
/** Section 8.2.2: in HTTP/1 they say where a message ends; behind us somebody might believe them. */
const OF_CONNECTIONS = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
/** Section 8.2.1: what HTTP/1 would read as the end of a field, or strip. */
const BAD_VALUE = /[\0\r\n]|^[\t ]|[\t ]$/
const OVERHEAD_BYTES = 32

/** Reads a head; returns `request_malformed` where section 8 calls it that, and `header_too_large`. */
export function readHttp2Head({ fields, isWhole, mostBytes }: Http2Fields): Verdict<Http2Head> {
  const pseudo = new Map<string, string>()
  const headers: string[] = []
  const hosts: string[] = []
  const cookies: string[] = []
  let bytes = 0
  let hasLength = false
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] as string
    const value = fields[i + 1] as string
    bytes += name.length + value.length + OVERHEAD_BYTES
    const problem = name.startsWith(':')
      ? problemOfPseudo(name, pseudo, headers.length + hosts.length + cookies.length)
      : problemOfField(name, value)
    if (problem !== null) return malformed(problem)
    if (name.startsWith(':')) pseudo.set(name, value)
    else if (name === 'host') hosts.push(value)
    else if (name === 'cookie') cookies.push(value)
    else headers.push(name, value)
    hasLength ||= name === 'content-length'
  }
  if (bytes > mostBytes) return new Denial('header_too_large', `${bytes} bytes of HTTP/2 fields`)
  // Section 8.2.3: crumbs of one field, which may not be sent in pieces over HTTP/1.
  if (cookies.length > 0) headers.push('cookie', cookies.join('; '))
  if (!isWhole && !hasLength) headers.push('transfer-encoding', 'chunked')
  return withTarget(pseudo, hosts, headers)
}

function problemOfPseudo(name: string, seen: ReadonlyMap<string, string>, before: number): string | null {
  if (before > 0) return 'a pseudo-header field after others'
  if (!PSEUDO.has(name)) return 'an unknown pseudo-header field'
  return seen.has(name) ? `repeated ${name}` : null
}

function problemOfField(name: string, value: string): string | null {
  if (!NAME.test(name)) return 'the name of a field'
  if (OF_CONNECTIONS.has(name) || (name === 'te' && value !== 'trailers')) return `${name} in HTTP/2`
  if (name === 'content-length' && !/^\d+$/.test(value)) return 'Content-Length is no number'
  return BAD_VALUE.test(value) ? 'the value of a field' : null
}

/** Section 8.3.1. What `:path` and the authority say is judged with every other request. */
function withTarget(
  pseudo: ReadonlyMap<string, string>,
  hosts: readonly string[],
  headers: string[],
): Verdict<Http2Head> {
  const [method, scheme, target] = [pseudo.get(':method'), pseudo.get(':scheme'), pseudo.get(':path')]
  if (method === undefined || method === 'CONNECT' || scheme === undefined || target === undefined)
    return malformed('CONNECT, or a pseudo-header field is missing')
  if (scheme !== 'https') return malformed(':scheme is not https')
  if (!target.startsWith('/')) return malformed(':path is no path')
  const authority = pseudo.get(':authority')
  // The upstream reads one of them; whoever reads the other must not see another host.
  if (authority !== undefined && hosts.some(host => host.toLowerCase() !== authority.toLowerCase()))
    return malformed(':authority and host differ')
  const host = authority === undefined || hosts.length > 1 ? hosts : [authority]
  return { method, target, headers: [...host.flatMap(one => ['host', one]), ...headers] }
}

function malformed(detail: string): Denial {
  return new Denial('request_malformed', detail)
}
