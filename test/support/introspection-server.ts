/** The introspection endpoint of an authorization server, over TLS, that knows what it is told and misbehaves as asked. */
import { type KeyObject, verify } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { createAuthority, EXTENDED_KEY_USAGE, type Issued } from './pki.js'
import type { Overrides, TokenIssuer } from './token-issuer.js'

export const RS_ID = 'postern/rs 1'
/** Everything that form-encoding changes, so that a client that forgets it is refused. */
export const RS_SECRET = 's3cret: +%&=/é'

/** How the endpoint fails. `stall`: nothing is said until `release`. */
export type IntrospectionFailMode =
  | '500'
  | '400'
  | '403'
  | '401'
  | 'hang'
  | 'huge'
  | 'redirect'
  | 'html'
  | 'cut-off'
  | 'malformed'
  | 'duplicate'
  | 'array'
  | 'no-active'
  | 'unsigned'
  | 'stall'

/** One question as it came. */
export interface Asked {
  readonly method: string
  readonly target: string
  readonly headers: IncomingMessage['headers']
  readonly form: URLSearchParams
}

export interface IntrospectionServer {
  readonly url: string
  readonly caPem: string
  /** A client certificate that the endpoint accepts, and one that it does not. */
  readonly client: Issued
  readonly otherClient: Issued
  /** What is said of a token; all others are not active. */
  readonly tokens: Map<string, Overrides>
  /** Questions so far. */
  readonly asked: readonly Asked[]
  /** Greatest number of connections since the start. */
  readonly connections: number
  failMode: IntrospectionFailMode | null
  /** How clients must show who they are. */
  method: 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt' | 'tls_client_auth'
  /** The key that assertions must be signed with. */
  assertionKey: KeyObject | null
  /** Signed replies (RFC 9701); members replace those of the envelope and of its header. */
  signed: { claims?: Overrides; header?: Overrides; mediaType?: string } | null
  /** Answers what has stalled. */
  readonly release: () => void
  /** Ends all connections, and the port is closed until `reopen`. */
  readonly stop: () => Promise<void>
  readonly reopen: () => Promise<void>
  readonly close: () => Promise<void>
}

