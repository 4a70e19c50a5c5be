import type { ErrorFormat, Flow, ScopeRule } from '../policy/policy.js'
import type { ProfileName } from '../policy/profiles.js'
import type { Draft } from './draft.js'
import type { AllowList } from './schema-certificates.js'
import type { WrittenClaimRule } from './schema-claims.js'
import type { RelaxedPaths } from './schema-paths.js'
import type { WrittenRate } from './schema-rate.js'
import type { Security } from './schema-route.js'
import type { Path } from './source-tree.js'

/** The settings that a route takes from the nearest place that has them. */
export interface Effective {
  readonly security: Security
  readonly scopes: ScopeRule
  readonly flow: readonly Flow[]
  readonly issuer: readonly string[]
  readonly upstream: string
  readonly errors: ErrorFormat
  readonly binding: 'required' | 'if-present'
  readonly claims: readonly WrittenClaimRule[]
  readonly acr: readonly string[]
  readonly maxAuthAge: number
  readonly certificates: AllowList
  readonly profile: ProfileName
  readonly headers: 'strict' | 'tolerant'
  readonly paths: RelaxedPaths
  readonly timeout: number
  readonly rate: readonly WrittenRate[]
}

export type Setting = keyof Effective

/** `value` is undefined when nobody sets it; `broken` when somebody does and it is wrong, which is reported. */
export interface Found<S extends Setting> {
  readonly value: Effective[S] | undefined
  readonly path: Path
  readonly broken: boolean
}

/** Settings that say something of tokens, or of client certificates. */
const TOKEN_SETTINGS = ['scopes', 'flow', 'issuer', 'binding', 'claims', 'acr', 'maxAuthAge', 'dpop'] as const
const CERTIFICATE_SETTINGS = ['certificates'] as const

/** The settings in effect on one route: its own, or else those of its API, or else those of `defaults`. */
export class RouteSettings {
  readonly #draft: Draft
  readonly #index: number
  readonly #key: string

  constructor(draft: Draft, index: number, key: string) {
    this.#draft = draft
    this.#index = index
    this.#key = key
  }

  get<S extends Setting>(name: S): Found<S> {
    const api = this.#draft.parts.apis?.[this.#index]
    const own = ['apis', this.#index, 'routes', this.#key]
    const levels: readonly (readonly [Path, Partial<Record<string, unknown>> | undefined])[] = [
      [own, api?.routes?.get(this.#key)],
      [['apis', this.#index], api],
      [['defaults'], this.#draft.parts.defaults],
    ]
    for (const [level, parts] of levels) {
      const path = [...level, name]
      if (this.#draft.isBroken(path)) return { value: undefined, path, broken: true }
      const value = parts?.[name] as Effective[S] | undefined
      if (value !== undefined) return { value, path, broken: false }
    }
    return { value: undefined, path: [...own, name], broken: false }
  }
}

/** What is said of tokens or certificates where none is asked for would be ignored, and its author thinks it is not. */
export function checkMeaninglessSettings(draft: Draft, index: number): void {
  checkMeaningless(draft, index, 'oauth2', TOKEN_SETTINGS, 'token')
  checkMeaningless(draft, index, 'mtls', CERTIFICATE_SETTINGS, 'client certificate')
}

function checkMeaningless(
  draft: Draft,
  index: number,
  asked: keyof Security,
  settings: readonly string[],
  what: string,
): void {
  const api = draft.parts.apis?.[index]
  const apiPath = ['apis', index]
  const asksFor = (path: Path, own: Security | undefined): boolean | null => {
    if (draft.isBroken([...path, 'security'])) return null
    if (own !== undefined) return own[asked]
    if (draft.isBroken([...apiPath, 'security']) || draft.isBroken(['defaults', 'security'])) return null
    return (api?.security ?? draft.parts.defaults?.security)?.[asked] ?? null
  }
  let everyRouteWithout = (api?.routes?.size ?? 0) > 0
  for (const [key, parts] of api?.routes ?? []) {
    const path = [...apiPath, 'routes', key]
    const asks = asksFor(path, parts?.security)
    if (asks !== false) everyRouteWithout = false
    else
      for (const name of settings)
        if (draft.stands([...path, name]))
          draft.problemAtKey(
            [...path, name],
            `"${name}" has no meaning here: the route asks for no ${what}`,
            `take it out, or add ${asked} to security`,
          )
  }
  if (everyRouteWithout)
    for (const name of settings)
      if (draft.stands([...apiPath, name]))
        draft.problemAtKey(
          [...apiPath, name],
          `"${name}" has no meaning here: no route of the API asks for a ${what}`,
          `take it out, or add ${asked} to security`,
        )
}
