import { type RawHeaders, valuesOf } from './headers.js'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * The client's x-fapi-interaction-id to echo byte for byte, or null when a new one must be minted: absent, repeated
 * or not a UUID. An unusable value is never reflected. FAPI 1.0 Part 1 section 6.2.1-11.
 */
export function clientInteractionId(headers: RawHeaders): string | null {
  const values = valuesOf(headers, 'x-fapi-interaction-id')
  const value = values[0]
  return values.length === 1 && value !== undefined && UUID.test(value) ? value : null
}
