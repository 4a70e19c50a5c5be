import type { Address, Configuration, ListenerSettings } from '../config/settings.js'
import type { House } from '../gate/gate.js'
import type { PolicyParts } from '../observe/metrics.js'
import type { Condition } from './admin.js'
import { partsOf } from './announce.js'
import { compose, type Lasting, takeOver } from './compose.js'
import { createListener } from './listener.js'
import { finish } from './shutdown.js'
import { closeUpstreams, upstreamAddresses, upstreamConditions } from './upstreams.js'

/** What one process does for clients: the public port and the gate in use. */
export interface Service {
  /** Opens the port; rejects when it cannot be had. */
  readonly listen: (at: Address) => Promise<void>
  /** Begins what goes on in the background, such as the fetching of keys. */
  readonly start: () => void
  /** Where it listens. */
  readonly address: () => Address
  readonly configuration: () => Configuration
  /** What the metrics say of the gate in use. */
  readonly parts: () => PolicyParts
  /**
   * Makes a gate of another configuration; the one in use serves on until the function that is returned swaps them. Throws,
   * with everything as it was, when OpenSSL refuses what the configuration asks for.
   */
  readonly prepare: (configuration: Configuration) => () => void
  /** Whether it can serve what the policy has. */
  readonly conditions: () => readonly Condition[]
  readonly connections: () => number
  /** Answers that have not begun say from now on that they are the last of their connection. */
  readonly announceEnd: () => void
  /** Accepts nothing more, and resolves when what is in flight has ended or the deadline has passed. */
  readonly finish: () => Promise<void>
  /** Ends everything at once, also when it never listened. */
  readonly destroy: () => void
}

/** @param fixed settings of the start that cannot change while the port is open */
export function createService(
  first: Configuration,
  fixed: ListenerSettings,
  house: House,
  lasting: Lasting,
): Service {
  let running = compose(first, null, house, lasting)
  const listener = createListener(() => running, house, fixed)

  function closeSources(): void {
    for (const { tokens } of running.sources.values()) tokens.close()
  }

  return {
    listen: ({ host, port }) => listener.listen(host, port),
    start: () => takeOver(running, null),
    address: () => {
      const { address, port } = listener.address()
      return { host: address, port }
    },
    configuration: () => running.configuration,
    parts: () => partsOf(running.configuration, upstreamAddresses(running.upstreams)),
    prepare: configuration => {
      const next = compose(configuration, running, house, lasting)
      return () => {
        const before = running
        running = next
        takeOver(running, before)
        listener.trustChanged()
      }
    },
    conditions: () => [
      ...[...running.sources].map(([name, { tokens }]) => ({
        name: `keys ${name}`,
        ok: tokens.isReady(),
        detail: 'the keys of the issuer were never had',
      })),
      ...upstreamConditions(running.upstreams),
    ],
    connections: () => listener.connections(),
    announceEnd: () => listener.announceEnd(),
    finish: async () => {
      await finish(listener, house.log, () => closeUpstreams(running.upstreams))
      closeSources()
    },
    destroy: () => {
      listener.destroy()
      listener.stopAccepting()
      closeSources()
    },
  }
}
