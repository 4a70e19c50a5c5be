import { posix } from 'node:path'
import { Denial } from '../../src/decision/denials.js'
import {
  AMBIGUITIES,
  type Ambiguity,
  type CanonicalPath,
  canonicalPath,
  plainSpelling,
} from '../../src/request/canonical-path.js'
import type { Random } from '../random.js'
import { promise, type Target } from '../target.js'

/** Longer than any path of a request that gets this far. */
const MAX_LENGTH = 64 * 1024

/** Reads paths: one reading or none. */
export const path: Target = {
  name: 'path',
  maxLength: MAX_LENGTH,
  maxMs: 50,
  words: [
    '/',
    '//',
    '/./',
    '/../',
    '%2e',
    '%2E%2e',
    '%2f',
    '%5c',
    '\\',
    '%25',
    '%252f',
    '%00',
    ';',
    '%3b',
    '%3A',
    '%c3%a9',
    '%c0%af',
    '?',
    '#',
  ],
  generate: random => random.repeat(1, 6, () => `/${segment(random)}`),
  judge(input) {
    const verdict = canonicalPath(input)
    if (verdict instanceof Denial) {
      promise(verdict.code === 'path_ambiguous', `refused with ${verdict.code}`)
      return verdict.detail
    }
    promise(verdict.path === input, 'an accepted path is not its own canonical form')
    judgePath(verdict)
    return `accepted with ${verdict.ambiguities.join() || 'nothing that needs leave'}`
  },
  worst: {
    slashes: length => '/a'.repeat(length / 2),
    'a character that is not allowed at the end': length => `${'/a'.repeat(length / 2)}"`,
    escapes: length => `/${'%C3%A9'.repeat(length / 6)}`,
    'escapes that do not end': length => `/${'%41'.repeat(length / 3)}%`,
    dots: length => `/${'.'.repeat(length)}`,
  },
}

function segment(random: Random): string {
  if (random.oneIn(8))
    return random.pick([
      '.',
      '..',
      '',
      '...',
      '%2e',
      'a;b=c',
      'a%2Fb',
      '%2541',
      '%252f',
      '%253b',
      '%ef%bc%8f',
      '%e2%84%aa',
    ])
  return random.repeat(1, 6, () =>
    random.oneIn(4)
      ? `%${random.below(256).toString(16).padStart(2, '0')}`
      : random.pick([..."abzAZ09-._~!$&'()*+,=:@"]),
  )
}

/**
 * What must hold of an accepted path by other means than those of the reader: Node's and the WHATWG's normalisation change
 * nothing, however often it is decoded; what a route must allow is named, and nothing else is; and where nothing is, the plain
 * spelling is what encoding the decoded path gives.
 */
export function judgePath({ path, ambiguities }: CanonicalPath): void {
  promise(
    path.startsWith('/') && path.length <= 4096,
    'an accepted path does not begin with / or is too long',
  )
  promise(new URL(`https://host${path}`).pathname === path, 'the WHATWG parser changes an accepted path')
  const once = decodeURIComponent(path)
  const isLayered = ESCAPE.test(once)
  const readings = isLayered ? [path, once, decodeURIComponent(once)] : [path, once]
  for (const reading of readings) {
    promise(posix.normalize(reading) === reading, 'an accepted path has dot or empty segments')
    promise(
      ![...reading].some(character => character < ' ' || character === '\\' || character === '\x7f'),
      'an accepted path has a backslash or control characters',
    )
  }
  promise(!ESCAPE.test(readings.at(-1) ?? '') || !isLayered, 'an accepted path has more than two layers')
  const holds: Readonly<Record<Ambiguity, boolean>> = {
    encodedSlash: new Set(readings.map(reading => reading.split('/').length)).size > 1,
    semicolon: readings.some(reading => reading.includes(';')),
    encodedUnreserved: [...path.matchAll(/%([0-9A-Fa-f]{2})/g)].some(([, hex = '']) =>
      /[\w\-.~]/.test(String.fromCharCode(Number.parseInt(hex, 16))),
    ),
    encodedPercent: isLayered,
  }
  for (const each of AMBIGUITIES)
    promise(
      holds[each] === ambiguities.includes(each),
      `${each} is named where it is not, or not where it is`,
    )
  if (ambiguities.length > 0) return
  const plain = plainSpelling(path)
  promise(plain === encode(once), 'the plain spelling is not what encoding the decoded path gives')
  const again = canonicalPath(plain)
  promise(!(again instanceof Denial) && again.ambiguities.length === 0, 'the plain spelling is refused')
}

const ESCAPE = /%[0-9A-Fa-f]{2}/

/** RFC 3986 section 3.3: pchar stays, the rest is written as UTF-8 in capitals. */
function encode(decoded: string): string {
  return [...decoded]
    .map(character => (/[A-Za-z0-9\-._~!$&'()*+,=:@/]/.test(character) ? character : percent(character)))
    .join('')
}

function percent(character: string): string {
  return [...Buffer.from(character)]
    .map(byte => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
    .join('')
}
