/** Routes for the look-up of a path, and how its cost grows with their number. */
import type { Route } from '../src/policy/policy.js'
import { RouteIndex } from '../src/policy/route-index.js'
import { measure } from './stopwatch.js'

const SIZES = [10, 1_000, 10_000]

/** Prints nanoseconds of one look-up by number of routes, and the ratio to the fewest. */
export function printLookup(): void {
  process.stdout.write('\nroutes   lookup ns   ratio\n')
  let fewest = Number.NaN
  for (const size of SIZES) {
    const index = RouteIndex.build(routes(size))
    if (!(index instanceof RouteIndex)) throw new Error('the routes conflict')
    const last = size - 1
    const path = { path: `/api/v${last % 10}/resource-${last}/some-identifier/items`, ambiguities: [] }
    const lookup = measure(() => index.match('GET', path))
    if (Number.isNaN(fewest)) fewest = lookup
    process.stdout.write(
      `${String(size).padStart(6)}   ${lookup.toFixed(0).padStart(9)}   ${(lookup / fewest).toFixed(2).padStart(5)}\n`,
    )
  }
}

function routes(count: number): Route[] {
  return Array.from({ length: count }, (_, number) => ({
    id: `GET /api/v${number % 10}/resource-${number}/{id}/items`,
    method: 'GET',
    template: `/api/v${number % 10}/resource-${number}/{id}/items`,
    api: 'bench',
    mtls: true,
    certificates: null,
    token: null,
    upstream: 'provider',
    rates: [],
    errors: 'fdx',
    upgrade: null,
    responseTimeoutMs: null,
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
    metadataPath: null,
    metadata: null,
  }))
}
