/** Certificates and revocation lists for tests, good and bad, made in memory. EC P-256 unless asked for otherwise. */
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes, webcrypto, X509Certificate } from 'node:crypto'

// @peculiar/x509 finds its algorithms through tsyringe, which wants the `reflect-metadata` polyfill and does not bring it.
// Of that, it needs these three functions: no class it builds has constructor parameters.
const metadata = new WeakMap<object, Map<unknown, unknown>>()
if (!('getMetadata' in Reflect)) {
  const read = (key: unknown, target: object) => metadata.get(target)?.get(key)
  const write = (key: unknown, value: unknown, target: object) => {
    metadata.set(target, (metadata.get(target) ?? new Map()).set(key, value))
  }
  Object.assign(Reflect, { getMetadata: read, getOwnMetadata: read, defineMetadata: write })
}
const x509 = await import('@peculiar/x509')

/** A certificate with its key. */
export interface Issued {
  readonly certificatePem: string
  readonly keyPem: string
  readonly certificate: X509Certificate
  /** RFC 8705 `x5t#S256`: base64url of the SHA-256 of the DER. */
  readonly thumbprint: string
}

export type KeyKind = 'ec-p256' | 'rsa-2048' | 'rsa-1024' | 'rsa-pss-2048' | 'ed25519'

/** Hash of the signature, made by the issuer. Ed25519 has its own and ignores it. */
export type SignatureHashName = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512'

/** Flags of keyUsage (RFC 5280 §4.2.1.3), to be combined with `|`. */
export const KEY_USAGE = {
  digitalSignature: 1,
  keyEncipherment: 4,
  keyAgreement: 16,
  keyCertSign: 32,
  crlSign: 64,
} as const

