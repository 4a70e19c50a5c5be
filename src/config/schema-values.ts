import { isIP } from 'node:net'
import { z } from 'zod'
import type { Address } from './settings.js'

/**
 * The kinds of value that settings have. What is said of a bad one follows the quoted name of the setting:
 * `"refresh" must be …`; after a line break comes the hint.
 */
export function words(message: string, hint: string): string {
  return `${message}\n${hint}`
}

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY }

/** Timers of Node hold 2^31 - 1 ms; what is longer would fire at once. */
const LONGEST = 24 * DAY

const NOT_A_DURATION = words('must be a duration with a unit', 'such as 250ms, 5s, 10m, 1h or 1d')

/** A duration between two others, as milliseconds. */
export function duration(least = '1ms', most = '24d') {
  return z
    .string({ error: NOT_A_DURATION })
    .regex(/^(?:0|[1-9][0-9]{0,8})(?:ms|s|m|h|d)$/, { error: NOT_A_DURATION })
    .transform((text, ctx) => {
      const ms = milliseconds(text)
      if (ms >= milliseconds(least) && ms <= Math.min(LONGEST, milliseconds(most))) return ms
      ctx.addIssue({
        code: 'custom',
        message: words(`must be between ${least} and ${most}`, 'change the number or its unit'),
      })
      return z.NEVER
    })
}

function milliseconds(text: string): number {
  const [, count = '0', unit = 'ms'] = /^([0-9]+)([a-z]+)$/.exec(text) ?? []
  return Number(count) * (TIME_UNITS[unit] as number)
}

const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }
const NOT_A_SIZE = words('must be a size with a unit', 'such as 500B, 32KiB, 10MiB or 1GiB')

/** A size between two others, as bytes. */
export function size(least: string, most: string) {
  return z
    .string({ error: NOT_A_SIZE })
    .regex(/^(?:0|[1-9][0-9]{0,8})(?:B|KiB|MiB|GiB)$/, { error: NOT_A_SIZE })
    .transform((text, ctx) => {
      const count = bytes(text)
      if (count >= bytes(least) && count <= bytes(most)) return count
      ctx.addIssue({
        code: 'custom',
        message: words(`must be between ${least} and ${most}`, 'change the number or its unit'),
      })
      return z.NEVER
    })
}

function bytes(text: string): number {
  const [, count = '0', unit = 'B'] = /^([0-9]+)([A-Za-z]+)$/.exec(text) ?? []
  return Number(count) * (SIZE_UNITS[unit] as number)
}

/** A whole number between two others. */
export function count(least: number, most: number) {
  const error = words(`must be a whole number from ${least} to ${most}`, 'write digits without quotes')
  return z.int({ error }).min(least, { error }).max(most, { error })
}

/** A part of a whole, such as `10%`, as the number before the sign. */
export function percent(least: number, most: number) {
  const error = words(`must be from ${least}% to ${most}%`, 'a whole number with the sign, such as 10%')
  return z
    .string({ error })
    .regex(/^[1-9][0-9]{0,2}%$/, { error })
    .transform((text, ctx) => {
      const part = Number(text.slice(0, -1))
      if (part >= least && part <= most) return part
      ctx.addIssue({ code: 'custom', message: error })
      return z.NEVER
    })
}

/** Text that is not empty and has no space at its ends. */
export function text(what = 'text') {
  const error = words(
    `must be ${what}`,
    'it cannot be empty; what YAML would read as a number, true or false goes in quotes',
  )
  return z.string({ error }).regex(/^\S(?:[\s\S]*\S)?$/, { error })
}

/** The name of a file; relative names count from the directory of the policy file. */
export function fileName() {
  return text('the name of a file')
}

/** One value, or a list of at least one; a list in any case when read. */
export function oneOrMany<S extends z.ZodType>(item: S, what: string) {
  const error = words(`must be ${what}, or a list of them`, 'a list is written [a, b]')
  return z
    .union([item, z.array(item).min(1, { error: words('has no entries', 'name at least one') })], {
      error,
    })
    .transform(value => (Array.isArray(value) ? value : [value]) as readonly z.output<S>[])
}

const NOT_AN_ADDRESS = words(
  'must be an address and a port',
  'such as 127.0.0.1:8443, 0.0.0.0:8443 or "[::1]:8443"',
)
const HOST_NAME = /^(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*$/

/** `host:port`, with IPv6 addresses in brackets. */
export function address() {
  return z.string({ error: NOT_AN_ADDRESS }).transform((written, ctx): Address => {
    const [, bracketed, plain, digits = ''] = /^(?:\[([^\]]*)\]|([^:]*)):([0-9]{1,5})$/.exec(written) ?? []
    const port = Number(digits)
    const host = bracketed ?? plain ?? ''
    // 256.1.1.1 is a host name by its letters, and was meant as an address.
    const isHost =
      bracketed === undefined
        ? isIP(host) === 4 || (HOST_NAME.test(host) && !/^[0-9.]+$/.test(host))
        : isIP(host) === 6
    if (isHost && digits !== '' && port <= 65535) return { host, port }
    ctx.addIssue({ code: 'custom', message: NOT_AN_ADDRESS })
    return z.NEVER
  })
}

/** Which parts an URL may have. */
interface UrlShape {
  readonly schemes: readonly string[]
  /** `origin`: scheme, host and port only. */
  readonly extent: 'origin' | 'path' | 'query'
}

/** An URL as it stands, without credentials and fragment. */
export function url({ schemes, extent }: UrlShape, example: string) {
  const wrong = words(`must be an ${schemes.join(' or ')} URL`, `such as ${example}`)
  return z.string({ error: wrong }).superRefine((written, ctx) => {
    const fault = urlFault(written, { schemes, extent }, example, wrong)
    if (fault !== null) ctx.addIssue({ code: 'custom', message: fault })
  })
}

/** The text is never repeated: an URL may have a password in it. */
function urlFault(
  written: string,
  { schemes, extent }: UrlShape,
  example: string,
  wrong: string,
): string | null {
  if (!URL.canParse(written) || /[\s\\]/.test(written)) return wrong
  const { protocol, username, password, pathname } = new URL(written)
  if (!schemes.includes(protocol.slice(0, -1)) || !/^[a-z]+:\/\/[^/]/i.test(written)) return wrong
  if (username !== '' || password !== '' || written.includes('@'))
    return words('has a user name or password', `write it without: ${example}`)
  if (written.includes('#')) return words('has a fragment', `write it without the part from #: ${example}`)
  if (extent !== 'query' && written.includes('?'))
    return words('has a query', `write it without the part from ?: ${example}`)
  if (extent === 'origin' && (pathname !== '/' || written.endsWith('/')))
    return words('has a path', `write scheme, host and port only: ${example}`)
  return null
}

/** Names in the maps of issuers and upstreams; they become labels of metrics. */
export const NAME = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, {
  error: words('is not a name', 'a letter, then letters, digits, - and _, at most 64 characters'),
})

/** One value of acr_values: what a scope may hold, for both stand in quotes with spaces between (RFC 9470 section 3). */
export function acrValue() {
  const error = words('must be an acr value', 'printable ASCII without spaces, quotes and backslashes')
  return z.string({ error }).regex(/^[\x21\x23-\x5B\x5D-\x7E]{1,256}$/, { error })
}

/** RFC 6749 section 3.3: printable ASCII without space, `"` and `\`. */
export function scopeToken() {
  const error = words(
    'must be a scope',
    'printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)',
  )
  return z.string({ error }).regex(/^[\x21\x23-\x5B\x5D-\x7E]{1,256}$/, { error })
}
