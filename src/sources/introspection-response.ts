import { Denial } from '../decision/denials.js'
import { KEY_KIND_OF_ALGORITHM } from '../policy/algorithms.js'
import { excerpt } from '../policy/excerpt.js'
import type { Claims } from '../policy/flow-rules.js'
import type { IntrospectionSettings } from '../policy/introspection.js'
import { type JsonObject, JsonProblem, readJsonObject } from '../policy/strict-json.js'
import { readCompactJws } from './compact-jws.js'
import type { KeySource } from './keys.js'
import type { Reply } from './outbound.js'
import { signatureProblem } from './verify-signature.js'

/** Media type of signed replies (RFC 9701 section 4), and their typ with `application/` left out. */
export const SIGNED_RESPONSE_TYPE = 'application/token-introspection+jwt'
/** Of a reply's body. */
export const MAX_RESPONSE_BYTES = 128 * 1024
/** Signed replies are made on demand (RFC 9701 section 5): an older one was made for another question. */
const MAX_AGE_SECONDS = 300

/** Why a reply cannot be used; for the operator. */
export class UnusableResponse {
  readonly detail: string

  constructor(detail: string) {
    this.detail = detail
  }
}

/** Reads a reply with status 200 into the members of RFC 7662 section 2.2. Never rejects for what the issuer answered. */
export type ReadResponse = (reply: Reply, now: number) => Promise<Claims | UnusableResponse>

/** The reader for replies as these settings want them. `keys` are those of the issuer; signed replies need them. */
export function responseReader(settings: IntrospectionSettings, keys: KeySource | null): ReadResponse {
  if (settings.response === 'json') return async ({ body }) => jsonResponse(body)
  if (keys === null) throw new Error(`no keys for the signed replies of ${settings.rules.name}`)
  return (reply, now) => signedResponse(reply, settings, keys, now)
}

function jsonResponse(body: Buffer): Claims | UnusableResponse {
  const document = readJsonObject(body)
  return document instanceof JsonProblem ? new UnusableResponse(document.detail) : document
}

/**
 * RFC 9701 section 5. What is outside `token_introspection` says who made the reply for whom, and nothing of the token.
 * A plain reply is refused: whoever can strip the signature could otherwise say anything.
 */
async function signedResponse(
  { mediaType, body }: Reply,
  { rules, authentication }: IntrospectionSettings,
  keys: KeySource,
  now: number,
): Promise<Claims | UnusableResponse> {
  if (mediaType !== SIGNED_RESPONSE_TYPE)
    return new UnusableResponse(`a signed reply is demanded, and the media type is ${excerpt(mediaType)}`)
  const text = body.toString('latin1').trim()
  const jws = readCompactJws(text, MAX_RESPONSE_BYTES)
  if (jws instanceof Denial) return new UnusableResponse(`not a JWT: ${jws.detail}`)
  const { header, claims } = jws
  const typ = header.typ?.toLowerCase().replace(/^application\//, '')
  if (typ !== 'token-introspection+jwt')
    return new UnusableResponse(header.typ === null ? 'no typ' : `typ is ${excerpt(header.typ)}`)
  if (!rules.algorithms.includes(header.alg) || !KEY_KIND_OF_ALGORITHM.has(header.alg))
    return new UnusableResponse(`alg is ${excerpt(header.alg)}`)
  if (claims.iss !== rules.issuer) return new UnusableResponse('iss is not the issuer')
  const audience: readonly unknown[] = Array.isArray(claims.aud) ? claims.aud : [claims.aud]
  if (!audience.includes(authentication.clientId))
    return new UnusableResponse('aud is not the client id of Postern')
  const aged = ageProblem(claims, rules.clockSkewSeconds, now)
  if (aged !== null) return new UnusableResponse(aged)
  const candidates = await keys.keysFor(header)
  if (candidates instanceof Denial) return new UnusableResponse(candidates.detail)
  const refusal = await signatureProblem(text, header.alg, candidates)
  if (refusal !== null) return new UnusableResponse(`the signature: ${refusal.detail}`)
  const members = claims.token_introspection
  if (typeof members !== 'object' || members === null || Array.isArray(members))
    return new UnusableResponse('token_introspection is absent or not an object')
  return members as JsonObject
}

function ageProblem({ iat, exp }: Claims, skew: number, now: number): string | null {
  if (typeof iat !== 'number') return 'iat is absent'
  if (iat > now + skew) return 'iat is in the future'
  if (iat < now - skew - MAX_AGE_SECONDS) return `older than ${MAX_AGE_SECONDS} s`
  return exp !== undefined && !(typeof exp === 'number' && now < exp + skew) ? 'exp is past' : null
}
