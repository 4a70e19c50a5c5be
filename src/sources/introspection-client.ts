import type { Claims } from '../policy/flow-rules.js'
import type { IntrospectionSettings } from '../policy/introspection.js'
import { createCircuitBreaker, type Settle } from './circuit-breaker.js'
import { createClientAuthenticator } from './client-authentication.js'
import { type Clock, systemClock, timeFrom } from './clock.js'
import { discoverIntrospectionUrl } from './discovery.js'
import {
  MAX_RESPONSE_BYTES,
  type ReadResponse,
  responseReader,
  SIGNED_RESPONSE_TYPE,
  UnusableResponse,
} from './introspection-response.js'
import type { KeySource } from './keys.js'
import { createFormPoster, createOutbound, OutboundFailure, type Reply } from './outbound.js'
import type { IntrospectionResult, SourceMeter } from './token-source.js'

/** Calls to one issuer at a time; beyond it requests are refused, or they would pile up behind a slow issuer. */
export const MAX_OUTSTANDING = 256
/** Failures in a row that keep calls from an issuer. */
const FAILURES = 5
const COOLDOWN_MS = 5000
/** How long an endpoint that was found through metadata serves before it is looked up again. */
const DISCOVERED_FOR_MS = 3_600_000
/** The same after a look-up that failed. */
const LOOK_AGAIN_MS = 60_000

/** What the issuer says of a token: the members of its reply, and the size of that. */
export interface Introspection {
  readonly claims: Claims
  readonly bytes: number
}

/** Why the issuer said nothing of the token. It is never the client's fault. */
export class IntrospectionFailure {
  readonly result: Exclude<IntrospectionResult, 'active' | 'inactive'>
  /** For the operator; names neither the token nor credentials. */
  readonly detail: string
  /**
   * Whether it is sure that the endpoint is at fault. An odd answer may be due to the token (400 for one that is too long, 403 of a
   * firewall in between), and whoever sends such tokens must not be able to open the circuit for everybody.
   */
  readonly isOutage: boolean

  constructor(result: IntrospectionFailure['result'], detail: string, isOutage: boolean) {
    this.result = result
    this.detail = detail
    this.isOutage = isOutage
  }
}

/** Asks the introspection endpoint of one issuer. */
export interface IntrospectionClient {
  /** `now` is seconds since the epoch. Never rejects for what the issuer answered or failed to. */
  readonly introspect: (token: string, now: number) => Promise<Introspection | IntrospectionFailure>
  /** Calls that are under way still end. */
  readonly close: () => void
}

export interface IntrospectionClientOptions {
  readonly settings: IntrospectionSettings
  /** Of the issuer; null when replies are not signed. */
  readonly keys: KeySource | null
  readonly meter: Pick<SourceMeter, 'introspection'>
  readonly clock?: Clock
}

