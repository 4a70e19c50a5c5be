/**
 * The API behind the sidecar: FDX-shaped answers over plain HTTP, and no idea of tokens, scopes or certificates. Whoever
 * reaches it is served; keeping everyone else away is the sidecar's whole job.
 */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import { parseListenAddress } from './listen-address.js'
import {
  accounts,
  assetTransferNetworks,
  consents,
  contact,
  externalResources,
  paymentNetworks,
  revocations,
  subscriptions,
  transactions,
} from './sample-data.js'

type Answer = { readonly status: number; readonly body?: unknown; readonly location?: string }
type Body = Readonly<Record<string, unknown>>
type Handler = (ids: Readonly<Record<string, string>>, body: Body) => Answer

/** Bytes. The largest body of this API is a few hundred. */
const mostBodyBytes = 64 * 1024
/** Entities of one kind and remembered requests: a demo that runs for days must not grow. */
const mostSubscriptions = 1000
const mostSeenRequests = 10_000

const ok = (body: unknown): Answer => ({ status: 200, body })
const noContent: Answer = { status: 204 }

/** The error entity of FDX: a code of its list and words for the end user. */
const problem = (status: number, code: string, message: string): Answer => ({
  status,
  body: { code, message },
})
const invalidInput = (message: string) => problem(400, '401', message)
const accountNotFound = problem(404, '701', 'Account not found')
const noData = (what: string) => problem(404, '1107', `${what} not found`)

const page = (list: string, entries: readonly unknown[]) => ({
  page: { total: entries.length },
  links: {},
  [list]: entries,
})

const ofAccount =
  (answer: Answer): Handler =>
  ({ accountId = '' }) =>
    accounts.has(accountId) ? answer : accountNotFound

const found = (entity: unknown, what: string): Answer => (entity === undefined ? noData(what) : ok(entity))

/** Sets only members that the entity has already and that are no identifiers. */
function patch<T extends object>(entity: T, change: Body, fields: readonly (keyof T & string)[]): Answer {
  const unknown = Object.keys(change).find(name => !fields.some(field => field === name))
  if (unknown !== undefined) return invalidInput(`${unknown} cannot be changed`)
  Object.assign(entity, change, { updatedTime: new Date().toISOString() })
  return ok(entity)
}

const routes: Readonly<Record<string, Handler>> = {
  'GET /fdx/v6/core/accounts': () => ok(page('accounts', [...accounts.values()])),
  'GET /fdx/v6/core/accounts/{accountId}': ({ accountId = '' }) => {
    const account = accounts.get(accountId)
    return account ? ok(account) : accountNotFound
  },
  'GET /fdx/v6/core/accounts/{accountId}/transactions': ofAccount(ok(page('transactions', transactions))),
  'GET /fdx/v6/core/accounts/{accountId}/contact': ofAccount(ok(contact)),
  'GET /fdx/v6/core/accounts/{accountId}/payment-networks': ofAccount(
    ok(page('paymentNetworks', paymentNetworks)),
  ),
  'GET /fdx/v6/core/accounts/{accountId}/asset-transfer-networks': ofAccount(
    ok(page('assetTransferNetworks', assetTransferNetworks)),
  ),

  'GET /fdx/v6/consents/{consentId}': ({ consentId = '' }) => found(consents.get(consentId), 'Consent'),
  'PATCH /fdx/v6/consents/{consentId}/revocation': ({ consentId = '' }, body) => {
    const consent = consents.get(consentId)
    const history = revocations.get(consentId)
    if (!consent || !history) return noData('Consent')
    const { reason, initiator } = body
    if (typeof reason !== 'string' || typeof initiator !== 'string') {
      return invalidInput('reason and initiator are required')
    }
    // FDX lets a provider answer 409 to a second revocation; this one takes it as said already.
    if (consent.status === 'REVOKED') return noContent
    const updatedTime = new Date().toISOString()
    Object.assign(consent, { status: 'REVOKED', updatedTime })
    history.push({ status: 'REVOKED', reason, initiator, updatedTime })
    return noContent
  },
  'GET /fdx/v6/consents/{consentId}/revocation': ({ consentId = '' }) => {
    const history = revocations.get(consentId)
    return history ? ok({ revocations: history }) : noData('Consent')
  },

  'POST /fdx/v6/events/notification-subscriptions': (_ids, body) => {
    const missing = ['type', 'category', 'callbackUrl', 'subscriber'].find(name => body[name] === undefined)
    if (missing) return invalidInput(`${missing} is required`)
    if (subscriptions.size >= mostSubscriptions) return problem(429, '1207', 'Too many subscriptions')
    const subscriptionId = randomUUID()
    const subscription = { ...body, subscriptionId, effectiveDate: new Date().toISOString().slice(0, 10) }
    subscriptions.set(subscriptionId, subscription)
    const location = `/fdx/v6/events/notification-subscriptions/${subscriptionId}`
    return { status: 201, body: subscription, location }
  },
  'GET /fdx/v6/events/notification-subscriptions/{subscriptionId}': ({ subscriptionId = '' }) =>
    found(subscriptions.get(subscriptionId), 'Subscription'),
  'DELETE /fdx/v6/events/{consentId}/revocation/{subscriptionId}': ({
    consentId = '',
    subscriptionId = '',
  }) => {
    if (!consents.has(consentId)) return noData('Consent')
    return subscriptions.delete(subscriptionId) ? noContent : noData('Subscription')
  },

  'GET /external/authentication/v1/resources/{resourceId}': ({ resourceId = '' }) =>
    found(externalResources.get(resourceId), 'Resource'),
  'PATCH /external/authentication/v1/resources/{resourceId}': ({ resourceId = '' }, body) => {
    const resource = externalResources.get(resourceId)
    return resource ? patch(resource, body, ['status', 'accounts']) : noData('Resource')
  },

  'GET /participant/user/v1/consents/{consentId}': ({ consentId = '' }) =>
    found(consents.get(consentId), 'Consent'),
  'PATCH /participant/user/v1/consents/{consentId}': ({ consentId = '' }, body) => {
    const consent = consents.get(consentId)
    return consent ? patch(consent, body, ['durationPeriod', 'lookbackPeriod']) : noData('Consent')
  },
  'GET /participant/user/v1/consents': () => ok(page('consents', [...consents.values()])),
}

