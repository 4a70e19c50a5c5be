import type { IssuerSettings } from '../config/settings.js'
import { identityOf } from '../policy/identity.js'
import { createIssuerSource } from '../sources/issuer-source.js'
import { createKeySource, type KeySource } from '../sources/keys.js'
import type { SourceMeter, TokenSource } from '../sources/token-source.js'

/** The working sources of one issuer, and the settings that they were made from. */
export interface IssuerSources {
  readonly settings: string
  /** null: neither tokens nor introspection replies are signed. */
  readonly keys: KeySource | null
  readonly tokens: TokenSource
}

/** The sources of a gate, by the names of the issuers. */
export type SourcesByIssuer = ReadonlyMap<string, IssuerSources>

/** All that says what a token of the issuer is and how it is verified; the same text for the same settings. */
export function sourceIdentity({ rules, keys, tokens, revocation, introspection }: IssuerSettings): string {
  return identityOf(rules, keys, tokens, revocation, introspection)
}

/**
 * Makes the sources of all issuers. An issuer whose settings have not changed keeps its sources, with the keys and the
 * verified tokens that they hold; one whose settings have changed starts with the keys of the old one, as far as they
 * are the same keys, so that a reload never waits for an issuer.
 */
export function tokenSources(
  issuers: ReadonlyMap<string, IssuerSettings>,
  before: SourcesByIssuer,
  meter: SourceMeter,
): SourcesByIssuer {
  const sources = new Map<string, IssuerSources>()
  for (const [name, issuer] of issuers) {
    const { rules, keys: settings, tokens, revocation, introspection } = issuer
    const identity = sourceIdentity(issuer)
    const old = before.get(name)
    if (old !== undefined && old.settings === identity) {
      sources.set(name, old)
      continue
    }
    const previous = () => old?.keys?.handover() ?? null
    const keys =
      settings === null ? null : createKeySource({ name, issuer: rules.issuer, settings, meter, previous })
    const source = createIssuerSource({ tokens, revocation, rules, keys, introspection, meter })
    sources.set(name, { settings: identity, keys, tokens: source })
  }
  return sources
}

/** Starts the background work of sources that are new. */
export function startNewSources(sources: SourcesByIssuer, before: SourcesByIssuer): void {
  for (const [name, source] of sources) if (before.get(name) !== source) void source.keys?.start()
}

/** Ends the sources that the present ones have replaced. */
export function closeReplacedSources(sources: SourcesByIssuer, before: SourcesByIssuer): void {
  for (const [name, source] of before) if (sources.get(name) !== source) source.tokens.close()
}
