/** Turns a row of the endpoint table into a request that the data provider of the demo can answer. */
import type { EndpointRow } from './endpoint-table.js'
import { accountId, consentId, resourceId, subscriptionId } from './sample-names.js'

const ids: Readonly<Record<string, string>> = { accountId, consentId, resourceId, subscriptionId }

const bodies: Readonly<Record<string, unknown>> = {
  'PATCH /fdx/v6/consents/{consentId}/revocation': { reason: 'USER_ACTION', initiator: 'INDIVIDUAL' },
  'POST /fdx/v6/events/notification-subscriptions': {
    type: 'CONSENT_REVOKED',
    category: 'CONSENT',
    callbackUrl: 'https://data-recipient.example/notifications',
    subscriber: { name: 'Data Recipient Inc.', type: 'DATA_RECIPIENT' },
  },
  'PATCH /external/authentication/v1/resources/{resourceId}': { status: 'APPROVED' },
  'PATCH /participant/user/v1/consents/{consentId}': { lookbackPeriod: 30 },
}

export function samplePath(row: EndpointRow): string {
  return row.endpoint.replaceAll(/\{(\w+)\}/g, (_braces, name: string) => {
    const id = ids[name]
    if (id === undefined) throw new Error(`line ${row.line}: the demo has no sample for {${name}}`)
    return id
  })
}

/** JSON, or undefined for a request without a body. */
export function sampleBody(row: EndpointRow): string | undefined {
  const body = bodies[`${row.method} ${row.endpoint}`]
  if (body === undefined && !['GET', 'DELETE', 'HEAD'].includes(row.method)) {
    throw new Error(`line ${row.line}: the demo has no sample body for ${row.method} ${row.endpoint}`)
  }
  return body === undefined ? undefined : JSON.stringify(body)
}
