import { createHash, X509Certificate } from 'node:crypto'
import { BlockList, isIPv6 } from 'node:net'
import { judgeCertificate } from '../checks/certificate.js'
import type { ClientTrust } from '../checks/trust.js'
import type { ClientTrustSettings, TerminatorSettings } from '../config/settings.js'
import { Denial, type Verdict } from '../decision/denials.js'
import type { Gate } from '../gate/gate.js'
import { type CertificateFacts, certificateFacts, isWithin } from '../request/certificate-facts.js'
import { forwardedValue, readForwarded, type TerminatorHeader } from '../request/forwarded-certificate.js'
import { plainAddress } from '../request/plain-address.js'
import { BoundedMap } from './bounded-map.js'
import { verifyChain } from './certificate-chain.js'
import { keyUsageOf } from './certificate-extensions.js'
import { commonValidity } from './certificate-paths.js'

/** Certificates that were read from headers and verified; reading one again costs two signatures. */
const REMEMBERED = 1000

/**
 * The certificate that a client showed (RFC 8705 section 6.5, RFC 9440). By default that of the connection. When the peer is a
 * trusted terminator its header alone counts: without one the client had no certificate, and the terminator's own is never
 * taken for the client's. From all other peers the header counts for nothing, and is removed before forwarding.
 */
export function clientsOf(
  terminators: readonly TerminatorSettings[],
  settings: ClientTrustSettings,
  trust: ClientTrust,
): Gate['clientOf'] {
  if (terminators.length === 0) return ({ certificate }) => ({ certificate, isBehindTerminator: false })
  const known = terminators.map(terminator => ({
    header: terminator.header,
    isPeer: peerTest(terminator, trust),
  }))
  const read = remembered(forwardedFacts(settings, trust))
  return ({ clientAddress, certificate, request }, now) => {
    const terminator = known.find(({ isPeer }) => isPeer(clientAddress, certificate, now))
    if (terminator === undefined) return { certificate, isBehindTerminator: false }
    const value = forwardedValue(request.rawHeaders, terminator.header)
    if (value instanceof Denial) return value
    const forwarded = value === null ? null : read(value, terminator.header)
    return forwarded instanceof Denial ? forwarded : { certificate: forwarded, isBehindTerminator: true }
  }
}

type PeerTest = (address: string, certificate: CertificateFacts | null, now: number) => boolean

/** Address and, where one is named, certificate; both must be right. */
function peerTest({ networks, certificate: named }: TerminatorSettings, trust: ClientTrust): PeerTest {
  const list = new BlockList()
  for (const { address, prefix, family } of networks) list.addSubnet(address, prefix, family)
  return (address, certificate, now) => {
    const plain = plainAddress(address)
    if (plain === '' || !list.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')) return false
    return named === null || (certificate !== null && isNamed(certificate, named, trust, now))
  }
}

/**
 * A thumbprint names one certificate, whoever issued it, for as long as it is valid. A subject is only as good as the
 * authority that vouches for it, so the certificate must be trusted like a client's.
 */
function isNamed(
  certificate: CertificateFacts,
  { thumbprints, subject }: NonNullable<TerminatorSettings['certificate']>,
  trust: ClientTrust,
  now: number,
): boolean {
  if (!isWithin(certificate, now)) return false
  if (thumbprints !== null && !thumbprints.includes(certificate.thumbprint)) return false
  if (subject === null) return true
  return (
    certificate.subject.replaceAll('\n', ', ') === subject &&
    judgeCertificate(certificate, trust, now) === null
  )
}

type Read = (value: string, header: TerminatorHeader) => Verdict<CertificateFacts>

function forwardedFacts(settings: ClientTrustSettings, trust: ClientTrust): Read {
  const authorities = settings.ca.map(pem => new X509Certificate(pem))
  return (value, header) => {
    const certificate = readForwarded(value, header)
    if (certificate instanceof Denial) return certificate
    // With proof of possession alone the chain says nothing; that proof is what the terminator is trusted for.
    const chain =
      trust.mode === 'pki'
        ? verifyChain(certificate, authorities)
        : { chainError: null, chain: [], paths: [commonValidity([certificate])] }
    const keyUsage = keyUsageOf(certificate.raw)
    return { ...certificateFacts(certificate, { ...chain, trustId: trust.id, keyUsage }), ...chain }
  }
}

/** Facts are remembered, never verdicts: dates, revocation and binding are judged on each request. */
function remembered(read: Read): Read {
  const facts = new BoundedMap<CertificateFacts>(REMEMBERED)
  return (value, header) => {
    const key = createHash('sha256').update(`${header} ${value}`).digest('base64')
    const before = facts.get(key)
    if (before !== undefined) return before
    const fresh = read(value, header)
    if (fresh instanceof Denial) return fresh
    facts.add(key, fresh)
    return fresh
  }
}
