import { parseTemplate, type Segment, TemplateProblem } from '../policy/path-template.js'
import type { Route, TokenRule } from '../policy/policy.js'
import { defaultsOf, PROFILES, type ProfileName } from '../policy/profiles.js'
import { checkRouteAuthorisation, stepUpOf } from './compile-authorisation.js'
import { compileDpop } from './compile-dpop.js'
import { metadataPathFor } from './compile-metadata.js'
import { allowedAmbiguities, checkRoutePaths } from './compile-paths.js'
import { checkProfile } from './compile-profile.js'
import { ratesOf } from './compile-rate.js'
import type { Draft } from './draft.js'
import { checkOpaqueIssuers } from './opaque-issuers.js'
import { type Effective, RouteSettings, type Setting } from './route-settings.js'
import type { Security } from './schema-route.js'
import type { Path } from './source-tree.js'

/** A route that is valid in itself. */
export interface CompiledRoute {
  readonly route: Route
  readonly segments: readonly Segment[]
  readonly path: Path
  /** Where its rate is written; its own place when it has none. */
  readonly rateFrom: Path
}

/** One route of an API, as the policy writes it and as it inherits. */
export class RouteDraft {
  readonly #draft: Draft
  readonly #api: Path
  readonly #path: Path
  readonly #key: string
  readonly #index: number
  readonly #settings: RouteSettings

  constructor(draft: Draft, index: number, key: string) {
    this.#draft = draft
    this.#index = index
    this.#api = ['apis', index]
    this.#path = ['apis', index, 'routes', key]
    this.#key = key
    this.#settings = new RouteSettings(draft, index, key)
  }

