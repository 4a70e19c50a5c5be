import type { Configuration } from '../../config/settings.js'

/**
 * What the policy limits for the sidecar, divided among its workers and rounded up. Each enforces its part by itself, so one
 * may refuse while another still has room.
 */
export function shareOf(configuration: Configuration, workers: number): Configuration {
  const part = (count: number) => Math.ceil(count / workers)
  const { settings } = configuration
  const whole = settings.server.limits
  const { connectionsPerAddress } = whole
  const limits = {
    ...whole,
    connections: part(whole.connections),
    requests: part(whole.requests),
    handshakes: part(whole.handshakes),
    connectionsPerAddress: connectionsPerAddress === null ? null : part(connectionsPerAddress),
  }
  const upstreams = new Map(
    [...settings.upstreams].map(([name, upstream]) => [
      name,
      { ...upstream, connections: part(upstream.connections) },
    ]),
  )
  return { ...configuration, settings: { ...settings, server: { ...settings.server, limits }, upstreams } }
}