const matchers = Object.entries(routes).map(([route, handle]) => {
  const [method = '', template = ''] = route.split(' ')
  const pattern = new RegExp(`^${template.replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`)
  return { method, pattern, handle }
})

export type SeenRequest = {
  readonly method: string
  readonly path: string
  readonly interactionId: string | undefined
}

/** What really arrived here, newest last: the check compares it with what the sidecar should have let through. */
const seen: SeenRequest[] = []

function remember(request: IncomingMessage): void {
  const interactionId = request.headers['x-fapi-interaction-id']
  seen.push({
    method: request.method ?? '',
    path: request.url ?? '',
    interactionId: interactionId?.toString(),
  })
  if (seen.length > mostSeenRequests) seen.shift()
}

async function answerTo(request: IncomingMessage): Promise<Answer> {
  const { method = '' } = request
  const path = (request.url ?? '').split('?')[0] ?? ''
  if (method === 'GET' && path === '/-/requests') return ok({ requests: seen })
  remember(request)
  const samePath = matchers.filter(({ pattern }) => pattern.test(path))
  const matcher = samePath.find(candidate => candidate.method === method)
  if (!matcher) {
    return samePath.length > 0
      ? problem(405, '1206', 'Method not allowed')
      : problem(404, '1107', 'Not found')
  }
  const body = await readBody(request)
  if (!body) return invalidInput('The body has to be a JSON object of at most 64 KiB')
  return matcher.handle(matcher.pattern.exec(path)?.groups ?? {}, body)
}

/** @returns an empty object for no body at all, and undefined for one that is no JSON object or too long */
async function readBody(request: IncomingMessage): Promise<Body | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > mostBodyBytes) return undefined
    chunks.push(chunk)
  }
  if (length === 0) return {}
  try {
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Body) : undefined
  } catch {
    return undefined
  }
}

const server = createServer(async (request, response) => {
  try {
    const { status, body, location } = await answerTo(request)
    if (location) response.setHeader('location', location)
    if (body === undefined) response.writeHead(status).end()
    else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  } catch (error) {
    // A client that went away while sending its body ends here as well.
    console.error(error)
    if (!response.headersSent) response.writeHead(500)
    response.end()
  }
})

server.on('error', error => {
  console.error(`data provider: ${error.message}`)
  process.exit(1)
})
const listen = parseListenAddress(process.env.DEMO_PROVIDER_LISTEN ?? '127.0.0.1:8080')
server.listen(listen, () => console.log(`data provider ready at http://${listen.host}:${listen.port}`))

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}
