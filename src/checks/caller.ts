import { Denial, type Verdict } from '../decision/denials.js'
import type { CountedBy } from '../policy/rate.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { TokenFacts } from './token-facts.js'
import type { ClientTrust } from './trust.js'

/** Who calls, as far as the connection tells. */
export interface Caller {
  /** As `clientNetwork` names it. */
  readonly network: string
  /** x5t#S256 of a certificate that an authority vouches for, judged now; null without one. */
  readonly thumbprint: string | null
  /** The address is that of a trusted terminator: that of the client is not known. */
  readonly isBehindTerminator: boolean
}

/** A certificate that anybody can make for himself (`trust: possession`) names nobody until a token is bound to it. */
export function thumbprintToCountBy(
  certificate: Verdict<CertificateFacts> | null,
  { mode }: ClientTrust,
): string | null {
  return certificate === null || certificate instanceof Denial || mode === 'possession'
    ? null
    : certificate.thumbprint
}

/**
 * The name under which a request is counted. Without a trusted certificate it is the address that counts. Names of
 * addresses, certificates and tokens cannot be mistaken for one another.
 */
export function nameToCountBy(by: CountedBy, caller: Caller, token: TokenFacts | null): string {
  switch (by) {
    case 'address':
      return caller.network
    case 'certificate':
      return caller.thumbprint === null ? caller.network : `x5t#S256 ${caller.thumbprint}`
    case 'client':
      return JSON.stringify([token?.rules.name, token?.clientId])
    case 'subject':
      return JSON.stringify([token?.rules.name, token?.clientId, token?.subject])
  }
}
