/** What is sent, and to whom. */
import type { LoadArguments } from './load.js'

/** Tokens in turn that a scenario with a warm cache uses; those behind them in the file are for the cold one. */
export const MANY_TOKENS = 10_000

export interface Scenario {
  readonly name: string
  readonly title: string
  readonly load: LoadArguments
  /** Tokens in use: one, many in turn, or each once and never again. */
  readonly tokens: 'one' | 'many' | 'new'
  /** Of large bodies; null: every answer counts as one. */
  readonly bodyBytes: number | null
  /** Names of targets; null: all. */
  readonly targets: readonly string[] | null
}

const KEEP_ALIVE = { connections: 64, path: '/api/small' }
const MIB = 1024 * 1024
/** Apache is an anchor for small requests; for bodies and handshakes it would only take time. */
const WITHOUT_APACHE = ['postern', 'nginx', 'haproxy', 'haproxy-cache', 'http-proxy']
/** The prototype has no HTTP/2. */
const HTTP2 = ['postern', 'nginx', 'haproxy', 'haproxy-cache']
const STREAMING = ['postern', 'nginx', 'haproxy', 'http-proxy']

function scenario(
  name: string,
  title: string,
  load: LoadArguments,
  rest: Partial<Pick<Scenario, 'tokens' | 'bodyBytes' | 'targets'>> = {},
): Scenario {
  return { name, title, load, tokens: 'one', bodyBytes: null, targets: null, ...rest }
}

export const SCENARIOS: readonly Scenario[] = [
  scenario('one', 'GET 1 KiB, one token', KEEP_ALIVE),
  scenario('many', 'GET 1 KiB, 10,000 known tokens in turn', KEEP_ALIVE, { tokens: 'many' }),
  scenario('cold', 'GET 1 KiB, every token new', KEEP_ALIVE, { tokens: 'new' }),
  scenario(
    'post',
    'POST 1 KiB',
    { connections: 64, path: '/api/up', method: 'POST', upload: 1024 },
    { targets: WITHOUT_APACHE },
  ),
  scenario(
    'h2',
    'GET 1 KiB over HTTP/2, one stream after the other, 10,000 known tokens in turn',
    { ...KEEP_ALIVE, http2: true },
    { tokens: 'many', targets: HTTP2 },
  ),
  scenario('64k', 'GET 64 KiB', { connections: 16, path: '/api/64k' }, { targets: WITHOUT_APACHE }),
  scenario('1m', 'GET 1 MiB', { connections: 8, path: '/api/1m' }, { bodyBytes: MIB, targets: STREAMING }),
  scenario(
    '1m-up',
    'POST 1 MiB',
    { connections: 8, path: '/api/up', method: 'POST', upload: MIB },
    { bodyBytes: MIB, targets: STREAMING },
  ),
  scenario(
    '100m',
    'GET 100 MiB',
    { connections: 2, path: '/api/100m' },
    { bodyBytes: 100 * MIB, targets: STREAMING },
  ),
  scenario(
    '100m-up',
    'POST 100 MiB',
    { connections: 2, path: '/api/up', method: 'POST', upload: 100 * MIB },
    { bodyBytes: 100 * MIB, targets: STREAMING },
  ),
  scenario(
    'hs',
    'a new connection for each request, full TLS 1.3 handshake',
    { connections: 16, path: '/api/small', 'new-connections': true },
    { targets: WITHOUT_APACHE },
  ),
  scenario(
    'hs12',
    'the same with TLS 1.2',
    { connections: 16, path: '/api/small', 'new-connections': true, tls12: true },
    { targets: WITHOUT_APACHE },
  ),
]

/** Run after these, since they need their results or processes of their own. */
export const OTHER_SCENARIOS = ['rate', 'connections', 'routes', 'tokens', 'workers'] as const
export const QUICK_SCENARIOS = ['one', 'many', 'cold', 'hs']