  /** null: it has problems, and they are reported. */
  compile(): CompiledRoute | null {
    const draft = this.#draft
    if (draft.isBroken(this.#path)) return null
    const api = draft.parts.apis?.[this.#index]
    const parts = api?.routes?.get(this.#key)
    const security = this.#settings.get('security')
    if (security.value === undefined && !security.broken)
      draft.problemAtKey(
        this.#path,
        `"${this.#key}" has no security`,
        'say what callers must show: [mtls, oauth2], [oauth2], [mtls] or public; it is never implied',
      )
    if (security.value !== undefined) {
      this.#warnOfWeakSecurity(security.value, security.path)
      this.#checkProfile(security.value, security.path)
    }
    const token = security.value?.oauth2 === true ? this.#tokenRule(security.value) : null
    const upstream = this.#settings.get('upstream')
    if (upstream.value === undefined && !upstream.broken)
      draft.problemAtKey(
        this.#path,
        `"${this.#key}" has no upstream`,
        'name one here, at the API or in defaults',
      )
    const target = this.#template(api?.base)
    if (parts?.upgrade !== undefined && target !== null && target.method !== 'GET')
      draft.problem(
        [...this.#path, 'upgrade'],
        'a WebSocket handshake is a GET request',
        `write "GET ${this.#key.slice(this.#key.indexOf(' ') + 1)}"`,
      )
    if (target !== null && security.value !== undefined)
      this.#checkAuthorisation(security.value, target.segments)
    if (target === null || parts === undefined) return null
    if (security.value === undefined || upstream.value === undefined || token === 'invalid') return null
    const route: Route = {
      id: parts.id ?? `${target.method} ${target.template}`,
      method: target.method,
      template: target.template,
      api: api?.name ?? '',
      mtls: security.value.mtls,
      certificates: security.value.mtls ? (this.#settings.get('certificates').value?.allowed ?? null) : null,
      token,
      upstream: upstream.value,
      rates: ratesOf(draft, this.#settings.get('rate'), token !== null),
      errors: this.#settings.get('errors').value ?? 'fdx',
      upgrade: parts.upgrade ?? null,
      responseTimeoutMs: this.#settings.get('timeout').value ?? null,
      profile: this.#profile(),
      headers: this.#settings.get('headers').value ?? defaultsOf(this.#profile()).headers,
      paths: allowedAmbiguities(this.#settings.get('paths').value),
      metadataPath: token === null || api?.base === undefined ? null : metadataPathFor(draft, api.base),
      metadata: null,
    }
    this.#checkPossession(route)
    checkRoutePaths(draft, this.#key, route, this.#settings.get('paths').path)
    const rateFrom = this.#settings.get('rate').path
    return { route, segments: target.segments, path: this.#path, rateFrom }
  }

  /** RFC 8705 section 6.2: without a chain a certificate proves no more than possession of its key; a token or a pin says whose. */
  #checkPossession({ mtls, token, certificates }: Route): void {
    const isPossession = this.#draft.parts.server?.tls?.clients?.trust === 'possession'
    if (isPossession && mtls && certificates === null && token?.binding !== 'required')
      this.#draft.problemAtKey(
        this.#path,
        `with trust: possession "${this.#key}" lets in everybody who makes a certificate`,
        'add oauth2 with binding: required, name certificates by pin, or write trust: pki with ca',
      )
  }

  #tokenRule(security: Security): TokenRule | 'invalid' {
    const scopes = this.#needed('scopes', 'name the scopes that the token must have, or write scopes: none')
    const flow = this.#needed('flow', 'authorization_code, client_credentials, or a list of both')
    const issuer = this.#needed('issuer', 'name an issuer here, at the API or in defaults')
    const binding = this.#binding(security)
    const dpop = compileDpop(this.#draft, [this.#path, this.#api, ['defaults']], security.mtls)
    if (issuer !== null) checkOpaqueIssuers(this.#draft, issuer, this.#settings.get('issuer').path)
    if (scopes === null || flow === null || issuer === null || binding === null) return 'invalid'
    const claims = (this.#settings.get('claims').value ?? []).map(({ rule }) => rule)
    const stepUp = stepUpOf(this.#settings.get('acr').value, this.#settings.get('maxAuthAge').value)
    const { maxLifetimeSeconds } = defaultsOf(this.#profile())
    const rule = { issuers: [...new Set(issuer)], flows: [...new Set(flow)], scopes, binding }
    return { ...rule, maxLifetimeSeconds, dpop, stepUp, claims }
  }

  #checkAuthorisation(security: Security, segments: readonly Segment[]): void {
    checkRouteAuthorisation(this.#draft, {
      ...{ key: this.#key, security, segments, flows: this.#settings.get('flow').value ?? [] },
      claims: this.#settings.get('claims'),
      acr: this.#settings.get('acr'),
      maxAuthAge: this.#settings.get('maxAuthAge'),
      certificates: this.#settings.get('certificates'),
    })
  }

  #needed<S extends Setting>(name: S, hint: string): Effective[S] | null {
    const { value, broken } = this.#settings.get(name)
    if (value === undefined && !broken)
      this.#draft.problemAtKey(this.#path, `"${this.#key}" asks for a token and has no ${name}`, hint)
    return value ?? null
  }

  /** With a certificate and a token the token must be bound to the certificate; alone, a binding that is there counts. */
  #binding({ mtls }: Security): TokenRule['binding'] | null {
    const { value, path, broken } = this.#settings.get('binding')
    if (broken) return null
    if (value === undefined) return this.#bindingByDefault(mtls)
    // checkProfile says it where the profile of the route has a say.
    if (mtls && value === 'if-present' && PROFILES[this.#profile()].binding === null) {
      const profile = this.#draft.parts.server?.tls?.profile
      const message = 'a token that is not bound to the client certificate would pass'
      if (profile === 'compatible')
        this.#draft.warning(
          path,
          message,
          'a stolen token can then be used with any trusted certificate; write binding: required when the issuer binds tokens',
        )
      else if (profile !== undefined)
        this.#draft.problem(
          path,
          `${message}, which the profile ${profile} forbids on mTLS routes`,
          'take it out: required follows from security',
        )
    }
    return value
  }

  #bindingByDefault(mtls: boolean): TokenRule['binding'] {
    return mtls ? 'required' : (defaultsOf(this.#profile()).binding ?? 'if-present')
  }

  #profile(): ProfileName {
    return this.#settings.get('profile').value ?? 'custom'
  }

  #checkProfile(security: Security, path: Path): void {
    const profile = this.#profile()
    const binding = this.#settings.get('binding')
    const headers = this.#settings.get('headers')
    const bound = binding.value ?? this.#bindingByDefault(security.mtls)
    checkProfile(this.#draft, {
      profile,
      security: { value: security, path },
      binding: security.oauth2 && !binding.broken ? { value: bound, path: binding.path } : null,
      headers: { value: headers.value ?? defaultsOf(profile).headers, path: headers.path },
      issuers: this.#settings.get('issuer').value ?? [],
    })
  }

  #warnOfWeakSecurity({ mtls, oauth2 }: Security, path: Path): void {
    const profile = this.#draft.parts.server?.tls?.profile
    if (!mtls && !oauth2)
      this.#draft.warning(
        path,
        'public: no certificate and no token is asked for',
        'everybody who reaches this port may call; make sure that is meant',
      )
    else if (
      !mtls &&
      profile !== undefined &&
      profile !== 'compatible' &&
      PROFILES[this.#profile()].binding === null &&
      this.#settings.get('binding').value !== 'required'
    )
      this.#draft.warning(
        path,
        `[oauth2] alone is not ${profile === 'fapi2' ? 'FAPI 2.0' : 'FAPI 1.0 Advanced'}: a stolen token is good for anybody, unless it is bound`,
        'add mtls, or write binding: required, when the clients of these routes can',
      )
  }

  #template(
    base: string | undefined,
  ): { method: string; template: string; segments: readonly Segment[] } | null {
    const match = /^([A-Z]+) (\/\S*)$/.exec(this.#key)
    if (base === undefined || match === null) return null
    const [, method = '', below = ''] = match
    const template = base === '/' ? below : base + below
    if (below === '/' && base !== '/')
      this.#draft.findings.warning(
        this.#draft.keyPlace(this.#path),
        `this is ${template} with the slash at its end, not ${base}`,
        'for the path without the slash end base one segment earlier',
      )
    const segments = parseTemplate(template)
    if (!(segments instanceof TemplateProblem)) return { method, template, segments }
    this.#draft.problemAtKey(this.#path, segments.message, segments.hint)
    return null
  }
}
