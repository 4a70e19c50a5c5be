/**
 * RFC 3986 section 3, as far as an https target can be spelled: no user name, a plain host, a path without `\`, which some parsers
 * take for a slash. What follows `?` or `#` does not count.
 */
const ABSOLUTE =
  /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([A-Za-z0-9\-._~]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?((?:\/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?)(?:[?#][\x21-\x7e]*)?$/
const BAD_ESCAPE = /%(?![0-9A-Fa-f]{2})/
const UNRESERVED = /[A-Za-z0-9\-._~]/

/**
 * An https URI without query and fragment, in the one spelling of RFC 3986 sections 6.2.2 and 6.2.3; null when it is no such URI.
 * Two URIs name the same target, as RFC 9449 section 4.3 compares them, exactly when their results are equal.
 */
export function normalisedTarget(uri: string): string | null {
  const [, scheme, host, port = '', path = ''] = ABSOLUTE.exec(uri) ?? []
  if (scheme === undefined || host === undefined || scheme.toLowerCase() !== 'https') return null
  const normalised = normalisedPath(path)
  if (normalised === null) return null
  return `https://${host.toLowerCase()}${port === '' || port === '443' ? '' : `:${port}`}${normalised}`
}

/** The path of a URI with an authority; null when an escape is malformed. */
export function normalisedPath(path: string): string | null {
  if (BAD_ESCAPE.test(path)) return null
  const plain = path.replaceAll(/%[0-9A-Fa-f]{2}/g, escaped => {
    const character = String.fromCharCode(Number.parseInt(escaped.slice(1), 16))
    return UNRESERVED.test(character) ? character : escaped.toUpperCase()
  })
  return withoutDotSegments(plain)
}

/** RFC 3986 section 5.2.4 for a path that is empty or begins with a slash. */
function withoutDotSegments(path: string): string {
  if (!/\/\.{1,2}(?:\/|$)/.test(path)) return path === '' ? '/' : path
  const kept: string[] = []
  const segments = path.split('/').slice(1)
  for (const [index, segment] of segments.entries()) {
    const isDots = segment === '.' || segment === '..'
    if (segment === '..') kept.pop()
    if (!isDots) kept.push(segment)
    else if (index === segments.length - 1) kept.push('')
  }
  return `/${kept.join('/')}`
}
