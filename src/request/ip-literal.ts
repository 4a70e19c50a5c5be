/** Addresses as text, without a resolver and without node:net: this floor does no I/O. */

const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`)
const GROUP = /^[0-9A-Fa-f]{1,4}$/
const LONGEST = 45

/** Whether the text is one IPv4 or IPv6 address (RFC 4291 section 2.2), compressed or not, without a zone. */
export function isIpLiteral(text: string): boolean {
  return text.length <= LONGEST && (IPV4.test(text) || isIpv6(text))
}

function isIpv6(text: string): boolean {
  const halves = text.split('::')
  if (halves.length > 2) return false
  const counts = halves.map((half, index) => groupsIn(half, index === halves.length - 1))
  if (counts.includes(null)) return false
  const groups = (counts as number[]).reduce((sum, count) => sum + count, 0)
  return halves.length === 1 ? groups === 8 : groups <= 7
}

/** How many 16-bit groups the text has; null when one of them is none. The last may be an IPv4 address and counts twice. */
function groupsIn(text: string, isEnd: boolean): number | null {
  if (text === '') return 0
  const parts = text.split(':')
  const last = parts.at(-1) as string
  const hasIpv4 = isEnd && IPV4.test(last)
  const groups = hasIpv4 ? parts.slice(0, -1) : parts
  return groups.every(group => GROUP.test(group)) ? groups.length + (hasIpv4 ? 2 : 0) : null
}
