import type { X509Certificate } from 'node:crypto'
import { canonicalName, commonNameOf } from './distinguished-name.js'

/** The names in a certificate, unescaped and told apart; what could not be read without doubt is left out. */
export interface CertificateNames {
  /** Canonical RFC 4514 text; null when absent or unreadable. */
  readonly subject: string | null
  readonly issuer: string | null
  /** null when there is none, or more than one. */
  readonly commonName: string | null
  /** dNSName entries of subjectAltName, lower case. */
  readonly dns: readonly string[]
  /** uniformResourceIdentifier entries, as they stand. */
  readonly uri: readonly string[]
  /** rfc822Name entries, as they stand. */
  readonly email: readonly string[]
}

/** Reads the names once per connection. */
export function certificateNames(certificate: X509Certificate): CertificateNames {
  const subject = nameOf(certificate.subject)
  const alternatives = subjectAlternativeNames(certificate.subjectAltName)
  return {
    subject,
    issuer: nameOf(certificate.issuer),
    commonName: subject === null ? null : commonNameOf(subject),
    dns: alternatives.filter(({ kind }) => kind === 'DNS').map(({ value }) => value.toLowerCase()),
    uri: alternatives.filter(({ kind }) => kind === 'URI').map(({ value }) => value),
    email: alternatives.filter(({ kind }) => kind === 'email').map(({ value }) => value),
  }
}

/**
 * Node gives a name as one RFC 2253 part a line, most general first, line breaks in values escaped; undefined for an
 * empty name, although its type does not say so.
 */
function nameOf(lines: string | undefined): string | null {
  if (lines === undefined || lines === '') return null
  return canonicalName(lines.split('\n').reverse().join(','))
}

export interface AlternativeName {
  /** As Node writes it: `DNS`, `URI`, `email`, `IP Address`, `DirName`, `othername` and others. */
  readonly kind: string
  readonly value: string
}

/** One entry: the kind, then a JSON string or text in which nothing needed quotes. */
const ENTRY = /([A-Za-z][A-Za-z0-9 ]*):(?:"((?:[^"\\]|\\.)*)"|([^",\\]*))(?:, |$)/y

/**
 * Reads Node's text of subjectAltName. A name with a comma or a quote is a JSON string there, so that nothing inside of a
 * name can pass for a second entry (CVE-2021-44532). When one entry is not understood, none counts.
 */
export function subjectAlternativeNames(text: string | undefined): readonly AlternativeName[] {
  if (text === undefined || text === '') return []
  const names: AlternativeName[] = []
  ENTRY.lastIndex = 0
  while (ENTRY.lastIndex < text.length) {
    const [, kind = '', quoted, plain = ''] = ENTRY.exec(text) ?? []
    if (kind === '') return []
    const value = quoted === undefined ? plain : fromJson(quoted)
    if (value === null) return []
    names.push({ kind, value })
  }
  return names
}

function fromJson(inner: string): string | null {
  try {
    return JSON.parse(`"${inner}"`) as string
  } catch {
    return null
  }
}
