import { isIP } from 'node:net'
import type { HealthRule, RetryRule, UpstreamPolicy } from '../policy/upstream.js'
import type { Draft } from './draft.js'
import { readCertificates } from './pem.js'
import type { Path } from './source-tree.js'

/** Beyond it there is a load balancer, and that is one address. */
const MOST_ADDRESSES = 16

/** The upstreams that are valid in themselves. */
export async function compileUpstreams(draft: Draft): Promise<ReadonlyMap<string, UpstreamPolicy>> {
  const compiled = new Map<string, UpstreamPolicy>()
  for (const [name, parts] of draft.parts.upstreams ?? []) {
    const path = ['upstreams', name]
    const { url, timeouts, connections, authorization, clientCert, engine, tls } = parts ?? {}
    const ca = tls?.ca === undefined ? null : await readBundle(draft, tls.ca, [...path, 'tls', 'ca'])
    if (url === undefined) continue
    const urls = checkAddresses(draft, path, url)
    const { connect, response } = timeouts ?? {}
    if (connect === undefined || response === undefined) continue
    if (connections === undefined || authorization === undefined || clientCert === undefined) continue
    if (engine === undefined) continue
    const times = { connectTimeoutMs: connect, responseTimeoutMs: response }
    const rules = { retry: retryRule(parts?.retry), health: healthRule(parts?.health) }
    compiled.set(name, {
      ...{ name, urls, ca, connections, authorization, clientCert, engine },
      ...times,
      ...rules,
    })
  }
  return compiled
}

/** Reports what is wrong with the addresses of one upstream, and returns them as origins. */
function checkAddresses(draft: Draft, path: Path, urls: readonly string[]): readonly string[] {
  const origins = urls.map(url => new URL(url))
  const isHttp = origins[0]?.protocol === 'http:'
  if (isHttp && draft.stands([...path, 'tls']))
    draft.problemAtKey(
      [...path, 'tls'],
      '"tls" has no effect on an http upstream',
      'write https in url, or take tls out',
    )
  if (origins.length > MOST_ADDRESSES)
    draft.problem(
      [...path, 'url'],
      `has ${origins.length} addresses, more than ${MOST_ADDRESSES}`,
      'name a load balancer',
    )
  const seen = new Set<string>()
  for (const [index, { origin, protocol, hostname }] of origins.entries()) {
    const at = origins.length === 1 ? [...path, 'url'] : [...path, 'url', index]
    if (seen.has(origin)) draft.problem(at, 'is the same address as one before it', 'name each address once')
    seen.add(origin)
    if (protocol !== origins[0]?.protocol)
      draft.problem(
        at,
        'has another scheme than the first address',
        'all addresses of an upstream are http, or all are https',
      )
    if (protocol === 'http:' && !isLoopback(hostname))
      draft.warning(
        at,
        'requests and tokens go to this upstream without encryption',
        'use https, or an address of this machine',
      )
  }
  return [...seen]
}

type UpstreamParts = NonNullable<
  NonNullable<Draft['parts']['upstreams']> extends ReadonlyMap<string, infer V> ? V : never
>

/** What of it is wrong is reported already, and then nothing of the policy is used. */
function retryRule(parts: UpstreamParts['retry']): RetryRule | null {
  const { attempts, budget } = parts ?? {}
  return attempts === undefined || budget === undefined ? null : { attempts, budgetPercent: budget }
}

function healthRule(parts: UpstreamParts['health']): HealthRule | null {
  const { path, interval, timeout, healthyAfter, unhealthyAfter } = parts ?? {}
  if (path === undefined || interval === undefined || timeout === undefined) return null
  if (healthyAfter === undefined || unhealthyAfter === undefined) return null
  return { path, intervalMs: interval, timeoutMs: timeout, healthyAfter, unhealthyAfter }
}

/** Authorities for a connection that Postern opens, as one PEM text; null when the file is wrong, and then it is reported. */
export async function readBundle(draft: Draft, name: string, path: Path): Promise<string | null> {
  const file = await draft.readFile(name, path)
  if (file === null) return null
  const found = readCertificates(file)
  if (typeof found !== 'string') return found.map(one => one.pem).join('')
  draft.problem(path, `${name} ${found}`, 'the file is PEM: certificates of authorities')
  return null
}

/** Host names as WHATWG URL writes them. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'))
  )
}
