/** One field line of an answer, header or trailer, read strictly (RFC 9112 section 5). */
import { MalformedAnswer } from './upstream-failure.js'

const COLON = 0x3a
const SPACE = 0x20
const TAB = 0x09
const DELETE = 0x7f

/** By character code: whether a name may contain it (RFC 9110 section 5.6.2). */
const IN_NAME: readonly boolean[] = Array.from({ length: 256 }, (_, code) =>
  /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(code)),
)

/**
 * Appends name and value of the line at `from` to `end`, without its CRLF. Latin-1 text: one character for each byte.
 * A folded line begins with a space, which no name does; a space before the colon is in no name either.
 */
export function readField(text: string, from: number, end: number, to: string[]): void {
  let at = from
  while (at < end && IN_NAME[text.charCodeAt(at)] === true) at++
  if (at === from || at === end || text.charCodeAt(at) !== COLON)
    throw new MalformedAnswer('a field without a proper name')
  const name = text.slice(from, at)
  let first = at + 1
  let last = end
  while (first < last && isBlank(text.charCodeAt(first))) first++
  while (last > first && isBlank(text.charCodeAt(last - 1))) last--
  for (let i = first; i < last; i++)
    if (!isInValue(text.charCodeAt(i))) throw new MalformedAnswer('a control character in a field')
  const value = text.slice(first, last)
  // Readers differ in whether a tab is a blank here.
  if (isFramingName(name) && text.slice(at, end).includes('\t'))
    throw new MalformedAnswer('a tab in a framing field')
  to.push(name, value)
}

/** Whether a field says where a message ends. */
export function isFramingName(name: string): boolean {
  if (name.length !== 14 && name.length !== 17) return false
  const lower = name.toLowerCase()
  return lower === 'content-length' || lower === 'transfer-encoding'
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB
}

function isInValue(code: number): boolean {
  return (code >= SPACE && code !== DELETE) || code === TAB
}
