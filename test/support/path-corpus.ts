/** Targets that servers have read in different ways, from test/vectors/paths.json. */
import { readFileSync } from 'node:fs'
import { vectors } from './vectors.js'

export interface PathTarget {
  readonly name: string
  /** What stands between the method and the version, one character a byte. */
  readonly target: string
  /** So many letters behind it. */
  readonly padding?: number
  /** Default GET. */
  readonly method?: string
  /** Id of the route under which it reaches the upstream; null: it does not. */
  readonly route: string | null
  /** What the upstream sees, where that is not the target: absolute-form arrives in origin-form. */
  readonly arrives?: string
  /** The rule, or where a server once fell for it. */
  readonly why: string
}

/** The corpus. */
export function pathCorpus(): readonly PathTarget[] {
  return JSON.parse(readFileSync(vectors('paths.json'), 'utf8')) as readonly PathTarget[]
}

/** A target as it goes over the wire. */
export function bytesOf({ target, padding = 0 }: PathTarget): string {
  return target + 'a'.repeat(padding)
}

const ALL = '{ encodedSlash: allow, semicolon: allow, encodedUnreserved: allow, encodedPercent: allow }'

/** A strict tree and a relaxed one, each with a neighbour that these clients, who have no certificate, must never reach. */
export const PATH_APIS = `
  - name: Neighbours
    base: /
    security: [mtls]
    routes:
      GET /admin: {}
      GET /admin/{path...}: {}
      GET /strict/admin: {}
      GET /strict/files/admin/{path...}: {}
      GET /relaxed/admin: {}
      GET /relaxed/files/admin/{path...}: {}
  - name: Strict
    base: /
    security: public
    routes:
      GET /{top}: {}
      GET /strict/{id}: {}
      GET /strict/{id}/notes: {}
      GET /strict/files/{path...}: {}
      POST /relaxed/{id}/close: {}
  - name: Relaxed
    base: /relaxed
    security: public
    paths: ${ALL}
    routes:
      GET /{id}: {}
      GET /{id}/notes: {}
      GET /files/{path...}: {}
  - name: Each
    base: /
    security: public
    routes:
      GET /slash/{id}: { paths: { encodedSlash: allow } }
      GET /semi/{id}: { paths: { semicolon: allow } }
      GET /unreserved/{id}: { paths: { encodedUnreserved: allow } }
      GET /percent/{id}: { paths: { encodedPercent: allow } }
`
