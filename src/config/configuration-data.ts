import { RouteIndex } from '../policy/route-index.js'
import type { Configuration } from './settings.js'

/** A configuration that can go to another thread or process: the index of routes is made anew there. */
export type ConfigurationData = Omit<Configuration, 'routes'> & {
  readonly routes: Pick<RouteIndex, 'routes' | 'ownRoutes'>
}

export function dataOf(configuration: Configuration): ConfigurationData {
  const { routes, ownRoutes } = configuration.routes
  return { ...configuration, routes: { routes, ownRoutes } }
}

/** The configuration that `dataOf` took apart; its settings are frozen again, which a copy has lost. */
export function configurationOf(data: ConfigurationData): Configuration {
  const { routes, ownRoutes } = data.routes
  const index = RouteIndex.build(routes, ownRoutes)
  if (!(index instanceof RouteIndex)) throw new Error('routes that were no conflict have become one')
  return deepFreeze({ ...data, routes: index })
}

/** Objects, lists and the values of maps; what has behaviour of its own is left alone. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || value instanceof RouteIndex) return value
  if (value instanceof Map) {
    for (const entry of value.values()) deepFreeze(entry)
    return value
  }
  const prototype = Object.getPrototypeOf(value)
  if (!Array.isArray(value) && prototype !== Object.prototype) return value
  if (Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const member of Object.values(value)) deepFreeze(member)
  return value
}
