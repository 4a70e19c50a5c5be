import { constants, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { ServerCertificate, TlsProfile, TlsSettings } from '../config/settings.js'

const TLS13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']
const RSA_GCM = ['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES256-GCM-SHA384']
const ECDSA_GCM = ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384']
const CHACHA = ['ECDHE-RSA-CHACHA20-POLY1305', 'ECDHE-ECDSA-CHACHA20-POLY1305']

/**
 * TLS 1.2 suites by profile: FAPI 1.0 Part 2 section 8.5 (without its DHE pair, which the conformance suite warns
 * of), FAPI 2.0 section 5.2.2 with RFC 9325 section 4.2. The TLS 1.3 suites are all recommended.
 */
const SUITES: Readonly<Record<TlsProfile, readonly string[]>> = {
  'fapi1-advanced': RSA_GCM,
  fapi2: [...RSA_GCM, ...ECDSA_GCM],
  compatible: [...RSA_GCM, ...ECDSA_GCM, ...CHACHA],
}

/** Signature algorithms for handshakes and client chains; SHA-1 is not among them (RFC 9325 section 4.1). */
const SIGNATURES = [
  'ecdsa_secp256r1_sha256',
  'ecdsa_secp384r1_sha384',
  'ecdsa_secp521r1_sha512',
  'ed25519',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
  'rsa_pss_pss_sha256',
  'rsa_pss_pss_sha384',
  'rsa_pss_pss_sha512',
  'rsa_pkcs1_sha256',
  'rsa_pkcs1_sha384',
  'rsa_pkcs1_sha512',
]

/** Server certificates as TLS contexts. */
export interface TlsContexts {
  /** Options of the context for clients whose SNI names no certificate; for `https.createServer` and `setSecureContext`. */
  readonly options: SecureContextOptions
  /** The context for a server name, or undefined for the default one. */
  readonly forServerName: (name: string) => SecureContext | undefined
}

/** Compiles the TLS settings. Throws when OpenSSL refuses a certificate, such as one of a weak key. */
export function tlsContexts(settings: TlsSettings): TlsContexts {
  const [first, ...others] = settings.certificates
  if (first === undefined) throw new Error('no server certificate')
  const algorithms = algorithmsOf(settings, first)
  const options = contextOptions(settings, first, algorithms)
  // Tried here, before anything is swapped: what makes a context of these options later cannot refuse any more.
  createSecureContext(options)
  const named = others.map(certificate => ({
    names: certificate.dnsNames,
    context: createSecureContext(contextOptions(settings, certificate, algorithms)),
  }))
  const isFirst = (name: string) => first.dnsNames.some(pattern => nameMatches(pattern, name))
  return {
    options,
    forServerName: name => {
      const wanted = name.toLowerCase()
      if (isFirst(wanted)) return undefined
      return named.find(({ names }) => names.some(pattern => nameMatches(pattern, wanted)))?.context
    },
  }
}

interface Algorithms {
  /** Of TLS 1.2. */
  readonly suites: readonly string[]
  readonly signatures: readonly string[]
}

/**
 * The algorithms of the profile, those for the default certificate's kind of key last. Node puts the certificate of a
 * server name beside the default one, and of two kinds of key OpenSSL takes the one that comes first here: the default
 * certificate would be shown under the names of others.
 */
function algorithmsOf({ profile }: TlsSettings, { cert }: ServerCertificate): Algorithms {
  const defaultIsRsa = new X509Certificate(cert).publicKey.asymmetricKeyType?.startsWith('rsa') === true
  const defaultLast = (names: readonly string[]) => [
    ...names.filter(name => isForRsa(name) !== defaultIsRsa),
    ...names.filter(name => isForRsa(name) === defaultIsRsa),
  ]
  return { suites: defaultLast(SUITES[profile]), signatures: defaultLast(SIGNATURES) }
}

/** Of a suite or a signature algorithm. */
function isForRsa(name: string): boolean {
  return name.startsWith('rsa_') || name.includes('-RSA-')
}

function contextOptions(
  settings: TlsSettings,
  { cert, key }: ServerCertificate,
  { suites, signatures }: Algorithms,
): SecureContextOptions {
  return {
    cert,
    key,
    // Always set, if only to nothing: without `ca` Node would trust every public CA (REQUIREMENTS TLS-20).
    ca: [...settings.clients.ca],
    minVersion: 'TLSv1.2',
    // Level 2 makes OpenSSL refuse keys below 112 bits of strength and SHA-1 in client chains.
    ciphers: [...TLS13, ...suites, '@SECLEVEL=2'].join(':'),
    honorCipherOrder: true,
    ecdhCurve: 'X25519:P-256:P-384',
    sigalgs: signatures.join(':'),
    // No tickets: a resumed session is not verified again, and may never have had a certificate (REQUIREMENTS TLS-12).
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  }
}

/** RFC 9525 section 6.3: a wildcard is a whole first label. */
function nameMatches(pattern: string, name: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === name
  const dot = name.indexOf('.')
  return dot > 0 && name.slice(dot) === pattern.slice(1)
}
