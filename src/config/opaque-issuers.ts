import type { Draft } from './draft.js'
import type { Path } from './source-tree.js'

/**
 * An opaque token does not say whose it is: of the issuers of a route at most one may take such tokens. Asking one after the
 * other would show every issuer the tokens of all.
 */
export function checkOpaqueIssuers(draft: Draft, issuers: readonly string[], path: Path): void {
  const taking = [...new Set(issuers)].filter(name => {
    const tokens = draft.parts.issuers?.get(name)?.tokens
    return tokens === 'opaque' || tokens === 'auto'
  })
  if (taking.length > 1)
    draft.problem(
      path,
      `${taking.map(name => `"${name}"`).join(' and ')} all take opaque tokens, and such a token does not say whose it is`,
      'give the routes of each issuer a path of their own, or tokens: jwt to all but one',
    )
}
