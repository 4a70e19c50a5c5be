import type { Route } from '../policy/policy.js'
import { countsTokens, type RateRule } from '../policy/rate.js'
import type { Draft } from './draft.js'
import type { Found } from './route-settings.js'
import type { WrittenRate } from './schema-rate.js'
import type { Path } from './source-tree.js'

/** The rules of one route; those that count tokens are left out where no token is asked for. */
export function ratesOf(
  draft: Draft,
  { value, path }: Found<'rate'>,
  asksToken: boolean,
): readonly RateRule[] {
  return (value ?? [])
    .filter(({ by }) => asksToken || !countsTokens(by))
    .map(rate => ({
      id: idOf(draft, path, rate),
      requests: rate.requests,
      perSeconds: rate.per / 1000,
      by: rate.by,
    }))
}

/**
 * What routes have in common that take a rate from the same place. In words of the policy, so that a count goes on through a
 * reload that moves the place.
 */
function idOf(draft: Draft, path: Path, { requests, per, by }: WrittenRate): string {
  const api = typeof path[1] === 'number' ? draft.parts.apis?.[path[1]] : undefined
  const place = path.map((step, index) => (index === 1 ? `${api?.name} ${api?.base}` : step))
  return JSON.stringify([...place, requests, per, by])
}

/** A route, and where its rate is written. */
interface Taker {
  readonly route: Pick<Route, 'token'>
  readonly rateFrom: Path
}

/** Reports rates that would count nothing or the wrong thing; asked only when every route is valid in itself. */
export function checkRates(draft: Draft, routes: readonly Taker[]): void {
  // By the place of the rate, once: asking every route for every place takes minutes in a large policy.
  const takersOf = new Map<string, Taker[]>()
  for (const taker of routes) {
    const place = taker.rateFrom.join('\n')
    const takers = takersOf.get(place)
    if (takers === undefined) takersOf.set(place, [taker])
    else takers.push(taker)
  }
  for (const { path, rates } of writtenRates(draft)) {
    const takers = takersOf.get(path.join('\n')) ?? []
    const noneAsksToken = takers.length > 0 && takers.every(({ route }) => route.token === null)
    for (const rate of rates) {
      if (countsTokens(rate.by) && noneAsksToken)
        draft.problem(
          path,
          `"by: ${rate.by}" counts nothing here: no route that takes this rate asks for a token`,
          'count by certificate or address, or add oauth2 to security',
        )
      if (rate.by === 'certificate' && draft.parts.server?.tls?.clients?.trust === 'possession')
        draft.problem(
          path,
          'with trust: possession everybody can make as many certificates as he likes, and count anew with each',
          'count by client or address',
        )
      if (rate.by === 'address' && (draft.parts.trustedTerminators ?? []).length > 0)
        draft.warning(
          path,
          'all clients behind a trusted terminator are counted together, by its address',
          'count by certificate or client, and let the terminator count addresses',
        )
    }
  }
}

interface Written {
  readonly path: Path
  readonly rates: readonly WrittenRate[]
}

function writtenRates(draft: Draft): readonly Written[] {
  const { defaults, apis = [] } = draft.parts
  return [
    { path: ['defaults', 'rate'], rates: defaults?.rate ?? [] },
    ...apis.flatMap((api, index) => [
      { path: ['apis', index, 'rate'], rates: api?.rate ?? [] },
      ...[...(api?.routes ?? [])].map(([key, route]) => ({
        path: ['apis', index, 'routes', key, 'rate'],
        rates: route?.rate ?? [],
      })),
    ]),
  ]
}

/**
 * A rate of a route replaces that of its API, and that one those of `defaults`. Whoever writes a new one may not
 * see that another no longer counts.
 */
export function warnOfReplacedRates(draft: Draft): void {
  const ofDefaults = draft.parts.defaults?.rate
  for (const [index, api] of (draft.parts.apis ?? []).entries()) {
    warnIfReplaced(draft, ['apis', index, 'rate'], api?.rate, ofDefaults, 'defaults')
    for (const [key, route] of api?.routes ?? []) {
      const path = ['apis', index, 'routes', key, 'rate']
      warnIfReplaced(draft, path, route?.rate, api?.rate ?? ofDefaults, api?.rate ? 'the API' : 'defaults')
    }
  }
}

function warnIfReplaced(
  draft: Draft,
  path: Path,
  own: readonly WrittenRate[] | undefined,
  outer: readonly WrittenRate[] | undefined,
  where: string,
): void {
  // `none` is said on purpose.
  if (own === undefined || own.length === 0 || outer === undefined) return
  const kept = new Set(own.map(({ by }) => by))
  for (const by of new Set(outer.map(rate => rate.by)))
    if (!kept.has(by))
      draft.warning(
        path,
        `the rate of ${where} by ${by} does not count here: this one replaces it`,
        'write it here as well, when it should count',
      )
}
