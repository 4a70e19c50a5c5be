/**
 * What the values of several processes become: their sum, the least or greatest one, or that of the first. Counters and
 * histograms are summed; a gauge says what it does.
 */
export type Across = 'sum' | 'min' | 'max' | 'first'

/** One entry of `METRICS`. */
export interface MetricSpec {
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
  readonly across?: Across
}

/** The public promise of /metrics: every name with its labels and unit. docs/metrics.md is generated from it. */
export const METRICS = {
  requests: {
    name: 'postern_requests_total',
    help: 'Requests answered, by route, method, status and outcome (allowed, denied, failed).',
    labels: ['route', 'method', 'status', 'outcome'],
  },
  denials: {
    name: 'postern_denials_total',
    help: 'Refusals by route and code of the catalogue.',
    labels: ['route', 'code'],
  },
  requestDuration: {
    name: 'postern_request_duration_seconds',
    help: 'From the head of the request to the end of the answer.',
    labels: ['route'],
  },
  decisionDuration: {
    name: 'postern_decision_duration_seconds',
    help: 'From the head of the request to the decision.',
    labels: [],
  },
  upstreamDuration: {
    name: 'postern_upstream_duration_seconds',
    help: 'From forwarding to the head of the upstream answer.',
    labels: ['upstream'],
  },
  upstreamRetries: {
    name: 'postern_upstream_retries_total',
    help: 'Attempts after the first of one request, at another address or the same (answered, failed, abandoned), and those that retry.budget left no room for (over_budget).',
    labels: ['upstream', 'result'],
  },
  upstreamHealthy: {
    name: 'postern_upstream_healthy',
    help: '1 for an address that gets requests, 0 for one that is ejected or fails its checks. Failed requests alone never eject the last.',
    labels: ['upstream', 'address'],
    across: 'min',
  },
  upstreamEjections: {
    name: 'postern_upstream_ejections_total',
    help: 'How often an address was taken out, by failures in a row or by checks.',
    labels: ['upstream', 'address'],
  },
  inFlight: {
    name: 'postern_requests_in_flight',
    help: 'Requests being handled now.',
    labels: [],
    across: 'sum',
  },
  connections: {
    name: 'postern_connections',
    help: 'Client connections that are open now.',
    labels: [],
    across: 'sum',
  },
  connectionsDropped: {
    name: 'postern_connections_dropped_total',
    help: 'Client connections that were ended by a limit of server.limits (connections, handshakes, connectionsPerAddress), or for resets, pings and other frames without end (http2).',
    labels: ['limit'],
  },
  tokenCache: {
    name: 'postern_token_cache_total',
    help: 'Look-ups of verified tokens (hit, miss).',
    labels: ['result'],
  },
  keysRefresh: {
    name: 'postern_keys_refresh_total',
    help: 'Fetches of the keys of an issuer (success, failure).',
    labels: ['issuer', 'result'],
  },
  keysLastSuccess: {
    name: 'postern_keys_last_success_timestamp_seconds',
    help: 'When the keys of an issuer were last fetched.',
    labels: ['issuer'],
    across: 'min',
  },
  introspection: {
    name: 'postern_introspection_total',
    help: 'Introspections by issuer and result (active, inactive, unauthorized, unavailable, malformed, circuit_open, overloaded).',
    labels: ['issuer', 'result'],
  },
  introspectionDuration: {
    name: 'postern_introspection_duration_seconds',
    help: 'From the question to the answer of the introspection endpoint.',
    labels: ['issuer'],
  },
  reload: {
    name: 'postern_reload_total',
    help: 'Reloads of the policy after the start (success, failure).',
    labels: ['result'],
  },
  reloadLastSuccess: {
    name: 'postern_reload_last_success_timestamp_seconds',
    help: 'When a policy was last taken into use.',
    labels: [],
    across: 'max',
  },
  policyInfo: {
    name: 'postern_policy_info',
    help: '1 for the policy in use, by its hash.',
    labels: ['hash'],
    across: 'max',
  },
  certificateExpiry: {
    name: 'postern_certificate_expiry_timestamp_seconds',
    help: 'notAfter of each server certificate.',
    labels: ['name'],
    across: 'min',
  },
  crlNextUpdate: {
    name: 'postern_crl_next_update_timestamp_seconds',
    help: 'nextUpdate of each certificate revocation list.',
    labels: ['name'],
    across: 'min',
  },
  workers: {
    name: 'postern_workers',
    help: 'Processes that serve requests now.',
    labels: [],
    across: 'sum',
  },
  workersSilent: {
    name: 'postern_workers_silent',
    help: 'Workers that did not answer this scrape; their part of it is from the one before.',
    labels: [],
    across: 'sum',
  },
  workerRestarts: {
    name: 'postern_worker_restarts_total',
    help: 'Workers that ended unasked; each is replaced.',
    labels: [],
  },
  buildInfo: {
    name: 'postern_build_info',
    help: '1, by version of Postern and of Node.',
    labels: ['version', 'node'],
    across: 'first',
  },
} as const satisfies Record<string, MetricSpec>

/**
 * The same for the metrics of `prom-client` that are not sums. Lags: the worst process is the one whose clients wait. Open
 * files: the process that is nearest to its limit. Start: the one that was there first, and started the others.
 */
export const DEFAULTS_ACROSS: Readonly<Record<string, Across>> = {
  process_start_time_seconds: 'first',
  process_open_fds: 'max',
  process_max_fds: 'min',
  nodejs_eventloop_lag_seconds: 'max',
  nodejs_eventloop_lag_min_seconds: 'min',
  nodejs_eventloop_lag_max_seconds: 'max',
  nodejs_eventloop_lag_mean_seconds: 'max',
  nodejs_eventloop_lag_stddev_seconds: 'max',
  nodejs_eventloop_lag_p50_seconds: 'max',
  nodejs_eventloop_lag_p90_seconds: 'max',
  nodejs_eventloop_lag_p99_seconds: 'max',
  nodejs_version_info: 'first',
}
