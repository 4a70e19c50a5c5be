import { Denial, type Verdict } from '../decision/denials.js'
import { type Clock, systemClock } from './clock.js'
import { discoverKeysUrl } from './discovery.js'
import { type KeyHint, type KeySet, readKeySet, selectKeys, type VerificationKey } from './key-set.js'
import { createOutbound, type GetJson, OutboundFailure, urlProblem } from './outbound.js'
import { JsonProblem, readJsonObject } from './strict-json.js'
import type { SourceMeter } from './token-source.js'

/** Where the keys of an issuer come from; has the shape of the policy's settings. Durations in milliseconds. */
export type KeySettings =
  | { readonly from: 'file'; readonly text: string }
  | ({ readonly from: 'url'; readonly url: string } & RemoteKeySettings)
  | ({ readonly from: 'discovery' } & RemoteKeySettings)

export interface RemoteKeySettings {
  readonly refreshMs: number
  /** Least time between two fetches for an unknown kid, also after a failure. */
  readonly cooldownMs: number
  /** How long keys still serve after their refresh has begun to fail. */
  readonly staleForMs: number
  /** PEM of the authorities for the TLS connection; null: the system's roots. */
  readonly ca: string | null
}

/** The public keys of one issuer. */
export interface KeySource {
  /** Begins background work; resolves after the first attempt, also a failed one. Never rejects. */
  readonly start: () => Promise<void>
  /**
   * The keys that may have signed a token with this header, perhaps none. A promise only while keys are fetched for
   * a kid that nobody knows. `issuer_unavailable` when the issuer would have to be asked and cannot be. Never rejects.
   */
  readonly keysFor: (
    hint: KeyHint,
  ) => Verdict<readonly VerificationKey[]> | Promise<Verdict<readonly VerificationKey[]>>
  /** null while the keys may be used; `issuer_unavailable` before the first keys and when they are too old. */
  readonly unavailable: () => Denial | null
  /** Whether a usable key was had at least once. */
  readonly isReady: () => boolean
  /** Calls the listener whenever the keys have become others: what was verified with the old ones is void. */
  readonly onChange: (listener: () => void) => void
  /** The keys, for the source of the same issuer that replaces this one at a reload. null: none yet. */
  readonly handover: () => KeyHandover | null
  /** Ends background work. */
  readonly close: () => void
}

/** Keys on their way from one source to the next; taken over only when origin and settings are the same. */
export interface KeyHandover {
  readonly origin: string
  readonly set: KeySet
  readonly failingSince: number | null
}

export interface KeySourceOptions {
  /** Name of the issuer in the policy; a label of metrics. */
  readonly name: string
  /** Issuer identifier, for discovery. */
  readonly issuer: string
  readonly settings: KeySettings
  readonly meter: Pick<SourceMeter, 'keysRefresh'>
  readonly clock?: Clock
  /** For tests; default: the outbound client with `settings.ca`. */
  readonly get?: GetJson
  readonly previous?: KeyHandover | null
}

