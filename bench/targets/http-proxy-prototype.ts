/** The prototype that Postern is compared with. It has no log, no metrics, no limits and no care for ambiguity. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent, type IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import httpProxy from 'http-proxy'
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose'

const settings = JSON.parse(process.argv[2] as string) as Record<
  'issuer' | 'audience' | 'algorithm' | 'serverCert' | 'serverKey' | 'ca' | 'jwks',
  string
> & { readonly port: number; readonly upstreamPort: number }
const read = (path: string) => readFileSync(path, 'utf8')
const keys = createLocalJWKSet(JSON.parse(read(settings.jwks)) as JSONWebKeySet)
const { issuer, audience, algorithm } = settings
const rules = { issuer, audience, algorithms: [algorithm], typ: 'at+jwt', requiredClaims: ['exp'] }

const verified = new Map<string, JWTPayload>()
const thumbprints = new WeakMap<object, string>()

async function claimsOf(token: string): Promise<JWTPayload> {
  const known = verified.get(token)
  if (known !== undefined) return known
  const { payload } = await jwtVerify(token, keys, rules)
  if (verified.size >= 100_000) verified.clear()
  verified.set(token, payload)
  return payload
}

function thumbprintOf(socket: TLSSocket): string {
  const known = thumbprints.get(socket)
  if (known !== undefined) return known
  const der = socket.getPeerX509Certificate()?.raw ?? ''
  const thumbprint = createHash('sha256').update(der).digest('base64url')
  thumbprints.set(socket, thumbprint)
  return thumbprint
}

/** The status to refuse with; null when the request may pass. */
async function refusal({ url = '', method, headers, socket }: IncomingMessage): Promise<number | null> {
  const token = /^Bearer (\S+)$/i.exec(headers.authorization ?? '')?.[1]
  if (token === undefined) return 401
  const claims = await claimsOf(token).catch(() => null)
  const now = Date.now() / 1000
  if (claims === null || (claims.exp ?? 0) <= now || (claims.nbf ?? 0) > now) return 401
  const bound = (claims.cnf as Record<string, unknown> | undefined)?.['x5t#S256']
  if (bound !== thumbprintOf(socket as TLSSocket)) return 401
  if (!url.startsWith('/api/') || /%|\/\/|\/\.\.?(?:\/|$)/.test(url)) return 403
  const scope = method === 'GET' || method === 'HEAD' ? 'api.read' : 'api.write'
  return String(claims.scope ?? '')
    .split(' ')
    .includes(scope)
    ? null
    : 403
}

const proxy = httpProxy.createProxyServer({
  target: `http://127.0.0.1:${settings.upstreamPort}`,
  agent: new Agent({ keepAlive: true, maxSockets: 512 }),
})
proxy.on('error', (_error, _request, response) => response.destroy())

createServer(
  {
    cert: read(settings.serverCert),
    key: read(settings.serverKey),
    ca: read(settings.ca),
    requestCert: true,
    rejectUnauthorized: true,
  },
  async (request, response) => {
    const status = await refusal(request)
    if (status === null) proxy.web(request, response)
    else response.writeHead(status).end()
  },
).listen(settings.port, '127.0.0.1')
