/** Who counts as one client by address. Without node:net: this floor does no I/O. */
import { plainAddress } from './plain-address.js'

/**
 * The name under which requests from an address are counted: an IPv4 address, also where a socket or a translator writes it
 * as IPv6, or the /64 of an IPv6 address. Whoever has one IPv6 address has 2^64 of them (RFC 6177 section 2).
 */
export function clientNetwork(address: string): string {
  const plain = plainAddress(address)
  if (!plain.includes(':')) return plain
  const groups = groupsOf(plain)
  if (isIpv4Inside(groups)) return ipv4Of(groups)
  return `${groups
    .slice(0, 4)
    .map(group => group.toString(16))
    .join(':')}::/64`
}

/** The eight groups of an address that a socket reports, so one that is well-formed. */
function groupsOf(address: string): readonly number[] {
  const [head = '', tail = ''] = address.split('::')
  const [first, last] = [parsed(head), parsed(tail)]
  const zeros = new Array<number>(Math.max(0, 8 - first.length - last.length)).fill(0)
  return [...first, ...zeros, ...last]
}

function parsed(half: string): readonly number[] {
  if (half === '') return []
  return half.split(':').flatMap(group => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [a * 256 + b, c * 256 + d]
  })
}

/** Mapped by a dual-stack socket (RFC 4291 section 2.5.5.2), or by a translator with the well-known prefix (RFC 6052 section 2.1). */
function isIpv4Inside(groups: readonly number[]): boolean {
  const prefix = groups
    .slice(0, 6)
    .map(group => group.toString(16))
    .join(':')
  return prefix === '0:0:0:0:0:ffff' || prefix === '64:ff9b:0:0:0:0'
}

function ipv4Of(groups: readonly number[]): string {
  return groups
    .slice(6)
    .flatMap(group => [group >> 8, group & 255])
    .join('.')
}
