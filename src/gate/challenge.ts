import { answerOf, DENIALS, type Denial } from '../decision/denials.js'
import type { DpopRule } from '../policy/policy.js'
import type { Credentials } from '../request/credentials.js'

type Scheme = Credentials['scheme']

/** What the challenges of a route may say. */
export interface Offer {
  /** The schemes with which the client tried, well or badly. */
  readonly attempted: ReadonlySet<Scheme>
  readonly rule: DpopRule
  /** The nonce for the next proof; made only when it is needed. */
  readonly nonce: () => string
}

type Field = readonly [name: string, value: string]

/**
 * The fields that tell a client how to authenticate, one challenge each: RFC 6750 section 3 and RFC 9449 sections 7.1, 7.2 and 9.
 * The error stands with the scheme that the client used. Every value is ours, so nothing of the request can break out of the
 * quotes.
 * @param offer null: the route is not known, or asks for no token
 */
export function challengesFor(denial: Denial, offer: Offer | null): readonly Field[] {
  const { challenge } = answerOf(denial)
  if (challenge === 'none') return []
  const schemes = schemesFor(denial, offer)
  const fields = schemes.map((scheme): Field => {
    const isAttempted = offer === null || offer.attempted.size === 0 || offer.attempted.has(scheme)
    const parameters = [
      ...(scheme === 'dpop' && offer !== null ? [`algs="${offer.rule.algorithms.join(' ')}"`] : []),
      ...(challenge === 'bare' || !isAttempted ? [] : errorParameters(challenge, denial)),
    ]
    return [
      'WWW-Authenticate',
      [scheme === 'dpop' ? 'DPoP' : 'Bearer', parameters.join(', ')].join(' ').trim(),
    ]
  })
  return challenge === 'use_dpop_nonce' && offer !== null
    ? [...fields, ['DPoP-Nonce', offer.nonce()]]
    : fields
}

/**
 * A client that tried DPoP alone knows what it wants. All others hear of Bearer first, and of DPoP where it could help: not
 * where the token must be bound to the certificate, and not when it is the certificate that is refused.
 */
function schemesFor(denial: Denial, offer: Offer | null): readonly Scheme[] {
  if (offer === null) return ['bearer']
  const { attempted, rule } = offer
  if (attempted.has('dpop')) return attempted.has('bearer') ? ['bearer', 'dpop'] : ['dpop']
  const isOffered =
    denial.code === 'proof_missing' ||
    (rule.satisfiesBinding && DENIALS[denial.code].step !== 'checkCertificate')
  return isOffered ? ['bearer', 'dpop'] : ['bearer']
}

/** In quotes, all of them, as RFC 9470 section 3 shows max_age too. */
function errorParameters(error: string, denial: Denial): readonly string[] {
  const { scope, acrValues, maxAge } = denial.parameters
  const values = {
    error,
    error_description: answerOf(denial).message,
    scope,
    acr_values: acrValues,
    max_age: maxAge,
  }
  return Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}="${value}"`],
  )
}
