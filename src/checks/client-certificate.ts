import { Denial, type Verdict } from '../decision/denials.js'
import { fitsOneOf } from '../policy/certificate-patterns.js'
import type { ClientCertificates } from '../policy/issuer.js'
import type { Route } from '../policy/policy.js'
import type { CertificateFacts } from '../request/certificate-facts.js'
import type { Case, Check } from './case.js'

/**
 * Is this certificate one of those that the route lets in? Judged before the token, on mTLS routes, of a certificate that is
 * trusted already. 403 and not 401: it is known who calls, and no other token would help (REQUIREMENTS section 13.2,
 * "partner denied").
 */
export function certificateIsAllowed(
  { certificates }: Pick<Route, 'certificates'>,
  certificate: Verdict<CertificateFacts> | null,
): Denial | null {
  if (certificates === null) return null
  if (certificate === null) return new Denial('certificate_missing', 'the route lists certificates')
  if (certificate instanceof Denial) return certificate
  return fitsOneOf(certificates, certificate, null) ? null : notAllowed('not in certificates of the route')
}

/**
 * Does the certificate of the connection suffice for the route: one that counts where `mtls` is asked, and one that the
 * route lists. Asked before the token, which costs more, and once more by `authorise`, which grants nothing without it.
 */
export function certificateSuffices(
  route: Pick<Route, 'mtls' | 'certificates'>,
  certificate: Verdict<CertificateFacts> | null,
): Denial | null {
  if (route.mtls && certificate === null)
    return new Denial('certificate_missing', 'no certificate on this connection')
  if (route.mtls && certificate instanceof Denial) return certificate
  return certificateIsAllowed(route, certificate)
}

/**
 * The certificate is one of the client that the token was issued to, by the issuer's own table. The binding says that both
 * belong together; this says that the client is the partner it claims to be. A client that the table lacks is refused.
 */
function certificateIsTheClients({ match, token, certificate }: Case): Denial | null {
  const { clients } = token.rules
  if (clients === null || !match.route.mtls) return null
  if (certificate === null)
    return new Denial('certificate_missing', 'the issuer lists certificates of clients')
  if (certificate instanceof Denial) return certificate
  const patterns = patternsFor(clients, token.clientId)
  if (patterns === 'any') return null
  if (patterns === null) return notAllowed('the issuer lists no certificate of this client')
  return fitsOneOf(patterns, certificate, token.clientId)
    ? null
    : notAllowed('not a certificate of the client that the token was issued to')
}

function patternsFor(clients: ClientCertificates, clientId: string | null) {
  const own = clientId === null ? undefined : clients.byClientId.get(clientId)
  return own ?? clients.others
}

function notAllowed(detail: string): Denial {
  return new Denial('certificate_not_allowed', detail)
}

export const clientCertificate: Check = {
  name: 'client',
  judge: certificateIsTheClients,
  fact: ({ match, token }) =>
    token.rules.clients === null || !match.route.mtls
      ? `${token.clientId ?? 'no client id'}; no certificates of clients are listed for it`
      : `the certificate is one of ${token.clientId}`,
}
