import { constructed, DerReader, TAG } from '../config/der.js'

/** What `X509Certificate` does not tell of a certificate's extensions. */
export interface CertificateExtensions {
  /** OIDs of the extensions that whoever does not know them must refuse (RFC 5280 section 4.2). */
  readonly critical: readonly string[]
  /** First octet of keyUsage, highest bit first (section 4.2.1.3); null when absent, which permits every use. */
  readonly keyUsage: number | null
  /** pathLenConstraint: how many authorities may stand between this one and a leaf; null: any number (section 4.2.1.9). */
  readonly pathLength: number | null
}

const KEY_USAGE = '2.5.29.15'
const BASIC_CONSTRAINTS = '2.5.29.19'
/** Critical by definition (section 4.2.1.10); a certificate that says otherwise is not believed. */
const NAME_CONSTRAINTS = '2.5.29.30'

/**
 * keyUsage of a certificate, as in `CertificateFacts`. One that cannot be read permits nothing.
 */
export function keyUsageOf(der: Buffer): number | null {
  try {
    return certificateExtensions(der).keyUsage
  } catch {
    return 0
  }
}

/** @throws {Error} when the certificate is not in strict DER: treat such a certificate as refused */
export function certificateExtensions(der: Buffer): CertificateExtensions {
  const tbs = new DerReader(der).enter(TAG.sequence, 'Certificate').enter(TAG.sequence, 'tbsCertificate')
  while (!tbs.done && tbs.peek() !== constructed(3)) tbs.skip('a field of tbsCertificate')
  if (tbs.done) return { critical: [], keyUsage: null, pathLength: null }
  const list = tbs.enter(constructed(3), 'extensions').enter(TAG.sequence, 'extensions')
  const critical: string[] = []
  let keyUsage: number | null = null
  let pathLength: number | null = null
  while (!list.done) {
    const extension = list.enter(TAG.sequence, 'extension')
    const id = extension.oid('extension')
    const saysCritical = extension.peek() === TAG.boolean && extension.boolean('critical')
    if (saysCritical || id === NAME_CONSTRAINTS) critical.push(id)
    const value = new DerReader(extension.content(TAG.octetString, 'extension'))
    if (id === KEY_USAGE) keyUsage = value.content(TAG.bitString, 'keyUsage')[1] ?? 0
    if (id === BASIC_CONSTRAINTS) pathLength = readPathLength(value)
  }
  return { critical, keyUsage, pathLength }
}

function readPathLength(value: DerReader): number | null {
  const constraints = value.enter(TAG.sequence, 'basicConstraints')
  if (constraints.peek() === TAG.boolean) constraints.boolean('cA')
  return constraints.done ? null : constraints.smallInteger('pathLenConstraint')
}
