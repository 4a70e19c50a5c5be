import type { Draft } from './draft.js'
import type { Path } from './source-tree.js'

/** The secret in a file, without one line break at its end; null when there is none, and then it is reported. It is never repeated. */
export async function readSecret(draft: Draft, name: string, path: Path): Promise<string | null> {
  const file = await draft.readFile(name, path)
  if (file === null) return null
  await warnOfReaders(draft, name, path)
  const secret = file.toString('utf8').replace(/\r?\n$/, '')
  const fault = secretFault(secret)
  if (fault === null) return secret
  draft.problem(path, `${name} ${fault}`, 'the file has one line, and that is the secret')
  return null
}

/** Warns of a file with a secret that everybody on the machine may read. */
export async function warnOfReaders(draft: Draft, name: string, path: Path): Promise<void> {
  if (await draft.files.isWorldReadable(name))
    draft.warning(
      path,
      `${name} holds a secret, and everybody on this machine may read it`,
      `chmod o-r ${name}`,
    )
}

/** RFC 6749 appendix A.2: printable characters. */
function secretFault(secret: string): string | null {
  if (secret === '') return 'is empty'
  return /[\p{Cc}\uFFFD]/u.test(secret) ? 'has more than one line, or what is no text' : null
}