/** What makes these settings unfit for use, in one sentence; null when nothing does. For the load of the policy. */
export function keySettingsProblem(issuer: string, settings: KeySettings): string | null {
  if (settings.from === 'file') {
    const set = readKeySetText(settings.text)
    if (typeof set === 'string') return set
    return set.keys.length > 0 ? null : ['no usable key', ...set.ignored].join('; ')
  }
  if (settings.from === 'url') return urlProblem(settings.url)
  const problem = urlProblem(issuer)
  if (problem !== null) return problem
  return /[?#]/.test(issuer) ? 'an issuer with query or fragment has no metadata (RFC 8414 section 2)' : null
}

/**
 * The keys of one issuer. A file is read at once. Remote keys are fetched in the background after `start`; an issuer
 * that is down costs readiness at a cold start and nothing later, until `staleForMs` is over.
 */
export function createKeySource(options: KeySourceOptions): KeySource {
  const { settings } = options
  return settings.from === 'file' ? fixedKeys(settings.text) : remoteKeys(options, settings)
}

function fixedKeys(text: string): KeySource {
  const set = readKeySetText(text)
  const unavailable = () => (typeof set === 'string' ? new Denial('issuer_unavailable', set) : null)
  return {
    start: async () => {},
    keysFor: hint =>
      typeof set === 'string' ? new Denial('issuer_unavailable', set) : selectKeys(set, hint),
    unavailable,
    isReady: () => typeof set !== 'string' && set.keys.length > 0,
    onChange: () => {},
    handover: () => null,
    close: () => {},
  }
}

/** Waits after the first failure, the second and so on; the last for all that follow. */
const BACKOFF_MS = [1000, 2000, 4000, 8000, 16_000, 30_000]

function remoteKeys(options: KeySourceOptions, settings: Exclude<KeySettings, { from: 'file' }>): KeySource {
  const { name, issuer, meter, previous = null, clock = systemClock } = options
  const { refreshMs, cooldownMs, staleForMs, ca } = settings
  const get = options.get ?? createOutbound({ ca })
  const origin = JSON.stringify([issuer, settings])
  const inherited = previous?.origin === origin ? previous : null
  const closing = new AbortController()
  const listeners: (() => void)[] = []

  let set = inherited?.set ?? null
  let ready = inherited !== null && inherited.set.keys.length > 0
  let failingSince = inherited?.failingSince ?? null
  let failures = 0
  /** Attempts are numbered as they begin; `adopted` is the number of the one whose keys are in use. */
  let begun = 0
  let adopted = 0
  let refresh: Promise<void> | null = null
  let kidFetch: Promise<void> | null = null
  let lastKidFetch = Number.NEGATIVE_INFINITY
  let callOff = () => {}

  async function attempt(): Promise<void> {
    const number = ++begun
    const answer = await fetchKeySet(issuer, settings, get, closing.signal)
    // A later question has been answered already: what this one says is older.
    if (closing.signal.aborted || number < adopted) return
    if (answer instanceof OutboundFailure) {
      failingSince ??= clock.now()
      meter.keysRefresh(name, 'failure', answer.detail)
    } else {
      adopted = number
      failingSince = null
      adopt(answer)
    }
    const succeeded = !(answer instanceof OutboundFailure) && answer.keys.length > 0
    failures = succeeded ? 0 : failures + 1
    schedule()
  }

  function adopt(next: KeySet): void {
    const changed = set !== null && set.fingerprint !== next.fingerprint
    set = next
    const usable = next.keys.length > 0
    ready ||= usable
    meter.keysRefresh(
      name,
      usable ? 'success' : 'failure',
      [`${next.keys.length} keys`, ...next.ignored].join('; '),
    )
    if (changed) for (const listener of listeners) listener()
  }

  function schedule(): void {
    const backoff = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1]
    const wait = Math.min(refreshMs, backoff ?? refreshMs)
    callOff()
    // Earlier by up to a tenth, so that many instances do not ask in step.
    callOff = clock.after(wait * (1 - Math.random() / 10), refreshOnce)
  }

  function refreshOnce(): Promise<void> {
    refresh ??= attempt().finally(() => {
      refresh = null
    })
    return refresh
  }

  /** One fetch at a time, and none before the cooldown since the last one is over, whatever became of that. */
  function fetchForUnknownKid(): Promise<void> | null {
    if (kidFetch !== null) return kidFetch
    if (clock.now() - lastKidFetch < cooldownMs) return null
    lastKidFetch = clock.now()
    kidFetch = attempt().finally(() => {
      kidFetch = null
    })
    return kidFetch
  }

  function unavailable(): Denial | null {
    if (set === null) return new Denial('issuer_unavailable', `no keys of ${name} so far`)
    if (failingSince !== null && clock.now() - failingSince >= staleForMs)
      return new Denial('issuer_unavailable', `the keys of ${name} could not be refreshed for too long`)
    return null
  }

  function presentKeys(hint: KeyHint): Verdict<readonly VerificationKey[]> {
    const found = unavailable() ?? selectKeys(set as KeySet, hint)
    // While the issuer cannot be asked, nobody can say that a key is not its own: an outage is never the client's fault.
    const cannotAsk = failingSince !== null || closing.signal.aborted
    if (!(found instanceof Denial) && found.length === 0 && cannotAsk)
      return new Denial('issuer_unavailable', `the key is not known, and ${name} cannot be asked`)
    return found
  }

  return {
    start: refreshOnce,
    keysFor(hint) {
      const refusal = unavailable()
      if (refusal !== null) return refusal
      const found = selectKeys(set as KeySet, hint)
      if (found.length > 0) return found
      const fetching = fetchForUnknownKid()
      return fetching === null ? presentKeys(hint) : fetching.then(() => presentKeys(hint))
    },
    unavailable,
    isReady: () => ready,
    onChange(listener) {
      listeners.push(listener)
    },
    handover: () => (set === null ? null : { origin, set, failingSince }),
    close() {
      closing.abort()
      callOff()
      listeners.length = 0
    },
  }
}

async function fetchKeySet(
  issuer: string,
  settings: Exclude<KeySettings, { from: 'file' }>,
  get: GetJson,
  signal: AbortSignal,
): Promise<KeySet | OutboundFailure> {
  const url = settings.from === 'url' ? settings.url : await discoverKeysUrl(issuer, get, signal)
  if (url instanceof OutboundFailure) return url
  const document = await get(url, signal)
  if (document instanceof OutboundFailure) return document
  return readKeySet(document) ?? new OutboundFailure('the answer is no JWK set')
}

/** The set, or why the text is none. */
function readKeySetText(text: string): KeySet | string {
  const document = readJsonObject(Buffer.from(text))
  if (document instanceof JsonProblem) return document.detail
  return readKeySet(document) ?? 'no JWK set: keys is not a list'
}
