import type { Limits } from '../config/settings.js'
import { Denial } from '../decision/denials.js'
import type { Upstream } from '../policy/upstream.js'
import { createEngine } from '../upstream/engine.js'
import type { Forward, ForwardingEngine } from '../upstream/forwarding.js'

/** The engine of one upstream, and the settings that it was made from. */
interface UpstreamEngine {
  readonly settings: string
  readonly engine: ForwardingEngine
}

/** The engines of a gate, one for each upstream: a reload that changes one leaves the tunnels of the others alone. */
export type EnginesByUpstream = ReadonlyMap<string, UpstreamEngine>

/**
 * Makes the engines of all upstreams; one whose settings have not changed keeps its engine, with its connections. A
 * client that takes nothing of its answer for the idle timeout has left, whatever TCP says.
 */
export function upstreamEngines(
  upstreams: ReadonlyMap<string, Upstream>,
  limits: Pick<Limits, 'bodyBytes' | 'idleTimeoutMs'>,
  via: string,
  before: EnginesByUpstream,
): EnginesByUpstream {
  const engines = new Map<string, UpstreamEngine>()
  for (const [name, upstream] of upstreams) {
    const { bodyBytes, idleTimeoutMs } = limits
    const settings = JSON.stringify([upstream, bodyBytes, idleTimeoutMs])
    const old = before.get(name)
    const options = { upstreams: [upstream], via, bodyBytes, clientStallMs: idleTimeoutMs }
    engines.set(name, old?.settings === settings ? old : { settings, engine: createEngine(options) })
  }
  return engines
}

/** Forwards to the upstream of the route. */
export function forwardTo(engines: EnginesByUpstream): Forward {
  return async (grant, exchange) => {
    const { upstream } = grant.match.route
    const engine = engines.get(upstream ?? '')?.engine
    // The policy is validated against the upstreams; a name that is missing here is a fault.
    return engine?.forward(grant, exchange) ?? new Denial('internal_error', `no upstream ${upstream}`)
  }
}

/** Ends the engines that the present ones have replaced. */
export function closeReplacedEngines(engines: EnginesByUpstream, before: EnginesByUpstream): void {
  for (const [name, old] of before) if (engines.get(name) !== old) old.engine.close()
}
