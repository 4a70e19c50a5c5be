/** How often a route, or a group of routes, may be called. */

/** What requests are counted by before anything is known of their token. */
const BY_CONNECTION = ['address', 'certificate'] as const
/** What requests are counted by once their token has been granted access. */
const BY_TOKEN = ['client', 'subject'] as const

export const COUNTED_BY = [...BY_CONNECTION, ...BY_TOKEN] as const
export type CountedBy = (typeof COUNTED_BY)[number]

/** At most so many requests in the time that begins with the first of them, for each one that it counts. */
export interface RateRule {
  /** Of the budget: all routes that take the rule from the same place share one. */
  readonly id: string
  readonly requests: number
  readonly perSeconds: number
  readonly by: CountedBy
}

/** Only requests with a token can be counted like this. */
export function countsTokens(by: CountedBy): boolean {
  return (BY_TOKEN as readonly CountedBy[]).includes(by)
}