/** Purposes of extendedKeyUsage (RFC 5280 §4.2.1.12). */
export const EXTENDED_KEY_USAGE = {
  any: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const

export interface CertificateOptions {
  /** Default `client`. */
  readonly commonName?: string
  /** Default none. */
  readonly organization?: string
  readonly sanDns?: readonly string[]
  readonly sanIp?: readonly string[]
  readonly sanUri?: readonly string[]
  /** Flags of `KEY_USAGE`, null for no extension. Default digitalSignature, or that of an authority. */
  readonly keyUsage?: number | null
  /** OIDs, null for no extension. Default clientAuth, or none for an authority. */
  readonly extendedKeyUsage?: readonly string[] | null
  /** Default one hour ago. */
  readonly notBefore?: Date
  /** Default in one day. */
  readonly notAfter?: Date
  readonly key?: KeyKind
  readonly signatureHash?: SignatureHashName
  /** basicConstraints CA:TRUE. Default false. */
  readonly isCa?: boolean
  /** Hex. Default 16 random bytes. */
  readonly serial?: string
  /** Adds a critical extension that no one knows. */
  readonly unknownCriticalExtension?: boolean
  /** In addition to all others. */
  readonly extensions?: readonly ExtensionOptions[]
}

export interface ExtensionOptions {
  readonly oid: string
  readonly critical?: boolean
  /** DER of the extension's value. */
  readonly value: Uint8Array
}

export interface CrlOptions {
  /** Certificates, or serial numbers in hex. Default none. */
  readonly revoked?: readonly (Issued | string)[]
  /** CRLReason of every entry. Default: entries without extensions. */
  readonly reason?: number
  /** Default one hour ago. */
  readonly thisUpdate?: Date
  /** Null for none. Default in one day. */
  readonly nextUpdate?: Date | null
  readonly hash?: SignatureHashName
  readonly extensions?: readonly ExtensionOptions[]
  readonly entryExtensions?: readonly ExtensionOptions[]
}

export interface Authority extends Issued {
  issue(options?: CertificateOptions): Promise<Issued>
  /** An intermediate authority under this one. */
  issueAuthority(commonName: string, options?: CertificateOptions): Promise<Authority>
  /** PEM with the label `X509 CRL`. */
  crl(options?: CrlOptions): Promise<string>
}

/** A root authority: self-signed, with keyCertSign and cRLSign. */
export async function createAuthority(
  commonName = 'Test CA',
  options: CertificateOptions = {},
): Promise<Authority> {
  return newAuthority({ ...options, commonName }, null)
}

/** A certificate signed by its own key; not an authority unless `isCa` says so. */
export async function selfSigned(options: CertificateOptions = {}): Promise<Issued> {
  return (await certify(options, null)).issued
}

type PkiKeys = webcrypto.CryptoKeyPair

interface Signer {
  readonly keys: PkiKeys
  readonly certificate: InstanceType<typeof x509.X509Certificate>
}

const HOUR = 60 * 60 * 1000

async function newAuthority(options: CertificateOptions, issuer: Signer | null): Promise<Authority> {
  const { keyCertSign, crlSign } = KEY_USAGE
  const defaults = { isCa: true, keyUsage: keyCertSign | crlSign, extendedKeyUsage: null }
  const { issued, signer } = await certify({ ...defaults, ...options }, issuer)
  return {
    ...issued,
    issue: async options => (await certify(options ?? {}, signer)).issued,
    issueAuthority: (commonName, options) => newAuthority({ ...options, commonName }, signer),
    crl: options => signCrl(signer, options ?? {}),
  }
}

async function certify(
  options: CertificateOptions,
  issuer: Signer | null,
): Promise<{ issued: Issued; signer: Signer }> {
  const keys = await newKeys(options.key ?? 'ec-p256')
  const signing = await signingKey((issuer?.keys ?? keys).privateKey, options.signatureHash ?? 'SHA-256')
  const subject = [
    ...(options.organization === undefined ? [] : [{ O: [options.organization] }]),
    { CN: [options.commonName ?? 'client'] },
  ]
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: options.serial ?? newSerial(),
    subject,
    issuer: issuer?.certificate.subjectName ?? subject,
    notBefore: options.notBefore ?? new Date(Date.now() - HOUR),
    notAfter: options.notAfter ?? new Date(Date.now() + 24 * HOUR),
    publicKey: keys.publicKey,
    signingKey: signing.key,
    signingAlgorithm: signing.algorithm,
    extensions: [
      ...(options.extensions ?? []).map(toExtension),
      ...certificateExtensions(options),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create((issuer?.keys ?? keys).publicKey),
    ],
  })
  const der = Buffer.from(certificate.rawData)
  const issued = {
    certificatePem: pem('CERTIFICATE', der),
    keyPem: pem('PRIVATE KEY', Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))),
    certificate: new X509Certificate(der),
    thumbprint: createHash('sha256').update(der).digest('base64url'),
  }
  return { issued, signer: { keys, certificate } }
}

function certificateExtensions(options: CertificateOptions): InstanceType<typeof x509.Extension>[] {
  const { keyUsage = KEY_USAGE.digitalSignature, extendedKeyUsage = [EXTENDED_KEY_USAGE.clientAuth] } =
    options
  const names = [
    ...(options.sanDns ?? []).map(value => ({ type: 'dns' as const, value })),
    ...(options.sanIp ?? []).map(value => ({ type: 'ip' as const, value })),
    ...(options.sanUri ?? []).map(value => ({ type: 'url' as const, value })),
  ]
  const extensions: InstanceType<typeof x509.Extension>[] = [
    new x509.BasicConstraintsExtension(options.isCa ?? false, undefined, true),
  ]
  if (keyUsage !== null) extensions.push(new x509.KeyUsagesExtension(keyUsage, true))
  if (extendedKeyUsage !== null) extensions.push(new x509.ExtendedKeyUsageExtension([...extendedKeyUsage]))
  if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names))
  if (options.unknownCriticalExtension === true) {
    // An OID under the enterprise number kept for examples (RFC 5612); the value is an ASN.1 NULL.
    extensions.push(new x509.Extension('1.3.6.1.4.1.32473.1', true, Buffer.from([5, 0])))
  }
  return extensions
}

