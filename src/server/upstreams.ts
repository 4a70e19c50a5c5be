import type { Grant } from '../checks/authorise.js'
import type { Limits } from '../config/settings.js'
import { Denial } from '../decision/denials.js'
import type { AddressState } from '../observe/metrics.js'
import { identityOf } from '../policy/identity.js'
import type { Upstream, UpstreamPolicy } from '../policy/upstream.js'
import { AddressHealth } from '../upstream/address-health.js'
import { BalancedUpstream, type UpstreamAddress, type UpstreamMeter } from '../upstream/balanced-upstream.js'
import { createEngine } from '../upstream/engine.js'
import type { Forward } from '../upstream/forwarding.js'
import { HealthCheck } from '../upstream/health-check.js'
import type { Condition } from './admin.js'

/** One upstream of a gate, and the settings that it was made from. */
interface RunningUpstream {
  readonly policy: UpstreamPolicy
  readonly addresses: readonly RunningAddress[]
  readonly balanced: BalancedUpstream
}

interface RunningAddress extends UpstreamAddress {
  readonly settings: Upstream
  /** null: the policy has no `health`. */
  readonly check: HealthCheck | null
}

/** The upstreams of a gate, by name. */
export type RunningUpstreams = ReadonlyMap<string, RunningUpstream>

/**
 * Puts all upstreams together. What has not changed is taken over from `before`: an upstream as a whole, else each of its
 * addresses with its connections and tunnels, and what is known of its health while the checks are the same.
 */
export function runUpstreams(
  policies: ReadonlyMap<string, UpstreamPolicy>,
  via: string,
  meter: UpstreamMeter,
  before: RunningUpstreams,
): RunningUpstreams {
  const running = new Map<string, RunningUpstream>()
  for (const [name, policy] of policies) {
    const old = before.get(name)
    const isSame = old !== undefined && same(old.policy, policy)
    running.set(name, isSame ? old : runUpstream(policy, via, meter, old))
  }
  return running
}

function runUpstream(
  policy: UpstreamPolicy,
  via: string,
  meter: UpstreamMeter,
  old: RunningUpstream | undefined,
): RunningUpstream {
  const { urls, retry: _, health: rule, ...common } = policy
  const sameChecks = old !== undefined && same(old.policy.health, rule)
  const addresses = urls.map((url): RunningAddress => {
    const settings = { ...common, url }
    const known = old?.addresses.find(address => same(address.settings, settings))
    if (known !== undefined && sameChecks) return known
    const health = new AddressHealth()
    const check = rule === null ? null : healthCheck(settings, rule, health, meter)
    const engine = known?.engine ?? createEngine(settings, via)
    return { url, settings, engine, health, check, inFlight: 0, isReplaced: false }
  })
  return { policy, addresses, balanced: new BalancedUpstream(policy, addresses, meter) }
}

function healthCheck(
  upstream: Upstream,
  rule: NonNullable<UpstreamPolicy['health']>,
  health: AddressHealth,
  meter: UpstreamMeter,
): HealthCheck {
  return new HealthCheck({
    upstream,
    rule,
    isOut: () => !health.isHealthy,
    onChecked: problem => {
      const change = health.checked(problem === null, rule, performance.now())
      if (change !== null)
        meter.healthChanged(upstream.name, upstream.url, change, problem ?? 'the health check succeeds')
    },
  })
}

/** Forwards to the upstream of the route. A client that takes nothing of its answer for the idle timeout has left, whatever TCP says. */
export function forwardTo(
  upstreams: RunningUpstreams,
  { bodyBytes, idleTimeoutMs }: Pick<Limits, 'bodyBytes' | 'idleTimeoutMs'>,
): Forward {
  const limits = { bodyBytes, clientStallMs: idleTimeoutMs }
  return (grant, exchange) => {
    const { upstream } = grant.match.route
    const running = upstreams.get(upstream ?? '')
    // The policy is validated against the upstreams; a name that is missing here is a fault.
    if (running === undefined) return Promise.resolve(new Denial('internal_error', `no upstream ${upstream}`))
    return running.balanced.forward(grant, exchange, limits)
  }
}

/** Starts the checks of new addresses, ends what is replaced, and the tunnels that the policy in use does not permit. */
export function takeOverUpstreams(
  running: RunningUpstreams,
  before: RunningUpstreams,
  permitsTunnel: (grant: Grant) => boolean,
): void {
  const addresses = addressesOf(running)
  const addressesBefore = addressesOf(before)
  const engines = new Set(addresses.map(({ engine }) => engine))
  for (const { engine } of addressesBefore) if (!engines.has(engine)) engine.close()
  for (const address of without(addressesBefore, addresses)) {
    address.check?.stop()
    address.isReplaced = true
  }
  for (const { check } of without(addresses, addressesBefore)) check?.start()
  for (const engine of engines) engine.permitTunnels(permitsTunnel)
}

/** Ends idle connections, tunnels and checks. */
export function closeUpstreams(running: RunningUpstreams): void {
  for (const { engine, check } of addressesOf(running)) {
    engine.close()
    check?.stop()
  }
}

/**
 * A line for each upstream. None of them makes the instance unready: the others see the same upstream, and an instance
 * that says 503 is more use than none (decision 18).
 */
export function upstreamConditions(running: RunningUpstreams): readonly Condition[] {
  return [...running].map(([name, { addresses }]) => {
    const healthy = addresses.filter(({ health }) => health.isHealthy).length
    return {
      name: `upstream ${name}`,
      ok: healthy > 0,
      detail: `${healthy} of ${addresses.length} addresses healthy`,
      forInformation: true,
    }
  })
}

/** What each address is like at present, for metrics. */
export function upstreamAddresses(running: RunningUpstreams): readonly AddressState[] {
  return [...running].flatMap(([upstream, { addresses }]) =>
    addresses.map(({ url, health }) => ({ upstream, address: url, isHealthy: health.isHealthy })),
  )
}

function addressesOf(upstreams: RunningUpstreams): readonly RunningAddress[] {
  return [...upstreams.values()].flatMap(({ addresses }) => addresses)
}

function without<T>(all: readonly T[], those: readonly T[]): readonly T[] {
  const excluded = new Set(those)
  return all.filter(one => !excluded.has(one))
}

/** Both come from the same compiler, which writes the members in the same order. */
function same(one: object | null, other: object | null): boolean {
  return identityOf(one) === identityOf(other)
}
