import type { X509Certificate } from 'node:crypto'
import { fingerprintOf, keyWeakness } from '../request/certificate-facts.js'
import type { Draft } from './draft.js'
import { MAX_CRL_BYTES } from './named-files.js'
import { certificateNames, parseCrlFile, type RevocationList } from './parse-crl.js'
import { notAfterOf, type PemCertificate, readCertificates, subjectOf } from './pem.js'
import type { ClientTrustSettings, RevocationSettings } from './settings.js'
import type { Path } from './source-tree.js'

const CLIENTS: Path = ['server', 'tls', 'clients']

/**
 * Who vouches for client certificates. `needsCa`: some route cannot work without a trusted client certificate. The system's
 * roots are never taken: anybody can have a certificate of a public authority.
 */
export async function readClientTrust(draft: Draft, needsCa: boolean): Promise<ClientTrustSettings> {
  const parts = draft.parts.server?.tls?.clients
  const trust = parts?.trust ?? 'pki'
  const caPath = [...CLIENTS, 'ca']
  if (trust === 'possession')
    for (const name of ['ca', 'crl'] as const)
      if ((parts?.[name]?.length ?? 0) > 0)
        draft.problemAtKey(
          [...CLIENTS, name],
          `"${name}" has no effect with trust: possession`,
          'take it out, or write trust: pki',
        )
  const authorities: PemCertificate[] = []
  let whole = !draft.isBroken([...CLIENTS, 'trust']) && !draft.isBroken(caPath)
  for (const [index, name] of (parts?.ca ?? []).entries()) {
    const found = await readAuthorities(draft, name, [...caPath, index])
    if (found === null) whole = false
    else authorities.push(...found)
  }
  if (trust === 'pki' && needsCa && whole && authorities.length === 0)
    draft.problemAtKey(
      caPath,
      'routes ask for a client certificate, and no authority is named that could vouch for one',
      "name PEM files in server.tls.clients.ca; the system's roots are never used, because anybody can have a certificate of theirs",
    )
  const crl = await readRevocationLists(draft, parts?.crl ?? [], whole ? authorities : null)
  return { trust, ca: authorities.map(one => one.pem), crl, onExpiredCrl: parts?.onExpiredCrl ?? 'deny' }
}

async function readAuthorities(
  draft: Draft,
  name: string,
  path: Path,
): Promise<readonly PemCertificate[] | null> {
  const file = await draft.readFile(name, path)
  if (file === null) return null
  const found = readCertificates(file)
  if (typeof found === 'string') {
    draft.problem(path, `${name} ${found}`, 'the file is PEM: certificates of authorities')
    return null
  }
  for (const { certificate } of found) {
    const subject = subjectOf(certificate)
    if (!certificate.ca)
      draft.problem(
        path,
        `${name}: "${subject}" is not the certificate of an authority`,
        'name the certificate that issued it (basicConstraints CA:TRUE)',
      )
    const weakness = keyWeakness(certificate)
    if (weakness !== null)
      draft.problem(
        path,
        `${name}: "${subject}" has a weak key: ${weakness}`,
        'use an authority with RSA of at least 2048 bits, or EC on P-256 or above (RFC 9325 section 4.5)',
      )
    if (notAfterOf(certificate) <= draft.now)
      draft.warning(
        path,
        `${name}: "${subject}" expired on ${dayOf(notAfterOf(certificate))}`,
        'certificates that it issued are refused; take it out or renew it',
      )
  }
  return found
}

