/** What the authorization server believes about the certificate that a client showed in the TLS handshake. */
import type { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'

export function shownCertificate(request: IncomingMessage): X509Certificate | undefined {
  return request.socket instanceof TLSSocket ? request.socket.getPeerX509Certificate() : undefined
}

/**
 * `authorized` alone is not proof: on a resumed TLS 1.3 session Node reports it for a client that showed no certificate
 * at all (nodejs/node#35317), so a certificate has to be there too. The server also refuses session tickets.
 */
export function certificateIsTrusted(request: IncomingMessage): boolean {
  const { socket } = request
  if (!(socket instanceof TLSSocket) || !shownCertificate(request)) return false
  return socket.authorized && !socket.authorizationError
}

/**
 * The subject as RFC 4514 writes it. Node gives one line per name in the order of the certificate; the string form is
 * the reverse (section 2.1). Names that would need escaping (section 2.4) do not occur in development certificates.
 */
export function subjectName(certificate: X509Certificate): string {
  return certificate.subject.split('\n').reverse().join(',')
}
