/** The other paths that an upstream may take an odd path for: what decoding and cutting make of it. */
import { Denial, type Verdict } from '../decision/denials.js'
import { compatible, decode, hasEmptyOrDotSegment, hasEscape, plainSpelling } from './canonical-path.js'

/** A path that an upstream may arrive at, in the spelling of templates. */
export interface Reading {
  readonly path: string
  /**
   * More went than one segment's `;parameters`: the path may have lost segments. Otherwise each segment became one or,
   * by a slash that was encoded, several, in the same order.
   */
  readonly isCutShort: boolean
}

/** What servers do before they look a path up, each as seen in a released product; see docs/decisions/0021. */
const CUTS: readonly { readonly of: (text: string) => string; readonly isCutShort: boolean }[] = [
  { of: text => text.replaceAll(/;[^/]*/g, ''), isCutShort: false },
  { of: text => text.replace(/;.*$/s, ''), isCutShort: true },
  { of: text => text.replace(/[?#].*$/s, ''), isCutShort: true },
]

const ENCODED_SLASH = /%2f/i
/** So many layers of encoding may a path have; `canonicalPath` refuses more. */
const LAYERS = 2
/** Ordinary paths have four at most; those made to have many would cost time. */
const MAX_TEXTS = 16

/** Texts of one layer of decoding, and whether they are cut short; a text that is also reached without that is not. */
type Texts = ReadonlyMap<string, boolean>

/** Whether the path has other readings at all; nearly none has. */
export function hasOtherReadings(path: string): boolean {
  return path.includes('%') || path.includes(';')
}

/** Every reading but the path itself, or a denial when one of them has an empty or dot segment. For canonical paths. */
export function otherReadings(path: string): Verdict<readonly Reading[]> {
  const readings = new Map<string, boolean>()
  let texts = withCuts(new Map([[path, false]]))
  for (let layer = 0; ; layer++) {
    for (const [text, isCutShort] of texts) {
      if (hasEmptyOrDotSegment(text) || (text.endsWith('/') && !path.endsWith('/')))
        return new Denial('path_ambiguous', 'some servers read an empty or dot segment in it')
      keep(readings, layer === 0 ? text : templateSpelling(text), isCutShort)
    }
    if (layer === LAYERS || ![...texts.keys()].some(hasEscape)) break
    if (texts.size > MAX_TEXTS) return new Denial('path_ambiguous', `more than ${MAX_TEXTS} readings`)
    texts = withCuts(decoded(texts))
  }
  readings.delete(path)
  return [...readings].map(([path, isCutShort]) => ({ path, isCutShort }))
}

function keep(texts: Map<string, boolean>, text: string, isCutShort: boolean): void {
  texts.set(text, isCutShort && texts.get(text) !== false)
}

/** With every cut of every text, and the cuts of those. */
function withCuts(texts: Texts): Texts {
  const all = new Map(texts)
  // A text that is added here is visited as well.
  for (const [text] of all)
    for (const { of, isCutShort } of CUTS) {
      const cut = of(text)
      if (cut !== text) keep(all, cut, isCutShort || all.get(text) === true)
    }
  return all
}

function decoded(texts: Texts): Texts {
  const next = new Map<string, boolean>()
  for (const [text, isCutShort] of texts)
    for (const plain of decodings(text)) {
      keep(next, plain, isCutShort)
      keep(next, compatible(plain), isCutShort)
    }
  return next
}

/**
 * What one layer of decoding makes of a text, all of it or all but slashes (RFC 3986 section 6.2.2.2, and servers that keep `%2F`):
 * then one segment can become a literal of a template while another stays a parameter.
 */
function decodings(text: string): readonly string[] {
  const plain = decode(text)
  if (plain === null) return [] // a lone % that `canonicalPath` let through: nothing is left to decode
  if (!ENCODED_SLASH.test(text)) return [plain]
  const butSlashes = decode(text.replaceAll(/%2f/gi, '%252F'))
  return butSlashes === null ? [plain] : [plain, butSlashes]
}

/** The spelling that a template has for decoded text: only what must be encoded is. */
function templateSpelling(text: string): string {
  return text
    .split('/')
    .map(segment => plainSpelling(encodeURIComponent(segment)))
    .join('/')
}
