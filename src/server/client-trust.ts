import { createHash, X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { ClientTrust, Revocations } from '../checks/trust.js'
import type { ClientTrustSettings } from '../config/settings.js'
import {
  type CertificateFacts,
  type ChainLink,
  certificateFacts,
  fingerprintOf,
  type Validity,
} from '../request/certificate-facts.js'
import { BoundedMap } from './bounded-map.js'
import { keyUsageOf } from './certificate-extensions.js'
import { commonValidity, isIssuedBy, MAX_CHAIN, pathsUp } from './certificate-paths.js'

/** Certificates of people and machines have 1 to 4 KiB; OpenSSL lets a stranger keep 100 KiB of memory with each connection. */
const MOST_CERTIFICATE_BYTES = 16 * 1024
/** The peer showed a certificate that is too large to be kept for the time of its connection. */
export const OVERSIZED = Symbol('oversized')

/** The trust of one gate, and how it reads the peer of a TLS connection. */
export interface TrustBundle {
  readonly trust: ClientTrust
  readonly readPeer: (socket: TLSSocket) => CertificateFacts | null | typeof OVERSIZED
}

/** Compiles the settings of client certificates: authorities, and revocation lists by the authority that signed them. */
export function trustBundle(settings: ClientTrustSettings): TrustBundle {
  const authorities = settings.ca.map(pem => new X509Certificate(pem))
  const trust: ClientTrust = {
    mode: settings.trust,
    id: createHash('sha256')
      .update(JSON.stringify([settings.trust, ...settings.ca]))
      .digest('hex'),
    revocations: revocationsOf(settings),
    onExpiredCrl: settings.onExpiredCrl,
  }
  const facts = new CertificatesSeen(authorities, trust)
  return { trust, readPeer: socket => readPeer(socket, facts) }
}

/** Certificates that are remembered; clients of one bank are hundreds. */
const MOST_SEEN = 1000
/** Of a certificate that is remembered; its names take several times as much. Usual ones have 1 to 2 KiB. */
const MOST_SEEN_BYTES = 8 * 1024

/**
 * What the certificates of this bundle's clients say, and how far the bundle proves their chains: facts that cannot
 * change, and that a client which connects often need not pay for each time. What the handshake found is not among them.
 * Only what an authority of the bundle has vouched for is kept: anybody can make certificates of 100 KB without number.
 */
class CertificatesSeen {
  readonly #authorities: readonly X509Certificate[]
  readonly #trust: ClientTrust
  readonly #seen = new BoundedMap<Omit<CertificateFacts, 'chainError'>>(MOST_SEEN)

  constructor(authorities: readonly X509Certificate[], trust: ClientTrust) {
    this.#authorities = authorities
    this.#trust = trust
  }

  /** @param chainError what this handshake found */
  facts(certificate: X509Certificate, chainError: string | null): CertificateFacts {
    const { mode, id: trustId } = this.#trust
    const isJudged = mode === 'pki' && chainError === null
    // Strangers may send a lot.
    const sent = isJudged ? sentWith(certificate) : []
    const name = [certificate, ...sent].map(each => each.fingerprint256).join()
    const known = this.#seen.get(name)
    if (known !== undefined) return { ...known, chainError }
    const chain = chainOf(certificate, this.#authorities)
    // By possession nobody looks up, and for strangers there is nobody.
    const paths = isJudged ? pathsOf(certificate, this.#authorities, sent) : [commonValidity([certificate])]
    const facts = certificateFacts(certificate, {
      ...{ chainError, chain, paths, trustId, keyUsage: keyUsageOf(certificate.raw) },
    })
    const isSmall = certificate.raw.length <= MOST_SEEN_BYTES && sent.length <= MAX_CHAIN
    if (chainError === null && isSmall) this.#seen.add(name, facts)
    return facts
  }
}

function revocationsOf({ crl }: ClientTrustSettings): ReadonlyMap<string, Revocations> | null {
  if (crl === null) return null
  const revocations = new Map<string, Revocations>()
  for (const { signers, revoked: serials, thisUpdate, nextUpdate } of crl)
    for (const signer of signers) {
      const other = revocations.get(signer)
      // The newer one holds, not the one that is valid longer: an emergency list may well be short-lived.
      if (other === undefined || thisUpdate >= other.thisUpdate)
        revocations.set(signer, { serials, thisUpdate, nextUpdate })
    }
  return revocations
}

/**
 * The certificate that the peer proved to hold, or null.
 * `authorized` alone is never trusted: Node reports true for a resumed TLS 1.3 session that never had a certificate
 * (nodejs/node#35317). Tickets are off, and should a session be resumed all the same it counts as one without.
 */
function readPeer(socket: TLSSocket, seen: CertificatesSeen): CertificateFacts | null | typeof OVERSIZED {
  if (socket.isSessionReused()) return null
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined || certificate.raw.length === 0) return null
  if (certificate.raw.length > MOST_CERTIFICATE_BYTES) return OVERSIZED
  const verified = socket.authorized && !socket.authorizationError
  // Node types the error as Error; it is OpenSSL's name as a string.
  return seen.facts(certificate, verified ? null : String(socket.authorizationError ?? 'UNVERIFIED'))
}

/**
 * The facts of a certificate that somebody has on file, judged without a handshake: for `explain`. The chain counts as
 * verified when the bundle itself proves it up to a root; OpenSSL, which judges the live path, looks at more.
 */
export function certificateAsPresented(
  certificate: X509Certificate,
  { trust }: TrustBundle,
  settings: ClientTrustSettings,
): CertificateFacts {
  const authorities = settings.ca.map(pem => new X509Certificate(pem))
  const chain = chainOf(certificate, authorities)
  return certificateFacts(certificate, {
    chainError: chain.length > 0 ? null : 'NOT_SIGNED_BY_THE_BUNDLE',
    trustId: trust.id,
    chain,
    // What the client would send beside it is not on file.
    paths: trust.mode === 'pki' ? pathsOf(certificate, authorities, []) : [commonValidity([certificate])],
    keyUsage: keyUsageOf(certificate.raw),
  })
}

/** The chain as far as the bundle itself can prove it; what a peer sends besides its leaf proves nothing here. */
function chainOf(leaf: X509Certificate, authorities: readonly X509Certificate[]): readonly ChainLink[] {
  const chain: ChainLink[] = []
  let subject = leaf
  while (chain.length < MAX_CHAIN) {
    const authority = authorities.find(candidate => isIssuedBy(subject, candidate))
    if (authority === undefined) break
    chain.push({ authority: fingerprintOf(authority), serial: subject.serialNumber })
    if (isIssuedBy(authority, authority)) break
    subject = authority
  }
  return chain
}

/** As `pathsUp`. Where nothing is known to be sent, and there is no way all the same, the dates of the certificate itself have to do. */
function pathsOf(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
  sent: readonly X509Certificate[],
): readonly Validity[] {
  const paths = pathsUp(certificate, authorities, sent)
  return paths.length > 0 || sent.length > 0 ? paths : [commonValidity([certificate])]
}

/** What the peer has sent beside its certificate; OpenSSL bounds it. Node 24 never says. */
function sentWith(leaf: X509Certificate): readonly X509Certificate[] {
  const sent: X509Certificate[] = []
  for (let next = leaf.issuerCertificate; next !== undefined; next = next.issuerCertificate) sent.push(next)
  return sent
}
