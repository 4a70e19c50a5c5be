/** Distinguished names as text (RFC 4514), compared as whole names: order, types and values to the letter. */

interface Attribute {
  /** Upper case: types are compared without case (RFC 4514 section 2.3). */
  readonly type: string
  /** Unescaped; null for a `#hex` value, which is kept as `hex`. */
  readonly value: string | null
  readonly hex: string
}

const TYPE = /^(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)$/
const SPECIAL = new Set([',', '+', '"', '\\', '<', '>', ';', '=', '#', ' '])

/**
 * The one spelling of a name: `CN=client-a,O=Acme,C=US`, most specific part first. Null when the text is no name.
 * Two names are the same when their spellings are. Values keep their case and spaces, which is stricter than X.520.
 */
export function canonicalName(text: string): string | null {
  const parts: string[] = []
  for (const part of splitUnescaped(text, ',')) {
    const attributes = splitUnescaped(part, '+').map(readAttribute)
    if (attributes.some(attribute => attribute === null)) return null
    // A set (X.501): the order within one part means nothing.
    parts.push((attributes as Attribute[]).map(written).sort().join('+'))
  }
  return parts.join(',')
}

/** The one common name of a canonical or RFC 4514 name; null when there is none, or more than one to choose from. */
export function commonNameOf(text: string): string | null {
  const names = splitUnescaped(text, ',')
    .flatMap(part => splitUnescaped(part, '+'))
    .map(readAttribute)
    .filter(attribute => attribute?.type === 'CN')
  return names.length === 1 ? (names[0]?.value ?? null) : null
}

/** Splits at a separator that no backslash precedes. */
function splitUnescaped(text: string, separator: string): string[] {
  const parts: string[] = []
  let start = 0
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1
    else if (text[at] === separator) {
      parts.push(text.slice(start, at))
      start = at + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function readAttribute(text: string): Attribute | null {
  const mark = text.indexOf('=')
  if (mark === -1) return null
  const type = text.slice(0, mark).trim().toUpperCase()
  if (!TYPE.test(type)) return null
  const raw = withoutOuterSpaces(text.slice(mark + 1))
  if (raw.startsWith('#'))
    return /^#(?:[0-9A-Fa-f]{2})+$/.test(raw) ? { type, value: null, hex: raw.toLowerCase() } : null
  const value = unescaped(raw)
  return value === null ? null : { type, value, hex: '' }
}

/** Spaces at the ends are part of the value only when escaped. */
function withoutOuterSpaces(text: string): string {
  const start = text.replace(/^ +/, '')
  const end = start.replace(/ +$/, '')
  // An odd run of backslashes escapes the space that follows it.
  const backslashes = /\\*$/.exec(end)?.[0].length ?? 0
  return backslashes % 2 === 1 && end !== start ? `${end} ` : end
}

/** RFC 4514 section 2.4: `\` and a special character, or `\` and two hex digits for one byte of UTF-8. */
function unescaped(text: string): string | null {
  const bytes: Buffer[] = []
  for (let at = 0; at < text.length; ) {
    const character = String.fromCodePoint(text.codePointAt(at) as number)
    if (character !== '\\') {
      if (character === '"' || character === ';' || character === '<' || character === '>') return null
      bytes.push(Buffer.from(character))
      at += character.length
      continue
    }
    const next = text[at + 1] ?? ''
    const pair = text.slice(at + 1, at + 3)
    if (/^[0-9A-Fa-f]{2}$/.test(pair)) {
      bytes.push(Buffer.from(pair, 'hex'))
      at += 3
    } else if (SPECIAL.has(next)) {
      bytes.push(Buffer.from(next))
      at += 2
    } else return null
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes))
  } catch {
    return null
  }
}

function written({ type, value, hex }: Attribute): string {
  if (value === null) return `${type}=${hex}`
  const escaped = value
    .replace(/[,+"\\<>;]/g, '\\$&')
    // A line break or NUL in a name must stay visible wherever the name is printed.
    .replace(/\p{Cc}/gu, control =>
      [...Buffer.from(control)].map(byte => `\\${byte.toString(16).padStart(2, '0').toUpperCase()}`).join(''),
    )
    // One space alone is at both ends and escaped once.
    .replace(/^[ #]|(?<=.) $/g, '\\$&')
  return `${type}=${escaped}`
}
