import { type RawHeaders, valuesOf } from './headers.js'
import { clientInteractionId } from './interaction-id.js'
import { isIpLiteral } from './ip-literal.js'

const ACTOR_TYPES = ['USER', 'BATCH']

/**
 * What is wrong with the FAPI and FDX headers of a request on a strict route, or null (FDX API 6.4; FAPI 1.0 Part 1
 * section 6.2.1-13). Elsewhere nothing is refused for them: FAPI has the server mint a missing interaction id.
 * The value is never repeated: it is the client's, and may hold personal data.
 */
export function strictHeaderProblem(headers: RawHeaders): string | null {
  if (clientInteractionId(headers) === null) return 'x-fapi-interaction-id is not there once, as a UUID'
  const actor = valuesOf(headers, 'fdx-api-actor-type')[0]
  if (actor !== undefined && !ACTOR_TYPES.includes(actor))
    return 'FDX-API-Actor-Type is neither USER nor BATCH'
  const address = valuesOf(headers, 'x-fapi-customer-ip-address')[0]
  if (address !== undefined && !isIpLiteral(address))
    return 'x-fapi-customer-ip-address is no IPv4 or IPv6 address'
  return null
}
