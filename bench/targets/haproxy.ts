import { AUDIENCE, ISSUER } from '../material.js'
import { versionOf } from '../processes.js'
import { type Place, type Target, write } from './target.js'

const HOW_TO_GET = 'apt-get install haproxy (2.6 or newer)'

/** The same policy, judged on every request: signature, issuer, audience, times, binding, scopes, path. */
export const haproxy: Target = haproxyTarget('haproxy', 'HAProxy, same policy', false)

/** The same, but for the signature of a token that was verified before: a stick table knows its SHA-256. */
export const haproxyCache: Target = haproxyTarget('haproxy-cache', 'HAProxy, hand-made token cache', true)

function haproxyTarget(name: string, title: string, cache: boolean): Target {
  return {
    name,
    title,
    judgesTokens: true,
    version: () => versionOf('haproxy', '-v'),
    howToGet: HOW_TO_GET,
    prepare: place => ({
      command: 'haproxy',
      args: ['-db', '-f', write(place, 'haproxy.cfg', configuration(place, cache))],
    }),
  }
}

function configuration({ port, upstreamPort, material }: Place, cache: boolean): string {
  const verifies = `{ var(txn.token),jwt_verify(txn.alg,"${material.publicKeyPem}") 1 }`
  const signature = cache
    ? `http-request set-var(txn.hash) var(txn.token),sha2(256)
  http-request track-sc0 var(txn.hash) table seen
  acl seen sc_get_gpt0(0) eq 1
  http-request deny deny_status 401 if !seen !${verifies}
  http-request sc-set-gpt0(0) 1`
    : `http-request deny deny_status 401 unless ${verifies}`
  return `global
  # Enough for the connections that are opened here; HAProxy would want two files for each and refuse to start.
  no strict-limits
  maxconn 11000
  nbthread 1
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend clients
  bind 127.0.0.1:${port} ssl crt ${material.serverBoth} ca-file ${material.ca} verify required alpn h2,http/1.1 backlog 4096
  acl reads method GET HEAD
  http-request deny deny_status 401 if { req.hdr_cnt(authorization) gt 1 }
  http-request set-var(txn.token) http_auth_bearer
  http-request deny deny_status 401 unless { var(txn.token) -m found }
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless { var(txn.alg) -m str ${material.algorithm} }
  ${signature}
  http-request set-var(txn.iss) var(txn.token),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.token),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.nbf) var(txn.token),jwt_payload_query('$.nbf','int')
  http-request set-var(txn.scope) var(txn.token),jwt_payload_query('$.scope')
  http-request set-var(txn.cnf) var(txn.token),jwt_payload_query('$.cnf.x5t#S256')
  http-request set-var(txn.thumbprint) ssl_c_der,sha2(256),ub64enc
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless { var(txn.iss) -m str ${ISSUER} }
  http-request deny deny_status 401 unless { var(txn.aud) -m str ${AUDIENCE} }
  http-request deny deny_status 401 unless { var(txn.exp) -m found } { var(txn.exp),sub(txn.now) gt 0 }
  http-request deny deny_status 401 if { var(txn.nbf) -m found } { var(txn.nbf),sub(txn.now) gt 0 }
  http-request deny deny_status 401 unless { var(txn.cnf) -m found } { var(txn.cnf),strcmp(txn.thumbprint) eq 0 }
  http-request deny deny_status 403 unless { path_beg /api/ }
  http-request deny deny_status 403 if { path_reg %|//|/\\.\\.?(/|$) }
  http-request deny deny_status 403 if reads !{ var(txn.scope) -m reg (^|\\ )api\\.read(\\ |$) }
  http-request deny deny_status 403 if !reads !{ var(txn.scope) -m reg (^|\\ )api\\.write(\\ |$) }
  default_backend provider
backend provider
  server provider 127.0.0.1:${upstreamPort} pool-max-conn 512 pool-purge-delay 600s
${cache ? 'backend seen\n  stick-table type binary len 32 size 131072 expire 10m store gpt0\n' : ''}`
}