/** `authorities` is null when the bundle is not wholly known; then nothing is said of who signed a list. */
async function readRevocationLists(
  draft: Draft,
  names: readonly string[],
  authorities: readonly PemCertificate[] | null,
): Promise<ClientTrustSettings['crl']> {
  // `crl: []` is the same as no crl: there is no authority to cover.
  if (names.length === 0) return null
  const lists: { name: string; list: RevocationList }[] = []
  let whole = true
  for (const [index, name] of names.entries()) {
    const path = [...CLIENTS, 'crl', index]
    const found = await readLists(draft, name, path)
    if (found === null) whole = false
    for (const list of found ?? []) {
      if (authorities !== null) checkSigner(draft, name, path, list, authorities, lists)
      checkAge(draft, name, path, list)
      lists.push({ name, list })
    }
  }
  if (whole && authorities !== null)
    for (const { certificate } of authorities)
      if (!lists.some(({ list }) => list.isSignedBy(certificate)))
        draft.problemAtKey(
          [...CLIENTS, 'crl'],
          `no revocation list is signed by "${subjectOf(certificate)}"`,
          'name a list for every authority of ca, or take the authority out: its certificates could not be revoked',
        )
  return lists.map(one => settingsOf(one, authorities ?? []))
}

async function readLists(draft: Draft, name: string, path: Path): Promise<readonly RevocationList[] | null> {
  const file = await draft.readFile(name, path, MAX_CRL_BYTES)
  if (file === null) return null
  try {
    return parseCrlFile(file)
  } catch (error) {
    draft.problem(
      path,
      `${name} is not a revocation list that can be used: ${(error as Error).message}`,
      'name a complete list of one authority, PEM or DER',
    )
    return null
  }
}

/** Signatures are verified here and not when a gate is made: that is no work for the thread that serves requests. */
function settingsOf(
  { name, list }: { readonly name: string; readonly list: RevocationList },
  authorities: readonly PemCertificate[],
): RevocationSettings {
  const signers = authorities.filter(({ certificate }) => list.isSignedBy(certificate))
  const { revoked, thisUpdate, nextUpdate } = list
  return {
    name,
    signers: signers.map(one => fingerprintOf(one.certificate)),
    revoked,
    thisUpdate,
    nextUpdate,
  }
}

function checkSigner(
  draft: Draft,
  name: string,
  path: Path,
  list: RevocationList,
  authorities: readonly PemCertificate[],
  others: readonly { readonly name: string; readonly list: RevocationList }[],
): void {
  const signer = authorities.find(({ certificate }) => list.isSignedBy(certificate))?.certificate
  if (signer === undefined) {
    const named = authorities.find(({ certificate }) => hasSubject(certificate, list.issuer))?.certificate
    if (named === undefined)
      draft.problem(
        path,
        `${name} is the list of an authority that is not in ca`,
        'name its authority in ca, or take the list out',
      )
    else
      draft.problem(
        path,
        `${name} says it comes from "${subjectOf(named)}", and that authority did not sign it`,
        'get the list from the authority again; its certificate must allow signing lists (keyUsage cRLSign)',
      )
    return
  }
  const other = others.find(({ list: before }) => before.isSignedBy(signer))
  if (other !== undefined)
    draft.warning(
      path,
      `${name} is a second list of "${subjectOf(signer)}", after ${other.name}`,
      'the newer one counts, by its thisUpdate; take the other out',
    )
}

function checkAge(draft: Draft, name: string, path: Path, list: RevocationList): void {
  if (list.nextUpdate !== null && list.nextUpdate <= draft.now) {
    const effect =
      draft.parts.server?.tls?.clients?.onExpiredCrl === 'allow'
        ? 'certificates revoked since then are let in (onExpiredCrl: allow)'
        : 'every client of its authority is refused until a newer one is there (onExpiredCrl: deny)'
    draft.warning(path, `${name} is out of date since ${dayOf(list.nextUpdate)}`, effect)
  }
  if (list.thisUpdate > draft.now + 300)
    draft.warning(
      path,
      `${name} is dated in the future: ${dayOf(list.thisUpdate)}`,
      'look at the clock of this machine',
    )
}

function hasSubject(certificate: X509Certificate, name: string): boolean {
  try {
    return certificateNames(certificate.raw).subject === name
  } catch {
    return false
  }
}

function dayOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10)
}
