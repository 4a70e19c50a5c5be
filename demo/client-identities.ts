/** How a client of the demo reaches a server: over TLS, with its own certificate, another's, or none. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent } from 'undici'
import { type ClientId, dataRecipient, otherRecipient } from './sample-names.js'

/** Connections by the certificate they show. */
export type ClientIdentities = {
  readonly [dataRecipient]: Agent
  readonly [otherRecipient]: Agent
  readonly noCertificate: Agent
}

/** Milliseconds without an answer after which a request of the demo counts as failed. */
const answerTimeout = 10_000

export function readClientIdentities(certificates: string): ClientIdentities {
  const ca = readFileSync(join(certificates, 'ca.pem'))
  const identity = (name?: string) =>
    new Agent({
      headersTimeout: answerTimeout,
      bodyTimeout: answerTimeout,
      connect: {
        ca,
        timeout: answerTimeout,
        ...(name && {
          cert: readFileSync(join(certificates, `${name}.pem`)),
          key: readFileSync(join(certificates, `${name}.key`)),
        }),
      },
    })
  return {
    [dataRecipient]: identity('client'),
    [otherRecipient]: identity('other-client'),
    noCertificate: identity(),
  }
}

export async function closeIdentities(identities: ClientIdentities): Promise<void> {
  await Promise.all(Object.values(identities).map(agent => agent.close()))
}

/** The connection that a client uses of its own accord. */
export function ownIdentity(identities: ClientIdentities, client: ClientId): Agent {
  return client === dataRecipient || client === otherRecipient ? identities[client] : identities.noCertificate
}
