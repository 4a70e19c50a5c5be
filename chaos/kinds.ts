/** The kinds of requests, each with what the policy says about it. */
import { randomUUID } from 'node:crypto'
import { HOST } from '../test/support/postern.js'
import { DELAY_FIELD } from './echo-upstream.js'
import { echoOf, FORBIDDEN, type Plan } from './exchange.js'
import type { TokenKind, Wallet } from './wallet.js'

/** One client at its place, and the number of its request. */
export interface Asker {
  readonly place: number
  readonly count: number
  readonly wallet: Wallet
  /** Opaque token of the same owner. */
  readonly opaque: string
}

export interface Kind {
  readonly name: string
  /** How often it comes, beside the others. */
  readonly weight: number
  /** null: not possible yet. */
  readonly plan: (asker: Asker) => Plan | null
}

export interface Asking {
  readonly kind: string
  readonly path: string
  readonly method?: string
  readonly body?: string
  readonly subject?: string
  /** The value of Authorization. */
  readonly credentials?: string
  /** More fields, each a whole line without its end. */
  readonly fields?: readonly string[]
  readonly statuses: Plan['statuses']
}

/** The bytes of a request and of its answer. */
export function plan({
  kind,
  path,
  method = 'GET',
  body = '',
  subject = '',
  credentials = '',
  fields = [],
  statuses,
}: Asking): Plan {
  const nonce = randomUUID()
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${HOST}`,
    `X-Fapi-Interaction-Id: ${nonce}`,
    ...(credentials === '' ? [] : [`Authorization: ${credentials}`]),
    ...(method === 'POST' ? [`Content-Length: ${body.length}`] : []),
    ...fields,
  ]
  const request = `${lines.join('\r\n')}\r\n\r\n${body}`
  return { kind, request, nonce, echo: echoOf({ path, nonce, subject, credentials, body }), statuses }
}

/** These statuses, whenever it is. */
export function always(...statuses: readonly number[]): Plan['statuses'] {
  const set = new Set(statuses)
  return () => set
}

const granted = always(200)
const idOf = ({ place, count }: Asker) => `${place}-${count}`

/** A request for an account that must be refused, as the path says. */
function refused(name: string, weight: number, kind: TokenKind | null, status: number): Kind {
  return {
    name,
    weight,
    plan: asker =>
      plan({
        kind: name,
        path: `/accounts/${FORBIDDEN}${idOf(asker)}`,
        credentials: kind === null ? '' : `Bearer ${asker.wallet.token(kind)}`,
        statuses: always(status),
      }),
  }
}

/** A request for the asker's own account, which must be granted. */
function own(name: string, weight: number, more: (asker: Asker) => Partial<Asking> = () => ({})): Kind {
  return {
    name,
    weight,
    plan: asker =>
      plan({
        kind: name,
        path: `/accounts/${idOf(asker)}`,
        subject: asker.wallet.subject,
        credentials: `Bearer ${asker.wallet.token('good')}`,
        statuses: granted,
        ...more(asker),
      }),
  }
}

export const ACCOUNT: Kind = own('account', 40)

const SLOW: Kind = own('slow', 4, () => ({ fields: [`${DELAY_FIELD}: 300`] }))

const NOTE: Kind = own('note', 12, asker => ({
  method: 'POST',
  path: `/accounts/${idOf(asker)}/notes`,
  body: `note of ${asker.wallet.subject} number ${asker.count} `.repeat(40),
}))

const OPEN: Kind = {
  name: 'open',
  weight: 8,
  plan: asker => plan({ kind: 'open', path: `/open/${idOf(asker)}`, statuses: granted }),
}

/** Requests with an opaque token; an outage of its issuer changes what is right. */
export function askedKind(statuses: Plan['statuses']): Kind {
  return {
    name: 'asked',
    weight: 10,
    plan: asker =>
      plan({
        kind: 'asked',
        path: `/asked/${idOf(asker)}`,
        subject: asker.wallet.subject,
        credentials: `Bearer ${asker.opaque}`,
        statuses,
      }),
  }
}

/** Refused one by one for every reason that a client may give. */
export const REFUSED: readonly Kind[] = [
  refused('anonymous', 4, null, 401),
  refused('forged', 4, 'forged', 401),
  refused('expired', 3, 'expired', 401),
  refused('scopeless', 5, 'scopeless', 403),
  refused('stolen', 5, 'stolen', 401),
  {
    name: 'unrouted',
    weight: 3,
    plan: asker =>
      plan({
        kind: 'unrouted',
        path: `/nowhere/${FORBIDDEN}${idOf(asker)}`,
        credentials: `Bearer ${asker.wallet.token('good')}`,
        statuses: always(404),
      }),
  },
]

/** What every scenario sends that has nothing else to say. */
export const USUAL: readonly Kind[] = [ACCOUNT, SLOW, NOTE, OPEN, ...REFUSED]

/** Takes kinds as often as their weights say. */
export function chooser(kinds: readonly Kind[]): () => Kind {
  const total = kinds.reduce((sum, { weight }) => sum + weight, 0)
  return () => {
    let at = Math.random() * total
    for (const kind of kinds) {
      at -= kind.weight
      if (at < 0) return kind
    }
    return kinds[0] as Kind
  }
}
