import { z } from 'zod'
import { count, duration, fileName, oneOrMany, percent, url, words } from './schema-values.js'

const ORIGIN = 'http://127.0.0.1:8080'

const retry = z
  .strictObject({
    attempts: count(1, 3)
      .prefault(1)
      .describe('Most times that one request is sent again, to another address where there is one.'),
    budget: percent(1, 50)
      .prefault('10%')
      .describe(
        'Most requests that are sent again, as a part of those of the last 10 s; a few are always granted. It keeps an outage from growing by itself.',
      ),
  })
  .describe(
    'GET, HEAD and OPTIONS requests without a body that failed before their answer began are sent again. Without it, only this is repeated, once: a GET or HEAD whose connection, kept open from an exchange before, ends before a byte of the answer.',
  )

const NOT_A_TARGET = words(
  'must be a path that begins with /',
  'such as /health; printable ASCII without spaces and #, at most 1024 characters',
)

const health = z
  .strictObject({
    path: z
      .string({ error: NOT_A_TARGET })
      .regex(/^\/[\x21\x22\x24-\x7E]{0,1023}$/, { error: NOT_A_TARGET })
      .describe('Path, and query if it needs one, that answers 2xx while the address can serve.'),
    interval: duration('1s', '10m')
      .prefault('5s')
      .describe('Time between two checks of an address; those that failed are asked every second at least.'),
    timeout: duration('10ms', '1m').prefault('1s').describe('Time for an answer.'),
    healthyAfter: count(1, 10).prefault(2).describe('Good answers in a row that bring an address back.'),
    unhealthyAfter: count(1, 10).prefault(3).describe('Failures in a row that take an address out.'),
  })
  .describe(
    'GET requests of Postern itself, without token or anything of a client, that take addresses out and bring them back.',
  )

/** One entry of `upstreams`. */
export const upstream = z.strictObject({
  url: oneOrMany(
    url({ schemes: ['http', 'https'], extent: 'origin' }, ORIGIN),
    'an http or https origin',
  ).describe(
    'Scheme, host and port of the API that is protected; or a list, when it runs at several addresses that are as good as each other.',
  ),
  timeouts: z
    .strictObject({
      connect: duration('1ms', '10m').prefault('2s').describe('Time to connect.'),
      response: duration('1ms', '1h')
        .prefault('30s')
        .describe('Longest wait for the answer to begin, and between two parts of it.'),
    })
    .prefault({})
    .describe('How long the upstream may take.'),
  connections: count(1, 100_000).prefault(256).describe('Most connections at a time to each address.'),
  authorization: z
    .enum(['forward', 'strip'])
    .prefault('forward')
    .describe('Whether the upstream gets the access token.'),
  clientCert: z
    .enum(['forward', 'strip'])
    .prefault('strip')
    .describe('Whether the upstream gets the client certificate, as Client-Cert (RFC 9440).'),
  engine: z
    .enum(['builtin', 'http-proxy'])
    .prefault('builtin')
    .describe(
      'What carries ordinary requests: the client of Postern, or the package http-proxy. Upgrades are always carried by http-proxy.',
    ),
  tls: z
    .strictObject({ ca: fileName().describe('PEM file of the authorities of the upstream.') })
    .optional()
    .describe('TLS towards the upstream.'),
  retry: retry.optional(),
  health: health.optional(),
})
