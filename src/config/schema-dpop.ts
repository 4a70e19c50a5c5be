import { z } from 'zod'
import { duration, words } from './schema-values.js'

/** FAPI 2.0 section 5.4.1; Ed25519 is what RFC 9864 calls EdDSA with that curve. */
export const FAPI_PROOF_ALGORITHMS = ['PS256', 'ES256', 'EdDSA', 'Ed25519'] as const
const PROOF_ALGORITHMS = [
  ...FAPI_PROOF_ALGORITHMS,
  'PS384',
  'PS512',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
] as const

/** What is asked of DPoP proofs. Each member counts by itself: what a route leaves out its API may say, then `defaults`. */
export const dpop = z
  .strictObject(
    {
      algorithms: z
        .array(
          z.enum(PROOF_ALGORITHMS, {
            error: words(
              'must be a signature algorithm with a public key',
              `one of ${PROOF_ALGORITHMS.join(', ')} (RFC 9449 section 4.2)`,
            ),
          }),
          { error: words('must be a list of algorithms', 'such as [PS256, ES256]') },
        )
        .min(1, { error: words('has no entries', 'such as [PS256, ES256]') })
        .optional()
        .describe(`Algorithms of proofs. Default ${FAPI_PROOF_ALGORITHMS.join(', ')}.`),
      maxAge: duration('1s', '5m')
        .optional()
        .describe(
          'Greatest age of a proof; with nonces, how long each is handed out: it is good for one to two times as long. Default 60s.',
        ),
      futureSkew: duration('0s', '60s')
        .optional()
        .describe('How far the clock of a client may be ahead. Default 15s.'),
      nonce: z
        .enum(['none', 'required'])
        .optional()
        .describe(
          'required: every proof carries a nonce that Postern issued, so none can be made in advance (RFC 9449 section 9). Default none.',
        ),
    },
    { error: words('must say what is asked of DPoP proofs', 'such as { maxAge: 30s, nonce: required }') },
  )
  .describe('DPoP proofs (RFC 9449), which every token route accepts with the scheme DPoP.')
