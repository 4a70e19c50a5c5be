import { Denial, type Verdict } from '../decision/denials.js'

/**
 * What a path may hold although servers read it differently, on routes that allow it by name. All else that has two
 * readings is refused everywhere: dot and empty segments, backslashes, control characters, broken percent-encoding,
 * text that is not UTF-8.
 */
export const AMBIGUITIES = ['encodedSlash', 'semicolon', 'encodedUnreserved', 'encodedPercent'] as const
export type Ambiguity = (typeof AMBIGUITIES)[number]

/** The one path of a request: matched, forwarded, logged and compared with htu, byte for byte as it came. */
export interface CanonicalPath {
  readonly path: string
  /** What it holds that only some routes allow; empty for nearly every path. */
  readonly ambiguities: readonly Ambiguity[]
}

/** The longest path in bytes; longer ones are no path of an API. */
const MAX_PATH_BYTES = 4096

/** RFC 3986 pchar, without the escapes and without `;`. */
const PLAIN_PATH = /^(?:\/[A-Za-z0-9\-._~!$&'()*+,=:@]*)+$/
const PATH_WITH_ESCAPES = /^(?:\/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*)+$/
const EMPTY_OR_DOT_SEGMENT = /\/(?:\/|\.{1,2}(?:\/|$))/
const UNRESERVED = /[A-Za-z0-9\-._~]/
const ESCAPE = /%[0-9A-Fa-f]{2}/
const NONE: readonly Ambiguity[] = Object.freeze([])

/**
 * One spelling: returns the path as it came, with what it holds that a route must allow, and a `path_ambiguous` denial
 * for what no route can. Nothing is repaired, so the bytes that are matched, logged and forwarded are the same.
 * @see RFC 3986 section 6.2, CWE-22, CWE-436
 */
export function canonicalPath(path: string): Verdict<CanonicalPath> {
  if (path.length > MAX_PATH_BYTES) return ambiguous(`path longer than ${MAX_PATH_BYTES} bytes`)
  if (hasEmptyOrDotSegment(path)) return ambiguous('empty or dot segment')
  if (PLAIN_PATH.test(path)) return { path, ambiguities: NONE }
  if (!PATH_WITH_ESCAPES.test(path)) return ambiguous('a character or escape that RFC 3986 does not allow')
  const held = new Set<Ambiguity>(path.includes(';') ? ['semicolon'] : [])
  const problem = lookAtEscapes(path, held)
  return problem ?? { path, ambiguities: AMBIGUITIES.filter(each => held.has(each)) }
}

/** A segment that servers drop or climb by (RFC 3986 section 5.2.4). A slash at the end of a path makes none. */
export function hasEmptyOrDotSegment(path: string): boolean {
  return EMPTY_OR_DOT_SEGMENT.test(path)
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

/** Whether decoding changes the text. */
export function hasEscape(text: string): boolean {
  return ESCAPE.test(text)
}

/** What each escape stands for, now and for an upstream that decodes what it has decoded. */
function lookAtEscapes(path: string, held: Set<Ambiguity>): Denial | null {
  if (!path.includes('%')) return null
  for (const [code] of path.matchAll(/%[0-9A-Fa-f]{2}/g)) {
    const character = String.fromCharCode(Number.parseInt(code.slice(1), 16))
    if (UNRESERVED.test(character)) held.add('encodedUnreserved')
  }
  let text = path
  for (const layer of ['once', 'twice'] as const) {
    const decoded = decode(text)
    if (decoded === null)
      return ambiguous(`percent-encoding that is malformed or not UTF-8, decoded ${layer}`)
    const problem = problemOfText(decoded)
    if (problem !== null) return ambiguous(`${problem}, decoded ${layer}`)
    if (slashes(decoded) > slashes(text)) held.add('encodedSlash')
    if (decoded.includes(';')) held.add('semicolon')
    if (!hasEscape(decoded)) return null
    held.add('encodedPercent')
    text = decoded
  }
  return ambiguous('percent-encoding of more than two layers')
}

/** Undoes every escape; null where one is malformed or the bytes are not UTF-8. */
export function decode(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** What no escape may stand for. */
function problemOfText(text: string): string | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x1f\x7f]/.test(text)) return 'a control character'
  if (text.includes('\\')) return 'a backslash'
  if (hasEmptyOrDotSegment(text)) return 'an empty or dot segment'
  const folded = compatible(text)
  if (folded === text) return null
  const separates = count(folded, FOLDED) > count(text, FOLDED) || hasEscape(folded) !== hasEscape(text)
  return separates || hasEmptyOrDotSegment(folded) ? 'a character that folds into a separator or dot' : null
}

/** Servers that fold compatible characters take a full-width slash for a slash (Unicode TR 36 section 3.5). */
export function compatible(text: string): string {
  return text.normalize('NFKC')
}

const FOLDED = /[/\\;%]/g

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}

function slashes(text: string): number {
  return count(text, /\//g)
}

function ambiguous(detail: string): Denial {
  return new Denial('path_ambiguous', detail)
}
