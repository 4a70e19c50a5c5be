import { isIP } from 'node:net'
import type { Upstream } from '../policy/upstream.js'
import type { Draft } from './draft.js'
import { Unreadable } from './named-files.js'
import { readCertificates } from './pem.js'
import type { Path } from './source-tree.js'

/** The upstreams that are valid in themselves. */
export async function compileUpstreams(draft: Draft): Promise<ReadonlyMap<string, Upstream>> {
  const compiled = new Map<string, Upstream>()
  for (const [name, parts] of draft.parts.upstreams ?? []) {
    const path = ['upstreams', name]
    const { url, timeouts, connections, authorization, clientCert, engine, tls } = parts ?? {}
    const ca = tls?.ca === undefined ? null : await readBundle(draft, tls.ca, [...path, 'tls', 'ca'])
    if (url === undefined) continue
    const { protocol, hostname, origin } = new URL(url)
    if (protocol === 'http:') {
      if (draft.stands([...path, 'tls']))
        draft.problemAtKey(
          [...path, 'tls'],
          '"tls" has no effect on an http upstream',
          'write https in url, or take tls out',
        )
      if (!isLoopback(hostname))
        draft.warning(
          [...path, 'url'],
          'requests and tokens go to this upstream without encryption',
          'use https, or an address of this machine',
        )
    }
    const { connect, response } = timeouts ?? {}
    if (connect === undefined || response === undefined) continue
    if (connections === undefined || authorization === undefined || clientCert === undefined) continue
    if (engine === undefined) continue
    const times = { connectTimeoutMs: connect, responseTimeoutMs: response }
    compiled.set(name, { name, url: origin, ca, ...times, connections, authorization, clientCert, engine })
  }
  return compiled
}

/** Authorities for a connection that Postern opens, as one PEM text; null when the file is wrong, and then it is reported. */
export async function readBundle(draft: Draft, name: string, path: Path): Promise<string | null> {
  const file = await draft.files.read(name)
  if (file instanceof Unreadable) {
    draft.problem(path, `${name} ${file.reason}`, file.hint)
    return null
  }
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
