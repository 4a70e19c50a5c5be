import { createServer, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { Denial } from '../../src/decision/denials.js'
import { attemptedSchemes, readCredentials } from '../../src/request/credentials.js'
import { clientInteractionId } from '../../src/request/interaction-id.js'
import { type RequestFacts, readRequest } from '../../src/request/request-facts.js'
import { strictHeaderProblem } from '../../src/request/strict-headers.js'
import type { Random } from '../random.js'
import { promise, type Target } from '../target.js'
import { emptyLines, type ModelRequest, readHead, readMessages } from './http-model.js'
import { judgePath } from './path.js'

const HOST = 'api.bank.example'
const OTHER_HOST = 'pay.bank.example'
const SERVED = { hosts: new Set([HOST, OTHER_HOST]), via: 'postern-fuzz' }
const HEADER_BYTES = 32 * 1024

/** The parser of node:http with the settings of the listener, and no network: bytes go in by hand. */
const server = createServer({
  maxHeaderSize: HEADER_BYTES,
  requireHostHeader: false,
  insecureHTTPParser: false,
  connectionsCheckingInterval: 2 ** 30,
})
server.maxHeadersCount = 0
server.timeout = 0
server.on('clientError', (_error, socket) => socket.destroy())
for (const event of ['upgrade', 'connect'] as const)
  server.on(event, (request: IncomingMessage, socket: Duplex) => {
    heard.get(socket)?.push(request)
    socket.destroy()
  })
for (const event of ['request', 'checkContinue', 'checkExpectation'] as const)
  server.on(event, (request: IncomingMessage) => {
    heard.get(request.socket)?.push(request)
    request.resume()
  })

const heard = new WeakMap<object, IncomingMessage[]>()

/** A connection on which these bytes arrive and nothing else. */
class Bytes extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done()
  }
}

/** The requests that node:http finds in the bytes of a connection. */
async function requestsOf(bytes: string): Promise<readonly IncomingMessage[]> {
  const socket = new Bytes()
  const requests: IncomingMessage[] = []
  heard.set(socket, requests)
  server.emit('connection', socket as unknown as Socket)
  socket.on('error', () => {})
  socket.push(Buffer.from(bytes, 'latin1'))
  await new Promise(resolve => setImmediate(resolve))
  socket.destroy()
  return requests
}

/**
 * Reads the bytes of a connection as the listener does, up to the first request that is refused, and compares every accepted one
 * with what the letters of RFC 9112 say: same messages, same framing, same words.
 */
