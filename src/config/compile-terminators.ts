import type { Draft } from './draft.js'
import type { TerminatorSettings } from './settings.js'
import type { Path } from './source-tree.js'

const TERMINATORS: Path = ['trustedTerminators']

/** The TLS terminators whose word on client certificates counts. Off unless written, and never without a warning. */
export function compileTerminators(draft: Draft): readonly TerminatorSettings[] {
  const compiled: TerminatorSettings[] = []
  for (const [index, parts] of (draft.parts.trustedTerminators ?? []).entries()) {
    const path = [...TERMINATORS, index]
    if (parts?.address === undefined || parts.header === undefined) continue
    const thumbprints = parts.certificate?.['x5t#S256'] ?? null
    const subject = parts.certificate?.subject ?? null
    const terminator: TerminatorSettings = {
      networks: parts.address,
      header: parts.header,
      certificate: thumbprints === null && subject === null ? null : { thumbprints, subject },
    }
    if (terminator.certificate === null && parts.certificate !== undefined) {
      checkEmptyCertificate(draft, [...path, 'certificate'])
      continue
    }
    checkTerminator(draft, path, terminator)
    compiled.push(terminator)
  }
  return compiled
}

/** A condition that names nothing would let any certificate do, unless its members are wrong and reported. */
function checkEmptyCertificate(draft: Draft, path: Path): void {
  if (draft.isBroken([...path, 'x5t#S256']) || draft.isBroken([...path, 'subject'])) return
  draft.problemAtKey(
    path,
    '"certificate" names none, so that any would do',
    'write x5t#S256 or subject, or take it out',
  )
}

function checkTerminator(
  draft: Draft,
  path: Path,
  { networks, certificate, header }: TerminatorSettings,
): void {
  const clients = draft.parts.server?.tls?.clients
  if (certificate === null && networks.some(({ prefix }) => prefix === 0))
    draft.problem(
      [...path, 'address'],
      'everybody would be a trusted terminator, and could claim any client certificate',
      'name the addresses of your terminators, or their certificate',
    )
  if (certificate !== null && certificate.subject !== null && clients?.trust === 'possession')
    draft.problem(
      [...path, 'certificate', 'subject'],
      'with trust: possession anybody can have a certificate of this subject',
      'name its x5t#S256',
    )
  const field = header === 'xfcc' ? 'x-forwarded-client-cert' : 'Client-Cert'
  const who = networks.map(({ address, prefix }) => `${address}/${prefix}`).join(', ')
  draft.findings.warning(
    draft.keyPlace(path),
    `${certificate === null ? 'whoever' : 'whoever has that certificate and'} connects from ${who} can claim any client certificate in ${field}`,
    'make sure that the terminator removes this header from what its clients send, and that only the terminator is there',
  )
}
