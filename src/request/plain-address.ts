/** Without the zone of a link-local address, and IPv4 as such where a dual-stack socket maps it into IPv6 (RFC 4291 section 2.5.5.2). */
export function plainAddress(address: string): string {
  return address.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '')
}
