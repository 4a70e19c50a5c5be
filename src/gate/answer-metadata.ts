import type { Grant } from '../checks/authorise.js'
import { metadataDocument, type ResourceMetadata } from '../policy/resource-metadata.js'
import type { OutgoingAnswer } from '../upstream/client-message.js'
import type { Exchange, Forwarded } from '../upstream/forwarding.js'

/** Seconds. A client learns of a changed policy soon, and a crowd of them does not ask again and again. */
const MAX_AGE = 300

/**
 * Answers with the metadata of a protected resource (RFC 9728 section 3.2). It takes a Grant as forwarding does: the
 * request was read and matched like every other, and its route asks for neither certificate nor token.
 * `resource` is the URL that the client used, whose host is one of ours (section 3.3).
 */
export async function answerMetadata(
  { request }: Grant,
  metadata: ResourceMetadata,
  { response, interactionId }: Exchange,
): Promise<Forwarded | null> {
  const body = metadataDocument(metadata, request.host, request.path)
  response.statusCode = 200
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Content-Length', Buffer.byteLength(body))
  response.setHeader('Cache-Control', `public, max-age=${MAX_AGE}`)
  response.setHeader('X-Content-Type-Options', 'nosniff')
  response.setHeader('x-fapi-interaction-id', interactionId)
  // Nobody reads the body of such a request; without it the connection cannot carry another one.
  if (hasBody(response.req.headers)) response.setHeader('Connection', 'close')
  response.end(request.method === 'HEAD' ? undefined : body)
  return { status: 200, end: await endOf(response), upstreamMs: 0 }
}

function endOf(response: OutgoingAnswer): Promise<Forwarded['end']> {
  return new Promise(resolve => {
    if (response.destroyed) resolve('aborted')
    response.once('finish', () => resolve('complete'))
    response.once('close', () => resolve('aborted'))
  })
}

function hasBody(headers: Readonly<Record<string, unknown>>): boolean {
  return (
    headers['content-length'] !== undefined ||
    headers['transfer-encoding'] !== undefined ||
    headers.expect !== undefined
  )
}

/** Adds the parameter of RFC 9728 section 5.1 to a challenge; every other field is left as it is. */
export function withMetadataUrl(name: string, value: string, url: string | null): string {
  if (url === null || name !== 'WWW-Authenticate') return value
  return `${value}${value.includes('=') ? ',' : ''} resource_metadata="${url}"`
}
