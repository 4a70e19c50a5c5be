import { Denial, type Verdict } from '../decision/denials.js'
import { type RawHeaders, valuesOf } from './headers.js'

/** One access token and the scheme it came with; the token is a secret. */
export interface Credentials {
  readonly scheme: 'bearer' | 'dpop'
  readonly token: string
}

/** RFC 6750 section 2.1 b64token; the scheme is case-insensitive (RFC 9110 section 11.1). */
const SCHEME_AND_TOKEN = /^(bearer|dpop) +([A-Za-z0-9\-._~+/]+=*)$/i
const TOKEN_SCHEME = /^(?:bearer|dpop)(?: |$)/i

/** Longer tokens are refused unread: 16 KiB is the whole default header of most servers. */
export const MAX_TOKEN_BYTES = 16 * 1024

/**
 * The access token of a request, from the Authorization header only (RFC 6750 section 2.1).
 * Tokens in the query are refused even beside a good header (FAPI 1.0 Part 1 section 6.2.1-4): they end in logs.
 * Returns `credentials_missing`, `credentials_multiple` or `credentials_malformed`.
 */
export function readCredentials(headers: RawHeaders, query: string): Verdict<Credentials> {
  const values = valuesOf(headers, 'authorization')
  const inQuery = formHasAccessToken(query)
  if (values.length + (inQuery ? 1 : 0) > 1)
    return new Denial('credentials_multiple', inQuery ? 'header and query' : 'several Authorization headers')
  if (inQuery) return new Denial('credentials_malformed', 'access_token in the query')
  const value = values[0]
  if (value === undefined) return new Denial('credentials_missing', 'no Authorization header')
  const match = SCHEME_AND_TOKEN.exec(value)
  if (match !== null) {
    const token = match[2] as string
    if (token.length > MAX_TOKEN_BYTES)
      return new Denial('token_malformed', `token longer than ${MAX_TOKEN_BYTES} bytes`)
    return { scheme: (match[1] as string).toLowerCase() as Credentials['scheme'], token }
  }
  if (TOKEN_SCHEME.test(value)) return new Denial('credentials_malformed', 'not one scheme and one token')
  // Basic and the like are no credentials here: answered like none at all, without an error code (RFC 6750 section 3.1).
  return new Denial('credentials_missing', 'another authentication scheme')
}

/**
 * The schemes with which a request tries to authenticate, well or badly; for the challenge (RFC 9449 section 7.2). A token in the
 * query is a Bearer token (RFC 6750 section 2.3).
 */
export function attemptedSchemes(headers: RawHeaders, query: string): ReadonlySet<Credentials['scheme']> {
  const schemes = valuesOf(headers, 'authorization').flatMap(value =>
    TOKEN_SCHEME.test(value)
      ? [value.slice(0, value.search(/ |$/)).toLowerCase() as Credentials['scheme']]
      : [],
  )
  return new Set(formHasAccessToken(query) ? [...schemes, 'bearer'] : schemes)
}

/** Finds `access_token` as a name in a query or a form, in any position and however encoded. */
export function formHasAccessToken(form: string): boolean {
  if (form === '') return false
  return form.split(/[&;]/).some(pair => {
    const name = pair.split('=', 1)[0] as string
    try {
      return decodeURIComponent(name.replaceAll('+', ' ')).trim() === 'access_token'
    } catch {
      return false // a name with a malformed escape is none that anybody would take for it
    }
  })
}
