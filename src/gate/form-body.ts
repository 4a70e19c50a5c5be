import { Denial, type Verdict } from '../decision/denials.js'
import { formHasAccessToken } from '../request/credentials.js'
import { type RawHeaders, valuesOf } from '../request/headers.js'
import type { IncomingRequest } from '../upstream/client-message.js'
import type { Exchange } from '../upstream/forwarding.js'

/** Forms are short. A longer one could not be judged before its first bytes are forwarded, so it is refused. */
const MOST_BYTES = 64 * 1024
const FORM = /^\s*application\/x-www-form-urlencoded\s*(?:;|$)/i
const CHARSET = /;\s*charset\s*=\s*"?([^";\s]*)/gi
/** In these, and in no other that is not refused, the name of a token has the bytes that are looked for. */
const CHARSETS = new Set(['utf-8', 'utf8', 'us-ascii', 'iso-8859-1'])

/**
 * A token in a form beside the one that was granted (RFC 6750 section 2.2): the API might take the other one. Reads the body of
 * such a request and of no other, once the request is granted, and puts it back for forwarding. Refuses with
 * `credentials_multiple`, `body_too_large`, and `request_malformed` for a form that is compressed or in bytes of another kind.
 */
export function refuseTokenInForm(headers: RawHeaders, exchange: Exchange): Promise<Denial | null> | null {
  const type = valuesOf(headers, 'content-type').find(each => FORM.test(each))
  return type !== undefined && exchange.upgrade === null ? judgeForm(type, headers, exchange) : null
}

async function judgeForm(
  type: string,
  headers: RawHeaders,
  { request, response }: Exchange,
): Promise<Denial | null> {
  for (const [, charset = ''] of type.matchAll(CHARSET))
    if (!CHARSETS.has(charset.toLowerCase()))
      return new Denial('request_malformed', 'a form in a character set other than UTF-8')
  if (valuesOf(headers, 'content-encoding').some(coding => coding.trim().toLowerCase() !== 'identity'))
    return new Denial('request_malformed', 'a form with a content coding')
  if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) return tooLarge()
  // The client may wait for this before it sends; a second one from the forwarding does no harm (RFC 9110 section 15.2).
  if (request.httpVersion !== '1.0' && request.headers.expect?.toLowerCase() === '100-continue')
    response.writeContinue()
  const body = await peekWhole(request)
  if (body instanceof Denial) return body
  if (body.includes(0)) return new Denial('request_malformed', 'a form with a NUL')
  return formHasAccessToken(body.toString()) ? new Denial('credentials_multiple', 'header and form') : null
}

/** The whole body, or what came of it before the client left; it is still to be read afterwards. */
async function peekWhole(request: IncomingRequest): Promise<Verdict<Buffer>> {
  const chunks: Buffer[] = []
  let bytes = 0
  while (!request.complete && !request.destroyed) {
    bytes += take(request, chunks)
    if (bytes > MOST_BYTES) return tooLarge()
    if (!request.complete) await more(request)
  }
  take(request, chunks)
  const body = Buffer.concat(chunks)
  // In the turn of the last read: in the next one a stream without content takes itself for read.
  if (body.length > 0) request.unshift(body)
  return body.length > MOST_BYTES ? tooLarge() : body
}

/** Moves what has arrived into `chunks`; returns how many bytes that is. */
function take(request: IncomingRequest, chunks: Buffer[]): number {
  const chunk = request.readableLength === 0 ? null : (request.read() as Buffer | null)
  if (chunk === null) return 0
  chunks.push(chunk)
  return chunk.length
}

/** Resolves when there is more to read, or never will be. */
function more(request: IncomingRequest): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      request.off('readable', done)
      request.off('close', done)
      resolve()
    }
    request.on('readable', done)
    request.on('close', done)
  })
}

function tooLarge(): Denial {
  return new Denial('body_too_large', `a form of more than ${MOST_BYTES} bytes beside a token`)
}
