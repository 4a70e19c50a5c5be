import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { keyWeakness } from '../request/certificate-facts.js'
import type { Draft } from './draft.js'
import { certificateNames } from './parse-crl.js'
import { dnsNamesOf, notAfterOf, readCertificates, subjectOf } from './pem.js'
import type { ServerCertificate } from './settings.js'
import type { Path } from './source-tree.js'

const DAY = 24 * 60 * 60
const RENEW_BEFORE = 14 * DAY
const CERTIFICATES: Path = ['server', 'tls', 'certificates']

/** The certificates that clients see, with everything that would make a client or OpenSSL refuse them found out now. */
export async function readServerCertificates(draft: Draft): Promise<readonly ServerCertificate[]> {
  const read: ServerCertificate[] = []
  for (const [index, files] of (draft.parts.server?.tls?.certificates ?? []).entries()) {
    if (files === undefined) continue
    const path = [...CERTIFICATES, index]
    const chain = files.cert === undefined ? null : await readChain(draft, files.cert, [...path, 'cert'])
    const key = files.key === undefined ? null : await readKey(draft, files.key, [...path, 'key'])
    if (chain !== null) checkChain(draft, chain.certificates, [...path, 'cert'], index)
    if (chain === null || key === null) continue
    const [leaf] = chain.certificates
    if (!leaf.checkPrivateKey(key.object))
      draft.problem(
        [...path, 'key'],
        `${files.key} is not the key of ${files.cert}`,
        'name the key that the certificate was made for',
      )
    const dnsNames = dnsNamesOf(leaf)
    read.push({
      name: files.cert as string,
      cert: chain.text,
      key: key.text,
      dnsNames,
      notAfter: notAfterOf(leaf),
    })
  }
  return read
}

interface Chain {
  readonly text: string
  /** Leaf first. */
  readonly certificates: readonly [X509Certificate, ...X509Certificate[]]
}

async function readChain(draft: Draft, name: string, path: Path): Promise<Chain | null> {
  const file = await draft.readFile(name, path)
  if (file === null) return null
  const found = readCertificates(file)
  if (typeof found === 'string') {
    draft.problem(
      path,
      `${name} ${found}`,
      'the file is PEM: the server certificate first, then its intermediates',
    )
    return null
  }
  const [leaf, ...others] = found.map(one => one.certificate)
  if (leaf === undefined) return null
  return { text: found.map(one => one.pem).join(''), certificates: [leaf, ...others] }
}

/** A private key that is not encrypted; null when the file is wrong, and then it is reported. */
export async function readKey(
  draft: Draft,
  name: string,
  path: Path,
): Promise<{ text: string; object: KeyObject } | null> {
  const file = await draft.readFile(name, path)
  if (file === null) return null
  const text = file.toString('latin1')
  if (/ENCRYPTED/.test(text)) {
    draft.problem(path, `${name} is encrypted`, 'decrypt it, and keep the file readable for this user only')
    return null
  }
  try {
    return { text, object: createPrivateKey(text) }
  } catch {
    // What the library says may hold a part of the key.
    draft.problem(
      path,
      `${name} has no private key that can be read`,
      'the file is PEM, such as -----BEGIN PRIVATE KEY-----',
    )
    return null
  }
}

function checkChain(draft: Draft, [leaf, ...others]: Chain['certificates'], path: Path, index: number): void {
  const profile = draft.parts.server?.tls?.profile
  const chain = [leaf, ...others]
  for (const [at, certificate] of chain.entries()) {
    const which = at === 0 ? 'the server certificate' : `intermediate ${at} (${subjectOf(certificate)})`
    const weakness = keyWeakness(certificate)
    if (weakness !== null)
      draft.problem(
        path,
        `${which} has a weak key: ${weakness}`,
        'use RSA of at least 2048 bits, or EC on P-256 or above (RFC 9325 section 4.5)',
      )
    const issuer = chain[at + 1]
    if (issuer !== undefined && !certificate.checkIssued(issuer))
      draft.problem(
        path,
        `the chain is out of order: number ${at + 1} is not issued by number ${at + 2}`,
        'the server certificate first, then each certificate that issued the one before',
      )
    // The signature of a root is not what makes it trusted.
    if (isSelfIssued(certificate) && at > 0) continue
    const hash = signatureHashOf(certificate)
    if (hash === 'sha1' || hash === 'md5')
      draft.problem(
        path,
        `${which} is signed with ${hash.toUpperCase()}`,
        'have it issued again with SHA-256 (RFC 9325 section 4.1)',
      )
    checkDates(draft, certificate, which, path)
  }
  if (profile === 'fapi1-advanced' && index === 0 && leaf.publicKey.asymmetricKeyType !== 'rsa')
    draft.problem(
      path,
      'the first certificate has no RSA key, and the TLS 1.2 cipher suites of fapi1-advanced need one',
      'use an RSA certificate, or the profile fapi2 (FAPI 1.0 Advanced section 8.5)',
    )
  if (index > 0 && dnsNamesOf(leaf).length === 0)
    draft.warning(
      path,
      'this certificate is never chosen: it has no DNS name, and SNI decides',
      'use one with a DNS name in subjectAltName, or make it the first',
    )
  // Node types keyUsage as always present; it is undefined without the extension. The values are the EKU OIDs.
  const usages = leaf.keyUsage as readonly string[] | undefined
  if (usages !== undefined && !usages.includes(SERVER_AUTH) && !usages.includes(ANY_USAGE))
    draft.warning(
      path,
      'the server certificate is not made for servers (extendedKeyUsage has no serverAuth)',
      'clients will refuse it; have it issued with serverAuth',
    )
}

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const ANY_USAGE = '2.5.29.37.0'

function checkDates(draft: Draft, certificate: X509Certificate, which: string, path: Path): void {
  const end = notAfterOf(certificate)
  const day = new Date(end * 1000).toISOString().slice(0, 10)
  if (end <= draft.now) draft.problem(path, `${which} expired on ${day}`, 'renew it')
  else if (end - draft.now < RENEW_BEFORE)
    draft.warning(
      path,
      `${which} expires on ${day}, in ${Math.floor((end - draft.now) / DAY)} days`,
      'renew it',
    )
  const begin = Date.parse(certificate.validFrom)
  if (begin > draft.now * 1000)
    draft.problem(
      path,
      `${which} is not valid before ${new Date(begin).toISOString()}`,
      'look at the clock of this machine, or use the certificate of now',
    )
}

function isSelfIssued(certificate: X509Certificate): boolean {
  return certificate.subject === certificate.issuer
}

function signatureHashOf(certificate: X509Certificate): string {
  try {
    return certificateNames(certificate.raw).signatureHash
  } catch {
    return 'other'
  }
}
