import { z } from 'zod'
import type { Ambiguity } from '../request/canonical-path.js'

const WHAT: Readonly<Record<Ambiguity, string>> = {
  encodedSlash:
    '%2F in a path parameter. An upstream that takes it for a slash serves a path below this one that no route has.',
  semicolon:
    '; and %3B in a path parameter. An upstream that cuts off what follows serves the object without it.',
  encodedUnreserved:
    'Letters, digits and - . _ ~ as escapes, such as %7E, in a path parameter. Encoded dot segments stay refused.',
  encodedPercent:
    '%25 before two hexadecimal digits in a path parameter. An upstream that decodes twice serves another object.',
}

const allowance = (ambiguity: Ambiguity) =>
  z.enum(['allow', 'refuse']).prefault('refuse').describe(WHAT[ambiguity])

/** What the paths of a route may hold although servers read it differently. */
export const paths = z
  .strictObject({
    encodedSlash: allowance('encodedSlash'),
    semicolon: allowance('semicolon'),
    encodedUnreserved: allowance('encodedUnreserved'),
    encodedPercent: allowance('encodedPercent'),
  })
  .describe(
    'What paths may hold although servers read it differently, each allow or refuse (default). Forwarded as it came; refused where a reading is the path of another route, or has an empty or dot segment.',
  )

/** As written, where parts of it may be wrong and reported. */
export type RelaxedPaths = Readonly<Partial<Record<Ambiguity, 'allow' | 'refuse' | undefined>>>