export const request: Target = {
  name: 'request',
  maxLength: 64 * 1024,
  maxMs: 250,
  words: [
    ...['\r\n', '\r\n\r\n', '\n', '\r', ' ', '\t', ':', ',', ';', '%', '#', '?', '//', '..', '\0'],
    ...[
      'GET ',
      'POST ',
      'CONNECT ',
      'OPTIONS * ',
      ' HTTP/1.1\r\n',
      ' HTTP/1.0\r\n',
      'https://api.bank.example',
      'http://',
    ],
    ...[
      'Host: api.bank.example\r\n',
      'Host: other\r\n',
      'Content-Length: 5\r\n',
      'Transfer-Encoding: chunked\r\n',
    ],
    ...[
      'Transfer-Encoding : chunked\r\n',
      'Transfer-Encoding: identity\r\n',
      '0\r\n\r\n',
      '5\r\nhello\r\n',
      ';ext=1',
      'Via: 1.1 postern-fuzz\r\n',
    ],
    ...[
      'Authorization: Bearer a.b.c\r\n',
      'Authorization: DPoP a\r\n',
      'authorization: Basic eA==\r\n',
      'access_token=a',
      'access%5Ftoken',
    ],
    ...[
      'Connection: close\r\n',
      'Connection: upgrade\r\nUpgrade: websocket\r\n',
      'Expect: 100-continue\r\n',
      ' folded\r\n',
    ],
  ],
  generate: random => random.repeat(1, random.oneIn(4) ? 3 : 1, () => message(random)),
  async judge(input) {
    const arrived = await requestsOf(input)
    const model = readMessages(input)
    const outcomes: string[] = []
    for (const [index, head] of arrived.entries()) {
      const facts = readRequest(
        {
          method: head.method ?? '',
          url: head.url ?? '',
          httpVersion: head.httpVersion,
          rawHeaders: head.rawHeaders,
        },
        SERVED,
      )
      if (facts instanceof Denial) {
        promise(
          ['request_malformed', 'path_ambiguous', 'host_unknown'].includes(facts.code),
          `refused with ${facts.code}`,
        )
        outcomes.push(facts.detail.replaceAll(/\d+/g, 'N'))
        break
      }
      judgeFacts(facts, head, modelOf(model, index, input))
      outcomes.push(`accepted, ${judgeFields(facts)}`)
    }
    return outcomes.slice(0, 3).join('; ') || 'nothing that node:http would read'
  },
  worst: {
    'many headers': length =>
      `GET / HTTP/1.1\r\nHost: ${HOST}\r\n${'a:b\r\n'.repeat(Math.min(length, 30_000) / 5)}\r\n`,
    'a long query': length =>
      `GET /?${'access_token%'.repeat(length / 13)} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
    'a query of many names': length => `GET /?${'a&'.repeat(length / 2)} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
    'a token of dots and equals': length =>
      `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${'.='.repeat(length / 2)}\r\n\r\n`,
    'a scheme and spaces': length =>
      `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer${' '.repeat(length)}!\r\n\r\n`,
    'a long Host': length => `GET / HTTP/1.1\r\nHost: ${'a.'.repeat(length / 2)}!\r\n\r\n`,
    'an authority in the target': length =>
      `GET https://${'a.'.repeat(length / 2)}! HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
  },
}

/**
 * What the letters say of the same request. A body that is not there yet, or breaks off, ends the model's list; the head
 * counts then, as long as it is the next one.
 */
function modelOf(
  model: readonly ModelRequest[],
  index: number,
  input: string,
): Omit<ModelRequest, 'bodyLength'> | null {
  const complete = model[index]
  if (complete !== undefined) return complete
  if (index > model.length) return null
  return readHead(index === 0 ? input : restAfter(model.slice(0, index), input))
}

/** The bytes behind so many complete messages. */
function restAfter(messages: readonly ModelRequest[], input: string): string {
  let rest = input
  for (const { bodyLength } of messages) {
    const start = emptyLines(rest)
    rest = rest.slice(rest.indexOf('\r\n\r\n', start) + 4 + bodyLength)
  }
  return rest
}

function judgeFacts(
  facts: RequestFacts,
  head: IncomingMessage,
  model: Omit<ModelRequest, 'bodyLength'> | null,
): void {
  promise(model !== null, 'a request was accepted that RFC 9112 does not read, or at another place')
  promise(model.method === facts.method && model.version === head.httpVersion, 'another method or version')
  const fields: string[] = []
  for (const [name, value] of model.fields) fields.push(name, value)
  const seen = facts.headers.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text))
  promise(JSON.stringify(fields) === JSON.stringify(seen), 'other fields than those in the bytes')
  const values = (wanted: string) =>
    model.fields.filter(([name]) => name === wanted).map(([, value]) => value)
  promise(values('host').length === 1, 'accepted without exactly one Host')
  const authority = (values('host')[0] ?? '').toLowerCase()
  promise(authority === facts.host || authority === `${facts.host}:443`, 'another host than the one in Host')
  promise(SERVED.hosts.has(facts.host), 'a host that is not served')
  const absolute = /^https:\/\/([^/?#]*)/i.exec(model.target)
  if (absolute !== null)
    promise(
      [facts.host, `${facts.host}:443`].includes((absolute[1] ?? '').toLowerCase()),
      'the target names another host',
    )
  promise(
    model.target.slice(absolute?.[0].length ?? 0) === facts.target,
    'another target than the one in the bytes',
  )
  promise(
    facts.target === facts.path + (facts.target.includes('?') ? `?${facts.query}` : ''),
    'path and query are not the target',
  )
  judgePath(facts)
  promise(/^(?:[^%]|%[0-9A-Fa-f]{2})*$/.test(facts.query), 'a query that cannot be decoded')
  const framing = [...values('content-length'), ...values('transfer-encoding')]
  promise(framing.length <= 1, 'two statements about the length of the body')
  promise(
    values('transfer-encoding').length === 0 || head.httpVersion === '1.1',
    'Transfer-Encoding in HTTP/1.0',
  )
  promise(!values('via').join().includes(SERVED.via), 'a loop was accepted')
}

/** The readers of single fields, each against a plain reading of the same values. */
function judgeFields({ headers, query }: RequestFacts): string {
  const valuesOf = (wanted: string) =>
    headers.filter((_, index) => index % 2 === 1 && headers[index - 1]?.toLowerCase() === wanted)
  const authorization = valuesOf('authorization')
  const names = query.split(/[&;]/).map(pair => decodeOr(pair.split('=')[0] ?? ''))
  const credentials = readCredentials(headers, query)
  attemptedSchemes(headers, query)
  if (!(credentials instanceof Denial)) {
    const { scheme, token } = credentials
    promise(authorization.length === 1, 'credentials without exactly one Authorization header')
    promise(!names.includes('access_token'), 'credentials beside a token in the query')
    promise(
      authorization[0]?.replace(/ +/, ' ').replace(/^\S+/, word => word.toLowerCase()) ===
        `${scheme} ${token}`,
      'a token that is not the header',
    )
    promise(token.length <= 16 * 1024 && /^[\w\-.~+/]+=*$/.test(token), 'a token that is no b64token')
  } else if (authorization.length > 1)
    promise(credentials.code === 'credentials_multiple', 'several headers and no refusal for it')
  const id = clientInteractionId(headers)
  promise(
    id === null || (valuesOf('x-fapi-interaction-id').join() === id && id.length === 36),
    'an interaction id that is not the header',
  )
  const strict = strictHeaderProblem(headers)
  promise(strict !== null || id !== null, 'strict headers without an interaction id')
  return `${credentials instanceof Denial ? credentials.code : credentials.scheme}, ${strict ?? 'strict'}`
}

function decodeOr(name: string): string {
  try {
    return decodeURIComponent(name.replaceAll('+', ' ')).trim()
  } catch {
    return name
  }
}

const FIELDS: readonly ((random: Random) => string)[] = [
  random =>
    `${random.pick(['Authorization', 'authorization'])}: ${random.pick(['Bearer', 'DPoP', 'bearer ', 'Basic', 'Bearer,'])} ${random.pick(['a.b.c', 'opaque', 'a b', 'a,b', 'eA==', '='])}`,
  random =>
    `Host: ${random.pick([HOST, `${HOST}:443`, HOST.toUpperCase(), 'other', `${HOST}:80`, `${HOST}@x`, ''])}`,
  random => `X-FAPI-Interaction-Id: ${random.pick(['c770aef3-6784-41f7-8e0e-ff5f97bddb3a', 'x', ''])}`,
  random => `FDX-API-Actor-Type: ${random.pick(['USER', 'BATCH', 'user', 'USER, BATCH'])}`,
  random =>
    `x-fapi-customer-ip-address: ${random.pick(['192.0.2.1', '::1', '2001:db8::1', 'fe80::1%eth0', '1.2.3', '01.2.3.4'])}`,
  random => `Via: ${random.pick(['1.1 postern-fuzz', '1.0 other', ''])}`,
  random =>
    `${random.pick(['X-Any', 'x_any', 'Connection', 'Expect', 'TE', 'Trailer'])}: ${random.pick(['1', 'close', '100-continue', 'a, b', '\xe9', ' x '])}`,
  random =>
    `${random.pick(['Content-Length', 'content-length'])}: ${random.pick(['0', '5', '05', '+5', '5, 5', '-0', '5 '])}`,
  random =>
    `Transfer-Encoding: ${random.pick(['chunked', 'Chunked', 'identity', 'gzip, chunked', 'chunked, chunked', '\tchunked'])}`,
]

function message(random: Random): string {
  const method = random.pick([
    'GET',
    'POST',
    'DELETE',
    'OPTIONS',
    'HEAD',
    'PATCH',
    'QUERY',
    'TRACE',
    'CONNECT',
    'get',
  ])
  const fields = [
    `Host: ${HOST}`,
    ...Array.from({ length: random.below(4) }, () => random.pick(FIELDS)(random)),
  ]
  let body = ''
  switch (random.below(4)) {
    case 0:
      body = 'hello'
      fields.push('Content-Length: 5')
      break
    case 1:
      body = `${random.pick(['5', '05', '5;a=b', '5 ', '0x5'])}\r\nhello\r\n0\r\n${random.pick(['', '', 'Trailer: x\r\n', 'Host: x\r\n'])}\r\n`
      fields.push('Transfer-Encoding: chunked')
  }
  const version = random.oneIn(8) ? random.pick(['1.0', '2.0', '1.2', '0.9']) : '1.1'
  return `${method} ${target(random)} HTTP/${version}\r\n${fields.join('\r\n')}\r\n\r\n${body}`
}

function target(random: Random): string {
  const prefix = random.oneIn(8)
    ? random.pick([
        `https://${HOST}`,
        `https://${OTHER_HOST}`,
        `HTTPS://${HOST}:443`,
        'https://other',
        `http://${HOST}`,
        '*',
        'https:/',
      ])
    : ''
  const path = random.repeat(
    1,
    4,
    () =>
      `/${random.pick(['a', 'accounts', '', '.', '..', 'a;b', 'a%20b', '%41', '%2f', 'a:b', '%C3%A9', '%'])}`,
  )
  const query = random.oneIn(3)
    ? `?${random.repeat(1, 3, () => random.pick(['a=b', 'access_token=x', 'Access_Token=x', 'access%5ftoken=x', 'a=%', '+access_token', 'x']), '&')}`
    : ''
  return prefix + path + query
}
