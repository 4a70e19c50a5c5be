/** Text of unknown origin, such as a claim of a token, as a field value that means the same at the other end. */

/** `%` as well, so that no two texts share one value; a space at an end would be trimmed by the recipient. */
const UNSAFE = /[^\x20-\x24\x26-\x7e]+|^ +| +$/g
const UNSAFE_OR_SPACE = /[^\x21-\x24\x26-\x7e]+/g

/**
 * Visible ASCII and inner spaces stay; `%`, spaces at the ends and everything else (line breaks above all, CWE-113)
 * are percent-encoded as UTF-8. Percent-decoding gives the text back.
 */
export function fieldValue(text: string): string {
  return text.replace(UNSAFE, percentEncoded)
}

/** The same for one word of a list that is separated by spaces: a space within it would make two words of it. */
export function listedWord(text: string): string {
  return text.replace(UNSAFE_OR_SPACE, percentEncoded)
}

function percentEncoded(text: string): string {
  let encoded = ''
  for (const byte of Buffer.from(text, 'utf8'))
    encoded += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  return encoded
}
