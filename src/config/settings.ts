import type { IntrospectionSettings, TokenFormat } from '../policy/introspection.js'
import type { IssuerRules } from '../policy/issuer.js'
import type { KeySettings } from '../policy/key-settings.js'
import type { ErrorFormat } from '../policy/policy.js'
import type { RouteIndex } from '../policy/route-index.js'
import type { UpstreamPolicy } from '../policy/upstream.js'
import type { TerminatorHeader } from '../request/forwarded-certificate.js'
import type { Place, Problem } from './problem.js'

/**
 * Everything that one policy file says, read, checked and frozen, with the contents of the files that it names. All but the
 * index of routes is data without behaviour, so that it can go to another thread or process (`configuration-data.ts`).
 */
export interface Configuration {
  readonly settings: Settings
  readonly routes: RouteIndex
  /** Hex SHA-256 over the policy file and every file it names; the identity of the policy in logs and metrics. */
  readonly hash: string
  /** The policy file and every file it names, as they were read; a change of any of them is a reload. */
  readonly files: readonly FileRead[]
  /** What is allowed but deserves a look; printed by `check` and at start. */
  readonly warnings: readonly Problem[]
}

export interface FileRead {
  /** Absolute. */
  readonly path: string
  /** Hex SHA-256 of the bytes that were read. */
  readonly sha256: string
}

export interface Address {
  readonly host: string
  readonly port: number
}

export interface Settings {
  readonly server: {
    readonly listen: Address
    /** Processes that serve requests; auto: one for each core that may be used. */
    readonly workers: number | 'auto'
    /** Origins such as `https://api.bank.example`, lower case, default port left out; at least one. */
    readonly publicOrigins: readonly string[]
    readonly tls: TlsSettings
    /** Offered to clients beside HTTP/1.1. */
    readonly http2: boolean
    readonly limits: Limits
  }
  /** TLS terminators whose word on client certificates counts; empty: nobody's. */
  readonly terminators: readonly TerminatorSettings[]
  readonly admin: Address
  readonly log: { readonly level: LogLevel }
  /** `defaults.errors`: the format of refusals before a route is known. */
  readonly errors: ErrorFormat
  readonly issuers: ReadonlyMap<string, IssuerSettings>
  readonly upstreams: ReadonlyMap<string, UpstreamPolicy>
}

/** What the public port has from its opening to its end. */
export type ListenerSettings = Pick<Settings['server'], 'limits' | 'http2'>

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type TlsProfile = 'fapi1-advanced' | 'fapi2' | 'compatible'

export interface TlsSettings {
  readonly profile: TlsProfile
  /** At least one; the first serves clients whose SNI names none. */
  readonly certificates: readonly ServerCertificate[]
  readonly clients: ClientTrustSettings
}

export interface ServerCertificate {
  /** File name of the certificate as the policy has it; label of the expiry metric. */
  readonly name: string
  /** PEM: leaf first, then intermediates. */
  readonly cert: string
  readonly key: string
  /** DNS names of the leaf's subjectAltName, lower case, wildcards as they stand (`*.bank.example`). */
  readonly dnsNames: readonly string[]
  /** Seconds since the epoch. */
  readonly notAfter: number
}

export interface ClientTrustSettings {
  readonly trust: 'pki' | 'possession'
  /** PEM certificates, one a string; empty only when no route asks for a certificate chain. Never the system's roots. */
  readonly ca: readonly string[]
  /** null: `crl` is not set. */
  readonly crl: readonly RevocationSettings[] | null
  readonly onExpiredCrl: 'deny' | 'allow'
}

/** One certificate revocation list. */
export interface RevocationSettings {
  /** File name as the policy has it; label of the metric. */
  readonly name: string
  /** Which certificates of `ca` issued it and verify its signature, as `ChainLink.authority` names them. */
  readonly signers: readonly string[]
  /** Serial numbers in the form of `X509Certificate.serialNumber`. */
  readonly revoked: ReadonlySet<string>
  /** Seconds since the epoch. */
  readonly thisUpdate: number
  /** Seconds since the epoch; null when the list does not say. */
  readonly nextUpdate: number | null
}

/** A peer that passes on the certificates of its clients in a header. */
export interface TerminatorSettings {
  readonly networks: readonly TerminatorNetwork[]
  /** What its own certificate must be, all that is not null; null: its address alone decides. */
  readonly certificate: {
    readonly thumbprints: readonly string[] | null
    readonly subject: string | null
  } | null
  readonly header: TerminatorHeader
}

export interface TerminatorNetwork {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

/** Bytes, counts and milliseconds. */
export interface Limits {
  readonly headerBytes: number
  readonly bodyBytes: number
  readonly connections: number
  /** null: no bound. */
  readonly connectionsPerAddress: number | null
  readonly handshakes: number
  /** Handled at a time. */
  readonly requests: number
  /** Used DPoP proofs that are remembered. */
  readonly proofs: number
  /** Failed authentications, for each trusted certificate or address. */
  readonly failures: { readonly requests: number; readonly perSeconds: number }
  readonly connectionAgeMs: number
  readonly handshakeTimeoutMs: number
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly idleTimeoutMs: number
}

export interface IssuerSettings {
  readonly rules: IssuerRules
  readonly tokens: TokenFormat
  /** `introspect`: JWTs that verify are introspected as well. */
  readonly revocation: 'none' | 'introspect'
  /** null: neither tokens nor introspection replies are signed. */
  readonly keys: KeySettings | null
  /** null: only where nothing is introspected. */
  readonly introspection: IntrospectionSettings | null
  /** Where the issuer stands in the policy file, for problems that show only when it is put to use. */
  readonly place: Place
}
