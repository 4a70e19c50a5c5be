import { makeDevelopmentCertificates } from './certs.js'
import type { Invocation } from './commands.js'
import { EXIT, print, say, table } from './output.js'

/** `postern certs [DIR]`. */
export async function certs({ positionals, values }: Invocation): Promise<number> {
  const written = await makeDevelopmentCertificates(positionals[0] ?? 'certs', {
    force: values.force === true,
  })
  print(table(written.map(({ path, what }) => [path, what])))
  say('These are for development only: the keys lie unprotected on disk.')
  return EXIT.ok
}