/** Starts the endpoint. `issuer` signs replies, and is the aud of assertions. */
export async function startIntrospectionServer(issuer: TokenIssuer): Promise<IntrospectionServer> {
  const [authority, clientAuthority] = await Promise.all([
    createAuthority('Endpoint CA'),
    createAuthority('Resource server CA'),
  ])
  const [certificate, client, otherClient] = await Promise.all([
    authority.issue({
      commonName: '127.0.0.1',
      sanIp: ['127.0.0.1'],
      extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
    }),
    clientAuthority.issue({ commonName: 'postern' }),
    clientAuthority.issue({ commonName: 'stranger' }),
  ])
  const asked: Asked[] = []
  const assertions = new Set<string>()
  let stalled: (() => void)[] = []
  let connections = 0

  const accepts = (request: IncomingMessage, form: URLSearchParams): boolean => {
    switch (endpoint.method) {
      case 'client_secret_basic': {
        const pair = Buffer.from(
          request.headers.authorization?.replace(/^Basic /, '') ?? '',
          'base64',
        ).toString()
        const [id = '', secret = ''] = pair
          .split(':')
          .map(part => decodeURIComponent(part.replaceAll('+', ' ')))
        return id === RS_ID && secret === RS_SECRET && !form.has('client_secret')
      }
      case 'client_secret_post':
        return form.get('client_id') === RS_ID && form.get('client_secret') === RS_SECRET
      case 'tls_client_auth': {
        const { fingerprint256 } = (request.socket as TLSSocket).getPeerCertificate()
        return form.get('client_id') === RS_ID && fingerprint256 === client.certificate.fingerprint256
      }
      case 'private_key_jwt':
        return isGoodAssertion(
          form.get('client_assertion') ?? '',
          form,
          issuer.url,
          endpoint.assertionKey,
          assertions,
        )
    }
  }

  const server = createServer(
    {
      cert: certificate.certificatePem,
      key: certificate.keyPem,
      ca: clientAuthority.certificatePem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      let text = ''
      request.setEncoding('utf8').on('data', chunk => {
        text += chunk
      })
      request.on('end', () => {
        const form = new URLSearchParams(text)
        asked.push({
          method: request.method ?? '',
          target: request.url ?? '',
          headers: request.headers,
          form,
        })
        const answer = () => {
          if (!accepts(request, form)) {
            response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"invalid_client"}')
            return
          }
          const members = endpoint.tokens.get(form.get('token') ?? '') ?? { active: false }
          say(response, members, endpoint, issuer)
        }
        if (endpoint.failMode === 'stall') stalled.push(answer)
        else answer()
      })
    },
  )
  server.on('secureConnection', () => {
    connections++
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const stop = async () => {
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  const endpoint: IntrospectionServer = {
    url: `https://127.0.0.1:${port}/introspect`,
    caPem: authority.certificatePem,
    client,
    otherClient,
    tokens: new Map(),
    asked,
    get connections() {
      return connections
    },
    failMode: null,
    method: 'client_secret_basic',
    assertionKey: null,
    signed: null,
    release() {
      endpoint.failMode = null
      for (const answer of stalled) answer()
      stalled = []
    },
    stop,
    async reopen() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    close: stop,
  }
  return endpoint
}

function say(
  response: ServerResponse,
  members: Overrides,
  { failMode, signed }: IntrospectionServer,
  issuer: TokenIssuer,
): void {
  const json = { 'content-type': 'application/json' }
  const body = JSON.stringify(members)
  switch (failMode) {
    case '400':
    case '401':
    case '403':
    case '500':
      response.writeHead(Number(failMode), json).end(body)
      return
    case 'hang':
      return
    case 'huge':
      response.writeHead(200, json).end(JSON.stringify({ active: true, padding: 'x'.repeat(200 * 1024) }))
      return
    case 'redirect':
      response.writeHead(307, { location: '/introspect?again' }).end(body)
      return
    case 'html':
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sorry</html>')
      return
    case 'cut-off':
      response.writeHead(200, { ...json, 'content-length': Buffer.byteLength(body) })
      response.write(body.slice(0, 5), () => response.destroy())
      return
    case 'malformed':
      response.writeHead(200, json).end(`${body}}`)
      return
    case 'duplicate':
      response.writeHead(200, json).end('{"active":false,"active":true}')
      return
    case 'array':
      response.writeHead(200, json).end(`[${body}]`)
      return
    case 'no-active':
      response.writeHead(200, json).end('{"error":"temporarily_unavailable"}')
      return
    default:
  }
  if (signed === null || failMode === 'unsigned') {
    response.writeHead(200, json).end(body)
    return
  }
  const envelope = { iss: issuer.url, aud: RS_ID, iat: Math.floor(Date.now() / 1000) }
  const jwt = issuer.sign(
    { ...envelope, token_introspection: members, ...signed.claims },
    { typ: 'token-introspection+jwt', ...signed.header },
  )
  const mediaType = signed.mediaType ?? 'application/token-introspection+jwt; charset=utf-8'
  response.writeHead(200, { 'content-type': mediaType }).end(jwt)
}

/** RFC 7523 section 3, ES256 alone; every assertion once. */
function isGoodAssertion(
  assertion: string,
  form: URLSearchParams,
  audience: string,
  key: KeyObject | null,
  seen: Set<string>,
): boolean {
  const [header = '', payload = '', signature = ''] = assertion.split('.')
  if (key === null || form.get('client_id') !== RS_ID || seen.has(assertion)) return false
  if (form.get('client_assertion_type') !== 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    return false
  seen.add(assertion)
  const read = (part: string) =>
    JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>
  const { iss, sub, aud, exp, jti } = read(payload)
  const now = Date.now() / 1000
  return (
    read(header).alg === 'ES256' &&
    iss === RS_ID &&
    sub === RS_ID &&
    aud === audience &&
    typeof jti === 'string' &&
    Number(exp) > now &&
    Number(exp) <= now + 120 &&
    verify(
      'sha256',
      Buffer.from(`${header}.${payload}`),
      { key, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    )
  )
}
