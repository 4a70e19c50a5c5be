import { Denial, type Verdict } from '../decision/denials.js'
import { type CanonicalPath, canonicalPath } from './canonical-path.js'
import { type RawHeaders, valuesOf } from './headers.js'

/** What a request says of itself, read once and, but for what a route may allow in its path, unambiguous. */
export interface RequestFacts extends CanonicalPath {
  readonly method: string
  /** Path and query exactly as they came; what is forwarded. */
  readonly target: string
  /** The part of `target` after `?`, or ''. May hold personal data: never logged. */
  readonly query: string
  /** The one Host, lower case, as in `Host`; one of the served ones. */
  readonly host: string
  readonly headers: RawHeaders
}

/** The parts of a message on which the facts rest, as node:http gives them. */
export interface RequestHead {
  readonly method: string
  readonly url: string
  readonly httpVersion: string
  readonly rawHeaders: RawHeaders
}

/** What the listener knows of itself. */
export interface Served {
  /** Values of Host that are served, lower case, with the port where it is not 443. */
  readonly hosts: ReadonlySet<string>
  /** The pseudonym that this process writes into Via (RFC 9110 section 7.6.3). */
  readonly via: string
}

/** Printable ASCII; a raw `#` is no part of a request target (RFC 9112 section 3.2). */
const TARGET = /^[\x21-\x22\x24-\x7e]+$/
const BAD_ESCAPE = /%(?![0-9A-Fa-f]{2})/
/** RFC 3986 host and port, as far as a served host can need it. */
const AUTHORITY = /^(?:[A-Za-z0-9\-._]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/

/** 2 comes in the words of 1.1 (`http2-head.ts`). A request line may say 2.0, and is refused. */
const VERSIONS: ReadonlySet<string> = new Set(['1.1', '1.0', '2'])

/** Fields that decide something here or upstream and that Node would join or halve; each may occur once. */
const SINGLE_FIELDS = [
  'content-length',
  'content-type',
  'transfer-encoding',
  'x-fapi-auth-date',
  'x-fapi-customer-ip-address',
  'fdx-api-actor-type',
  'fdx-api-data-provider-id',
  'fdx-api-data-recipient-id',
] as const

/** Reads a message head; returns `request_malformed`, `path_ambiguous` or `host_unknown` where it has two readings. */
export function readRequest(head: RequestHead, served: Served): Verdict<RequestFacts> {
  const framing = framingProblem(head)
  if (framing !== null) return new Denial('request_malformed', framing)
  const host = readHost(head, served)
  if (host instanceof Denial) return host
  const target = readTarget(head, served, host)
  if (target instanceof Denial) return target
  const mark = target.indexOf('?')
  const canonical = canonicalPath(mark === -1 ? target : target.slice(0, mark))
  if (canonical instanceof Denial) return canonical
  const query = mark === -1 ? '' : target.slice(mark + 1)
  if (BAD_ESCAPE.test(query))
    return new Denial('request_malformed', 'malformed percent-encoding in the query')
  const { path, ambiguities } = canonical
  return { path, ambiguities, method: head.method, target, query, host, headers: head.rawHeaders }
}

function framingProblem(head: RequestHead): string | null {
  if (!VERSIONS.has(head.httpVersion)) return 'HTTP version'
  if (head.method === 'CONNECT' || head.method === 'TRACE') return `${head.method} is never served`
  for (const field of SINGLE_FIELDS)
    if (valuesOf(head.rawHeaders, field).length > 1) return `repeated ${field}`
  const coding = valuesOf(head.rawHeaders, 'transfer-encoding')[0]
  if (coding !== undefined) {
    // An HTTP/1.0 sender cannot chunk, and Node does not mind (RFC 9112 section 6.1).
    if (head.httpVersion === '1.0') return 'Transfer-Encoding in HTTP/1.0'
    if (coding.toLowerCase() !== 'chunked') return 'a transfer coding other than chunked'
    if (valuesOf(head.rawHeaders, 'content-length').length > 0) return 'Content-Length with Transfer-Encoding'
  }
  return null
}

/** RFC 9112 section 3.2: exactly one well-formed Host, and one that is served. */
function readHost(head: RequestHead, served: Served): Verdict<string> {
  const hosts = valuesOf(head.rawHeaders, 'host')
  const host = hosts[0]
  if (hosts.length !== 1 || host === undefined)
    return new Denial('request_malformed', `${hosts.length} Host headers`)
  if (!AUTHORITY.test(host)) return new Denial('request_malformed', 'malformed Host')
  return servedHost(host, served)
}

function servedHost(authority: string, served: Served): Verdict<string> {
  const host = authority.toLowerCase().replace(/:443$/, '')
  return served.hosts.has(host) ? host : new Denial('host_unknown', 'the Host is not in server.publicUrl')
}

/** The target in origin-form. Absolute-form must be accepted (RFC 9112 section 3.2.2), for served hosts only. */
function readTarget(head: RequestHead, served: Served, host: string): Verdict<string> {
  if (valuesOf(head.rawHeaders, 'via').some(value => value.includes(served.via)))
    return new Denial('request_malformed', 'a loop: the request passed here before (Via)')
  const target = head.url
  if (!TARGET.test(target))
    return new Denial('request_malformed', 'a character that no request target may hold')
  if (target.startsWith('/')) return target
  const absolute = /^https:\/\/([^/?]*)(\/.*)$/i.exec(target)
  if (absolute === null)
    return new Denial('request_malformed', 'the target is neither a path nor an https URL')
  const [, authority, rest] = absolute as unknown as [string, string, string]
  if (!AUTHORITY.test(authority)) return new Denial('request_malformed', 'malformed authority in the target')
  const named = servedHost(authority, served)
  if (named instanceof Denial) return named
  // The target's authority would win (RFC 9112 section 3.2.2), but the upstream reads Host.
  return named === host ? rest : new Denial('request_malformed', 'Host and target name different hosts')
}