async function signCrl(signer: Signer, options: CrlOptions): Promise<string> {
  const signing = await signingKey(signer.keys.privateKey, options.hash ?? 'SHA-256')
  const { nextUpdate = new Date(Date.now() + 24 * HOUR), reason } = options
  const entryExtensions = (options.entryExtensions ?? []).map(toExtension)
  const crl = await x509.X509CrlGenerator.create({
    issuer: signer.certificate.subjectName,
    thisUpdate: options.thisUpdate ?? new Date(Date.now() - HOUR),
    ...(nextUpdate === null ? {} : { nextUpdate }),
    entries: (options.revoked ?? []).map(item => ({
      serialNumber: typeof item === 'string' ? item : item.certificate.serialNumber,
      revocationDate: new Date(Date.now() - HOUR),
      ...(reason === undefined ? {} : { reason }),
      ...(entryExtensions.length === 0 ? {} : { extensions: entryExtensions }),
    })),
    extensions: (options.extensions ?? []).map(toExtension),
    signingKey: signing.key,
    signingAlgorithm: signing.algorithm,
  })
  // The library writes `BEGIN CRL`, which Node and OpenSSL do not read.
  return pem('X509 CRL', Buffer.from(crl.rawData))
}

function toExtension(options: ExtensionOptions): InstanceType<typeof x509.Extension> {
  return new x509.Extension(options.oid, options.critical ?? false, options.value)
}

function newKeys(kind: KeyKind): Promise<PkiKeys> {
  const usages: webcrypto.KeyUsage[] = ['sign', 'verify']
  switch (kind) {
    case 'ec-p256':
      return webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, usages)
    case 'ed25519':
      return webcrypto.subtle.generateKey({ name: 'Ed25519' }, true, usages) as Promise<PkiKeys>
    default: {
      const algorithm = {
        name: kind === 'rsa-pss-2048' ? 'RSA-PSS' : 'RSASSA-PKCS1-v1_5',
        modulusLength: kind === 'rsa-1024' ? 1024 : 2048,
        publicExponent: new Uint8Array([1, 0, 1]),
        hash: 'SHA-256',
      }
      return webcrypto.subtle.generateKey(algorithm, true, usages)
    }
  }
}

/** WebCrypto binds an RSA key to one hash, so the key is imported again for the hash of this signature. */
async function signingKey(key: webcrypto.CryptoKey, hash: SignatureHashName) {
  const { name } = key.algorithm
  if (name === 'Ed25519') return { key, algorithm: { name } }
  if (name === 'ECDSA') return { key, algorithm: { name, hash } }
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', key)
  const imported = await webcrypto.subtle.importKey('pkcs8', pkcs8, { name, hash }, true, ['sign'])
  const saltLength = { 'SHA-1': 20, 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 }[hash]
  return { key: imported, algorithm: name === 'RSA-PSS' ? { name, hash, saltLength } : { name, hash } }
}

/** Positive and without a leading zero byte. */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40
  return bytes.toString('hex')
}

/** PEM of DER, as RFC 7468 has it. */
export function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

/** Options of tests that compare with the `openssl` command: skipped where there is none. */
export const needsOpenssl: { skip?: string } = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return {}
  } catch {
    return { skip: 'no openssl command' }
  }
})()

/** A certificate whose signature algorithm (MD2 here) OpenSSL refuses and the reader of the policy does not know. */
export async function withUnknownSignature(host: string): Promise<Pick<Issued, 'certificatePem' | 'keyPem'>> {
  const issued = await selfSigned({
    commonName: host,
    sanDns: [host],
    key: 'rsa-2048',
    extendedKeyUsage: null,
  })
  const der = Buffer.from(issued.certificate.raw)
  const sha256WithRsa = Buffer.from('2a864886f70d01010b', 'hex')
  for (let at = der.indexOf(sha256WithRsa); at !== -1; at = der.indexOf(sha256WithRsa, at + 9))
    der[at + 8] = 2
  der.write('z', der.indexOf(host)) // another issuer: OpenSSL does not look at signatures of self-signed ones
  return { certificatePem: pem('CERTIFICATE', der), keyPem: issued.keyPem }
}
