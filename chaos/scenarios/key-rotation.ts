import { join } from 'node:path'
import { mount } from '../../test/support/mounted-volume.js'
import { createAuthority, EXTENDED_KEY_USAGE, type Issued } from '../../test/support/pki.js'
import { HOST, type World } from '../../test/support/postern.js'
import { ACCOUNT, type Asker, type Kind, plan, REFUSED, USUAL } from '../kinds.js'
import type { Seat } from '../load.js'
import { NOTICE_MS, type Scenario } from '../scenario.js'
import { Timeline } from '../timeline.js'
import { Wallet } from '../wallet.js'

/** Files of certificates change, and a client sees it within this time. Milliseconds. */
const SHOWN_MS = 6000

/** Requests of a client whose certificate is trusted at times. */
function guestKind(name: string, isTrusted: Timeline<boolean>): Kind {
  return {
    name,
    weight: 10,
    plan: ({ place, count, wallet }: Asker) =>
      plan({
        kind: name,
        path: `/accounts/${place}-${count}`,
        subject: wallet.subject,
        credentials: `Bearer ${wallet.token('good')}`,
        statuses: (sentAt, endedAt) => {
          const possible = [...isTrusted.during(sentAt - NOTICE_MS, endedAt)]
          return new Set(possible.map(trusted => (trusted ? 200 : 401)))
        },
      }),
  }
}

/** Tokens of a key that signs no more: good while the issuer still publishes it. */
function retiredKind(published: Timeline<ReadonlySet<string>>): Kind {
  return {
    name: 'retired',
    weight: 6,
    plan: ({ place, count, wallet }: Asker) => {
      wallet.token('good')
      const { retired } = wallet
      if (retired === null) return null
      return plan({
        kind: 'retired',
        path: `/accounts/${place}-${count}`,
        subject: wallet.subject,
        credentials: `Bearer ${retired.token}`,
        statuses: (sentAt, endedAt) => {
          const possible = [...published.during(sentAt - NOTICE_MS, endedAt)]
          return new Set(possible.map(kids => (kids.has(retired.kid) ? 200 : 401)))
        },
      })
    },
  }
}

const newServerCertificate = ({ serverCa }: World): Promise<Issued> =>
  serverCa.issue({
    commonName: HOST,
    sanDns: [HOST],
    key: 'rsa-2048',
    extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
  })

const secretOf = ({ certificatePem, keyPem }: Issued) => ({ 'tls.crt': certificatePem, 'tls.key': keyPem })

export const KEY_ROTATION: Scenario = {
  name: 'key rotation',
  fault:
    'In turn: the issuer signs with a new key and drops the one before the last; the certificate of the server is renewed; an authority of clients comes and goes; a certificate is revoked, and is not any more.',
  allowance:
    'Nothing for usual clients. Clients whose authority or certificate comes and goes, and tokens of a dropped key: either answer within three seconds after the change. Requests that cross the end of their idle connection (the trust has changed) are sent again.',
  prepare: async ground => {
    const { world } = ground
    const { issuer, clientCa, directory } = world
    const visitingCa = await createAuthority('Visiting CA')
    const [visitor, suspect] = await Promise.all([visitingCa.issue(), clientCa.issue()])
    const areVisitorsTrusted = new Timeline(true)
    const isSuspectTrusted = new Timeline(true)
    const published = new Timeline<ReadonlySet<string>>(new Set(issuer.keys.map(({ kid }) => kid)))
    let revision = 0
    const writeTrust = async () => {
      const authorities = areVisitorsTrusted.now ? [clientCa, visitingCa] : [clientCa]
      const lists = await Promise.all(
        authorities.map(authority =>
          authority.crl({ revoked: authority === clientCa && !isSuspectTrusted.now ? [suspect] : [] }),
        ),
      )
      const ca = authorities.map(({ certificatePem }) => certificatePem).join('')
      mount(join(directory, 'trust'), { 'ca.pem': ca, 'crl.pem': lists.join('') }, ++revision)
    }
    const writeSecret = (certificate: Issued) =>
      mount(join(directory, 'tls'), secretOf(certificate), ++revision)
    await writeTrust()
    writeSecret(world.server)

    const guestSeat = (place: number): Seat => {
      const isVisitor = place % 20 === 9
      const identity = isVisitor ? visitor : suspect
      const kind = isVisitor
        ? guestKind('visitor', areVisitorsTrusted)
        : guestKind('suspect', isSuspectTrusted)
      const wallet = new Wallet(issuer, `user-${place}`, identity, world.otherClient)
      return {
        identity,
        wallet,
        opaque: '',
        kinds: [kind, ...REFUSED.filter(({ name }) => name === 'unrouted')],
      }
    }
    return {
      policy: {
        certificates: '[{ cert: tls/tls.crt, key: tls/tls.key }]',
        clients: '{ trust: pki, ca: [trust/ca.pem], crl: [trust/crl.pem] }',
      },
      kinds: [...USUAL, ACCOUNT, retiredKind(published)],
      guests: guestSeat,
      explains: () => false,
      disturb: async stage => {
        const rotations: readonly (() => Promise<void>)[] = [
          async () => {
            const keys = [...issuer.rotate(), ...issuer.keys]
            issuer.jwks = { keys: keys.map(({ jwk }) => jwk) }
            published.set(new Set(keys.map(({ kid }) => kid)))
          },
          async () => {
            areVisitorsTrusted.set(!areVisitorsTrusted.now)
            await writeTrust()
          },
          async () => {
            const next = await newServerCertificate(world)
            writeSecret(next)
            await stage.expect(
              'the new certificate of the server is not shown',
              async () => {
                const client = await stage.connect()
                const serial = client?.serverSerial
                client?.destroy()
                return serial === next.certificate.serialNumber
              },
              SHOWN_MS,
            )
          },
          async () => {
            isSuspectTrusted.set(!isSuspectTrusted.now)
            await writeTrust()
          },
        ]
        for (let round = 0; !stage.isOver(); round++) {
          await stage.pause(1000)
          await rotations[round % rotations.length]?.()
        }
      },
    }
  },
}
