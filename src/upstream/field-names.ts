/** Which header fields belong to this hop, to this process, or to the framing of a message. */
import { type RawHeaders, valuesOf } from '../request/headers.js'

/** RFC 9110 section 7.6.1, and those that are treated alike although Connection does not name them. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
])

/**
 * The one name behind all spellings that a server may fold together: CGI, WSGI and PHP turn `Client-Cert`,
 * `client_cert` and `CLIENT.CERT` into the same variable.
 */
export function foldedName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-')
}

/** Names that are remembered at a time, and the longest of them. Anybody can invent more. */
const MOST_REMEMBERED = 1000
const LONGEST_REMEMBERED = 64

/** The same judgement of names, remembered for those that come again with every message. */
export function remembered<T>(judge: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>()
  return name => {
    const before = known.get(name)
    if (before !== undefined) return before
    const judged = judge(name)
    if (name.length > LONGEST_REMEMBERED) return judged
    if (known.size >= MOST_REMEMBERED) known.clear()
    known.set(name, judged)
    return judged
  }
}

/** Asks for a folded name. */
export function isHopByHop(folded: string): boolean {
  return HOP_BY_HOP.has(folded)
}

/** Asks for a folded name. Framing is never copied, always written anew. */
export function isFraming(folded: string): boolean {
  return folded === 'content-length' || folded === 'transfer-encoding'
}

const NOTHING: ReadonlySet<string> = new Set()

/** Lower-case names that the sender declares hop-by-hop (RFC 9110 section 7.6.1), beside those that are so anyway. */
export function nominatedByConnection(headers: RawHeaders): ReadonlySet<string> {
  const values = valuesOf(headers, 'connection')
  if (values.length === 0) return NOTHING
  return values.length === 1 ? namesIn(values[0] as string) : namesIn(values.join(','))
}

const namesIn = remembered((list): ReadonlySet<string> => {
  const names = list.split(',').map(name => name.trim().toLowerCase())
  return new Set(names.filter(name => !HOP_BY_HOP.has(name)))
})