/** The calls to one endpoint: authenticated, bounded in time, size and number, and behind a circuit breaker. */
export function createIntrospectionClient(options: IntrospectionClientOptions): IntrospectionClient {
  const { settings, keys, meter, clock = systemClock } = options
  const { rules, ca, authentication, timeoutMs, response } = settings
  const read = responseReader(settings, keys)
  const authenticate = createClientAuthenticator(authentication)
  const identity = authentication.method === 'tls_client_auth' ? authentication : null
  const poster = createFormPoster({ ca, identity, timeoutMs, maxBytes: MAX_RESPONSE_BYTES })
  const breaker = createCircuitBreaker({ failures: FAILURES, cooldownMs: COOLDOWN_MS, clock })
  const endpoint = endpointOf(settings, clock)
  const accept = response === 'jwt' ? SIGNED_RESPONSE_TYPE : 'application/json'
  let outstanding = 0

  async function call(token: string, now: number): Promise<Introspection | IntrospectionFailure> {
    const time = timeFrom(now, clock)
    const url = await endpoint()
    if (url instanceof OutboundFailure) return new IntrospectionFailure('unavailable', url.detail, true)
    const { headers, form } = await authenticate(time())
    const content = new URLSearchParams({ token, token_type_hint: 'access_token', ...form })
    const reply = await poster.post(url, content, { accept, ...headers })
    return reply instanceof OutboundFailure
      ? new IntrospectionFailure('unavailable', reply.detail, true)
      : meaningOf(reply, read, time())
  }

  async function settled(token: string, now: number, settle: Settle) {
    let outcome: Parameters<Settle>[0] = 'failed'
    const began = clock.now()
    outstanding++
    try {
      const answer = await call(token, now)
      outcome = outcomeOf(answer)
      const failed = answer instanceof IntrospectionFailure
      const result = failed ? answer.result : answer.claims.active === true ? 'active' : 'inactive'
      meter.introspection(rules.name, result, failed ? answer.detail : '', (clock.now() - began) / 1000)
      return answer
    } finally {
      outstanding--
      settle(outcome)
    }
  }

  function refuse(result: 'overloaded' | 'circuit_open', detail: string): IntrospectionFailure {
    meter.introspection(rules.name, result, detail, null)
    return new IntrospectionFailure(result, detail, true)
  }

  return {
    async introspect(token, now) {
      if (outstanding >= MAX_OUTSTANDING)
        return refuse('overloaded', `${MAX_OUTSTANDING} introspections of ${rules.name} are under way`)
      const settle = breaker.begin()
      if (settle === null) return refuse('circuit_open', `introspection of ${rules.name} failed a moment ago`)
      return settled(token, now, settle)
    },
    close: poster.close,
  }
}

async function meaningOf(
  reply: Reply,
  read: ReadResponse,
  now: number,
): Promise<Introspection | IntrospectionFailure> {
  const { status, body } = reply
  // RFC 7662 section 2.3: 401 is about the credentials of Postern; about a token the issuer says 200.
  if (status === 401 || status === 403) {
    const detail = `the issuer refuses the credentials of Postern: status ${status}`
    return new IntrospectionFailure('unauthorized', detail, status === 401)
  }
  if (status >= 500 || status === 429)
    return new IntrospectionFailure('unavailable', `status ${status}`, true)
  if (status !== 200) return new IntrospectionFailure('malformed', `status ${status}`, false)
  const claims = await read(reply, now)
  if (claims instanceof UnusableResponse) return new IntrospectionFailure('malformed', claims.detail, false)
  if (claims.active === undefined) return new IntrospectionFailure('malformed', 'active is absent', false)
  return { claims, bytes: body.length }
}

function outcomeOf(answer: Introspection | IntrospectionFailure): Parameters<Settle>[0] {
  if (!(answer instanceof IntrospectionFailure)) return 'succeeded'
  return answer.isOutage ? 'failed' : 'indifferent'
}

/** The address to ask, from the policy or from the metadata of the issuer; a new look-up that fails changes nothing. */
function endpointOf(
  { url, rules, ca, authentication, timeoutMs }: IntrospectionSettings,
  clock: Clock,
): () => Promise<string | OutboundFailure> {
  if (url !== null) return async () => url
  const get = createOutbound({ ca, timeoutMs })
  const mutualTls = authentication.method === 'tls_client_auth'
  let found: { readonly url: string; readonly until: number } | null = null
  let looking: Promise<string | OutboundFailure> | null = null

  async function look(): Promise<string | OutboundFailure> {
    const answer = await discoverIntrospectionUrl(rules.issuer, mutualTls, get)
    looking = null
    if (!(answer instanceof OutboundFailure)) found = { url: answer, until: clock.now() + DISCOVERED_FOR_MS }
    else if (found !== null) found = { url: found.url, until: clock.now() + LOOK_AGAIN_MS }
    return found?.url ?? answer
  }

  return async () => {
    if (found !== null && clock.now() < found.until) return found.url
    looking ??= look()
    return looking
  }
}
