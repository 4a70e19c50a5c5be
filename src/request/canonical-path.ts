import { Denial, type Verdict } from '../decision/denials.js'

/** The longest path in bytes; longer ones are no path of an API. */
const MAX_PATH_BYTES = 4096

/** RFC 3986 pchar without `;`: some servers cut path parameters off before they match, so `;` has two readings. */
const PLAIN_PATH = /^(?:\/[A-Za-z0-9\-._~!$&'()*+,=:@]*)+$/
const PATH_WITH_ESCAPES = /^(?:\/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-Fa-f]{2})*)+$/
const EMPTY_OR_DOT_SEGMENT = /\/(?:\/|\.{1,2}(?:\/|$))/
const UNRESERVED = /[A-Za-z0-9\-._~]/

/**
 * One spelling: returns the path as it came when it has exactly one reading, and a `path_ambiguous` denial
 * otherwise. Nothing is repaired, so the bytes that are matched, logged and forwarded are the same.
 * @see RFC 3986 section 6.2, CWE-22, CWE-436
 */
export function canonicalPath(path: string): Verdict<string> {
  if (path.length > MAX_PATH_BYTES)
    return new Denial('path_ambiguous', `path longer than ${MAX_PATH_BYTES} bytes`)
  if (EMPTY_OR_DOT_SEGMENT.test(path)) return new Denial('path_ambiguous', 'empty or dot segment')
  if (PLAIN_PATH.test(path)) return path
  if (!PATH_WITH_ESCAPES.test(path))
    return new Denial('path_ambiguous', 'a character that RFC 3986 does not allow, or ";"')
  return escapesAreNeeded(path) ?? path
}

/**
 * The spelling that an upstream arrives at when it undoes what percent-encoding RFC 3986 lets a path do without
 * (`%3A` is `:`) and writes the rest with capitals. For a canonical path or a part of it.
 */
export function plainSpelling(path: string): string {
  return path.replace(/%[0-9A-Fa-f]{2}/g, code => {
    const character = String.fromCharCode(Number.parseInt(code.slice(1), 16))
    return /[!$&'()*+,=:@]/.test(character) ? character : code.toUpperCase()
  })
}

/** Each escape must stand for something that could not be written plainly, and mean the same after every decoding. */
function escapesAreNeeded(path: string): Denial | null {
  for (let at = path.indexOf('%'); at !== -1; at = path.indexOf('%', at + 3)) {
    const byte = Number.parseInt(path.slice(at + 1, at + 3), 16)
    const character = String.fromCharCode(byte)
    if (byte < 0x20 || byte === 0x7f) return new Denial('path_ambiguous', 'encoded control character')
    if (UNRESERVED.test(character))
      return new Denial('path_ambiguous', 'percent-encoding of an unreserved character')
    if (character === '/' || character === '\\' || character === ';')
      return new Denial('path_ambiguous', 'encoded separator')
    // %25XX turns into another escape when an upstream decodes twice.
    if (character === '%' && /^[0-9A-Fa-f]{2}/.test(path.slice(at + 3)))
      return new Denial('path_ambiguous', 'double percent-encoding')
  }
  try {
    decodeURIComponent(path)
  } catch {
    return new Denial('path_ambiguous', 'percent-encoding that is not UTF-8')
  }
  return null
}
