import { Denial, type Verdict } from '../decision/denials.js'
import { identityOf } from '../policy/identity.js'
import {
  type KeyHint,
  type KeySet,
  readKeySet,
  readKeySetText,
  selectKeys,
  type VerificationKey,
} from '../policy/key-set.js'
import type { KeySettings } from '../policy/key-settings.js'
import { type Clock, systemClock } from './clock.js'
import { discoverKeysUrl } from './discovery.js'
import { createOutbound, type GetJson, OutboundFailure } from './outbound.js'
import type { SourceMeter } from './token-source.js'

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
  /** The keys of the source that this one replaces; asked at `start`, for until then that one goes on, and its keys change. */
  readonly previous?: (() => KeyHandover | null) | null
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
  const problem = typeof set === 'string' ? `the key file ${set}` : null
  const unavailable = () => (problem === null ? null : new Denial('issuer_unavailable', problem))
  return {
    start: async () => {},
    keysFor: hint => unavailable() ?? selectKeys(set as KeySet, hint),
    unavailable,
    isReady: () => problem === null,
    onChange: () => {},
    handover: () => null,
    close: () => {},
  }
}

/** Waits after the first failure, the second and so on; the last for all that follow. */
const BACKOFF_MS = [1000, 2000, 4000, 8000, 16_000, 30_000]

function remoteKeys(options: KeySourceOptions, settings: Exclude<KeySettings, { from: 'file' }>): KeySource {
  const { name, issuer, meter, clock = systemClock } = options
  const { refreshMs, cooldownMs, staleForMs, ca } = settings
  const get = options.get ?? createOutbound({ ca })
  const origin = identityOf(issuer, settings)
  const closing = new AbortController()
  const listeners: (() => void)[] = []

  let { previous = null } = options
  let set: KeySet | null = null
  let failingSince: number | null = null
  let failures = 0
  /** Questions are numbered as they are asked; `adopted` is the number of the one that brought the keys in use. */
  let asked = 0
  let adopted = 0
  let refresh: Promise<void> | null = null
  let kidFetch: Promise<void> | null = null
  let lastKidFetch = Number.NEGATIVE_INFINITY
  let callOff = () => {}

  async function attempt(): Promise<void> {
    let number = ++asked
    const url = settings.from === 'url' ? settings.url : await discoverKeysUrl(issuer, get, closing.signal)
    // Keys are as old as the question for them, and not as that for the metadata, whose answer may take long.
    if (typeof url === 'string') number = ++asked
    const answer = typeof url === 'string' ? await fetchKeySet(url, get, closing.signal) : url
    if (closing.signal.aborted) return
    // Unless a later question has been answered already: what this one says is older then.
    if (number >= adopted) take(number, answer)
    // In any case: a timer that became due while this was under way may have found it, and begun nothing.
    schedule()
  }

  function take(number: number, answer: KeySet | OutboundFailure): void {
    if (answer instanceof OutboundFailure) {
      failingSince ??= clock.now()
      failures += 1
      meter.keysRefresh(name, 'failure', answer.detail)
    } else {
      adopted = number
      failingSince = null
      failures = 0
      adopt(answer)
    }
  }

  function adopt(next: KeySet): void {
    const changed = set !== null && set.fingerprint !== next.fingerprint
    set = next
    meter.keysRefresh(name, 'success', [`${next.keys.length} keys`, ...next.ignored].join('; '))
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

  function inherit(): void {
    const inherited = previous?.() ?? null
    // Or every source since the start of the process would keep the one before it in memory.
    previous = null
    if (inherited?.origin === origin) ({ set, failingSince } = inherited)
  }

  return {
    start() {
      inherit()
      return refreshOnce()
    },
    keysFor(hint) {
      const refusal = unavailable()
      if (refusal !== null) return refusal
      const found = selectKeys(set as KeySet, hint)
      if (found.length > 0) return found
      const fetching = fetchForUnknownKid()
      return fetching === null ? presentKeys(hint) : fetching.then(() => presentKeys(hint))
    },
    unavailable,
    isReady: () => set !== null,
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
  url: string,
  get: GetJson,
  signal: AbortSignal,
): Promise<KeySet | OutboundFailure> {
  const document = await get(url, signal)
  if (document instanceof OutboundFailure) return document
  const set = readKeySet(document)
  if (set === null) return new OutboundFailure('the answer is no JWK set')
  // No issuer signs with no key: such a set is a fault of its own, and no reason to call good tokens forged.
  if (set.keys.length === 0) return new OutboundFailure(['no usable key', ...set.ignored].join('; '))
  return set
}
