import { Denial, type Verdict } from '../decision/denials.js'
import type { Claims } from '../policy/flow-rules.js'
import { MAX_KID_LENGTH } from '../policy/key-set.js'
import { type JsonObject, JsonProblem, readJsonObject } from '../policy/strict-json.js'
import { MAX_TOKEN_BYTES } from '../request/credentials.js'

/**
 * A JWS in compact form whose payload is a JSON object: a JWT, read and not yet verified. Of the header only what is
 * used: `jku`, `jwk`, `x5u` and `x5c` are the sender's word about its own key and nobody looks at them (RFC 8725 section 3.10).
 */
export interface CompactJws {
  readonly header: JwsHeader
  readonly claims: Claims
}

export interface JwsHeader {
  readonly alg: string
  /** null when absent. */
  readonly kid: string | null
  /** As it stands in the header; null when absent. */
  readonly typ: string | null
}

/**
 * Reads a compact JWS (RFC 7515 section 7.1): three parts, each canonical base64url, so that a token has exactly one
 * spelling; header and payload strict JSON objects. Any `crit` is refused: no extension is understood here
 * (RFC 7515 section 4.1.11). Returns `token_malformed`. Pure.
 */
export function readCompactJws(token: string, maxBytes = MAX_TOKEN_BYTES): Verdict<CompactJws> {
  if (token.length > maxBytes) return malformed(`longer than ${maxBytes} bytes`)
  const parts = readJwsParts(token)
  if (parts instanceof JsonProblem) return malformed(parts.detail)
  const { header, claims } = parts
  const { alg, kid, typ } = header
  if (typeof alg !== 'string') return malformed('header: alg is absent or not a string')
  if (kid !== undefined && typeof kid !== 'string') return malformed('header: kid is not a string')
  if (kid !== undefined && kid.length > MAX_KID_LENGTH)
    return malformed(`header: kid is longer than ${MAX_KID_LENGTH} characters`)
  if (typ !== undefined && typeof typ !== 'string') return malformed('header: typ is not a string')
  return { header: { alg, kid: kid ?? null, typ: typ ?? null }, claims }
}

/** Header and payload of a compact JWS as they stand, without a look at any member but `crit`; or why it is none. Pure. */
export function readJwsParts(text: string): { header: JsonObject; claims: JsonObject } | JsonProblem {
  const parts = text.split('.', 6)
  if (parts.length === 5) return new JsonProblem('five parts: an encrypted JWT (JWE)')
  if (parts.length !== 3) return new JsonProblem(`not three parts separated by dots`)
  const [protectedPart, payloadPart, signaturePart] = parts as [string, string, string]
  if (decodePart(signaturePart) === null) return new JsonProblem('signature: not canonical base64url')
  const header = readPart(protectedPart)
  if (header instanceof JsonProblem) return new JsonProblem(`header: ${header.detail}`)
  if (Object.hasOwn(header, 'crit')) return new JsonProblem('crit')
  const claims = readPart(payloadPart)
  return claims instanceof JsonProblem ? new JsonProblem(`payload: ${claims.detail}`) : { header, claims }
}

/**
 * The `iss` of a JWT without any check, only to choose who checks it; null when there is none to be found.
 * Cheap, because it runs before the caches are asked. Pure.
 */
export function unverifiedIssuer(token: string): string | null {
  if (token.length > MAX_TOKEN_BYTES || !token.includes('.')) return null
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.', 2)[1] ?? '', 'base64url').toString())
    const iss = typeof claims === 'object' && claims !== null ? (claims as JsonObject).iss : undefined
    return typeof iss === 'string' ? iss : null
  } catch {
    return null
  }
}

function readPart(part: string): JsonObject | JsonProblem {
  const bytes = decodePart(part)
  return bytes === null ? new JsonProblem('not canonical base64url') : readJsonObject(bytes)
}

/** Node skips what is not base64url and ignores spare bits: encoding the result again shows it. */
function decodePart(part: string): Buffer | null {
  const bytes = Buffer.from(part, 'base64url')
  return bytes.toString('base64url') === part ? bytes : null
}

function malformed(detail: string): Denial {
  return new Denial('token_malformed', detail)
}
