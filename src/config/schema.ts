import { z } from 'zod'
import { issuer } from './schema-issuer.js'
import { api, routeSettings } from './schema-route.js'
import { terminator } from './schema-terminators.js'
import { upstream } from './schema-upstream.js'
import { address, count, duration, fileName, NAME, oneOrMany, size, url, words } from './schema-values.js'

const files = (what: string) =>
  z.array(fileName(), { error: words(`must be a list of ${what}`, 'such as [certs/client-ca.pem]') })

const tls = z.strictObject({
  profile: z
    .enum(['fapi1-advanced', 'fapi2', 'compatible'])
    .describe(
      'Which cipher suites and algorithms are offered: fapi1-advanced, fapi2, or compatible for clients that can do neither.',
    ),
  certificates: z
    .array(
      z.strictObject({
        cert: fileName().describe('PEM file: the server certificate, then its intermediates.'),
        key: fileName().describe('PEM file: its private key, not encrypted.'),
      }),
      {
        error: words(
          'must be a list of certificates',
          'such as [{ cert: certs/server.pem, key: certs/server.key }]',
        ),
      },
    )
    .min(1, { error: words('has no entries', 'such as [{ cert: certs/server.pem, key: certs/server.key }]') })
    .describe('Certificates of the server, chosen by SNI; the first serves everybody else.'),
  clients: z
    .strictObject({
      trust: z
        .enum(['pki', 'possession'])
        .prefault('pki')
        .describe(
          'pki: the chain of a client certificate must verify. possession: any certificate proves possession of its key (RFC 8705 section 6.2).',
        ),
      ca: files('files')
        .optional()
        .describe("PEM files of the authorities of client certificates. Never the system's."),
      crl: files('files').optional().describe('PEM files of revocation lists, one for every authority.'),
      onExpiredCrl: z
        .enum(['deny', 'allow'])
        .prefault('deny')
        .describe('What happens to clients whose revocation list is out of date.'),
    })
    .prefault({})
    .describe('Which client certificates are trusted.'),
})

const limits = z
  .strictObject({
    headerBytes: size('1KiB', '1MiB').prefault('32KiB').describe('Most bytes of request line and headers.'),
    bodyBytes: size('0B', '1024GiB').prefault('10MiB').describe('Most bytes of a request body.'),
    connections: count(1, 1_000_000).prefault(10_000).describe('Most client connections at a time.'),
    connectionsPerAddress: count(1, 1_000_000)
      .optional()
      .describe(
        'Most connections of one address (IPv6 by /64) at a time. Default: no bound, because hundreds of clients can share one.',
      ),
    connectionAge: duration('1s', '24d')
      .prefault('1h')
      .describe(
        'How long a connection may last, or up to a tenth less; then it ends with its present answer. Tunnels last.',
      ),
    handshakes: count(1, 1_000_000)
      .prefault(1000)
      .describe('Most TLS handshakes under way; beyond that the one that waits longest is ended.'),
    requests: count(1, 1_000_000)
      .prefault(5000)
      .describe('Most requests handled at a time, tunnels included; beyond that 503 overloaded.'),
    proofs: count(1, 100_000_000)
      .prefault(1_000_000)
      .describe(
        'Most used DPoP proofs that are remembered; when it is full, new ones get 503 until old ones expire.',
      ),
    failures: z
      .strictObject({
        requests: count(1, 1_000_000).prefault(100).describe('Failed authentications that cost nothing.'),
        per: duration('1s', '1d').prefault('1m').describe('Time that begins with the first of them.'),
      })
      .prefault({})
      .describe(
        'Failed authentications (401) of one trusted certificate, or else of one address (IPv6 by /64). Beyond them no token or proof is verified any more on a connection that has failed: 429, and the connection ends.',
      ),
    handshakeTimeout: duration('1s', '1m').prefault('10s').describe('Time for a TLS handshake.'),
    headersTimeout: duration('1s', '1h').prefault('10s').describe('Time for a client to send its headers.'),
    requestTimeout: duration('1s', '1d')
      .prefault('60s')
      .describe('Time for a client to send the whole request.'),
    idleTimeout: duration('1s', '1h')
      .prefault('75s')
      .describe('How long a connection without a request stays open.'),
  })
  .prefault({})
  .describe('Bounds of what clients may use.')

/** Each takes some 100 MB; more cores than this are behind a load balancer. */
const MOST_WORKERS = 64
const NOT_A_NUMBER_OF_WORKERS = {
  error: words(
    `must be a number from 1 to ${MOST_WORKERS}, or auto`,
    'auto is one for each core that Postern may use',
  ),
}

const server = z.strictObject({
  listen: address().describe('Address and port for clients, such as 0.0.0.0:8443.'),
  publicUrl: oneOrMany(
    url({ schemes: ['https'], extent: 'origin' }, 'https://api.bank.example'),
    'an https origin',
  ).describe(
    'Origins that clients call, such as https://api.bank.example; requests for another Host are refused.',
  ),
  workers: z
    .union(
      [
        z.literal('auto', NOT_A_NUMBER_OF_WORKERS),
        z.int().min(1, NOT_A_NUMBER_OF_WORKERS).max(MOST_WORKERS, NOT_A_NUMBER_OF_WORKERS),
      ],
      NOT_A_NUMBER_OF_WORKERS,
    )
    .prefault(1)
    .describe(
      'Processes that serve requests; auto: one for each core. With more than one, another process keeps them running and has the admin port. Takes effect at the next start.',
    ),
  tls: tls.describe('TLS towards clients.'),
  http2: z
    .boolean()
    .prefault(false)
    .describe(
      'true: HTTP/2 is offered to clients beside HTTP/1.1. WebSockets and upstreams stay with HTTP/1.1. Takes effect at the next start.',
    ),
  limits,
  resourceMetadata: z
    .boolean()
    .optional()
    .describe(
      'Protected resource metadata (RFC 9728), made from this policy. false: not served. true: served, and named in the challenges of 401 answers. Default: served, not named.',
    ),
})

/** The policy file: the one source of types, checks, hover texts and the JSON Schema. */
export const policySchema = z.strictObject({
  version: z.literal(1).describe('Version of this format: 1.'),
  server: server.describe('The side that clients see.'),
  trustedTerminators: z
    .array(terminator, {
      error: words('must be a list of terminators', 'each with address and header'),
    })
    .optional()
    .describe(
      'TLS terminators in front of Postern whose word on client certificates counts. Everybody else cannot claim one in a header.',
    ),
  admin: z
    .strictObject({
      listen: address()
        .prefault('127.0.0.1:9464')
        .describe('Address of metrics and health: plain HTTP, never reachable from outside.'),
    })
    .prefault({})
    .describe('The side that operators see.'),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .prefault('info')
        .describe('Least level that is written.'),
    })
    .prefault({})
    .describe('The log, one JSON line a request on stdout.'),
  issuers: z
    .record(NAME, issuer)
    .prefault({})
    .describe('Authorization servers whose access tokens count, by a name of your choice.'),
  upstreams: z.record(NAME, upstream).describe('APIs that are protected, by a name of your choice.'),
  defaults: z
    .strictObject(routeSettings)
    .prefault({})
    .describe('Settings of every route that neither the route nor its API sets.'),
  apis: z
    .array(api, { error: words('must be a list of APIs', 'each with name, base and routes') })
    .describe('What may be called, and what is asked there. Nothing else is reachable.'),
})
