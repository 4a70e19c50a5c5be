import { dirname, resolve } from 'node:path'
import { checkDpop } from './compile-dpop.js'
import { checkUseOfIssuers, compileIssuers } from './compile-issuers.js'
import { compileRoutes } from './compile-routes.js'
import { checkAdmin, compileServer } from './compile-server.js'
import { compileTerminators } from './compile-terminators.js'
import { compileUpstreams } from './compile-upstreams.js'
import { deepFreeze } from './configuration-data.js'
import { Draft } from './draft.js'
import { Findings } from './findings.js'
import { interpolate } from './interpolate.js'
import { fileRead, hashOf, NamedFiles, readBounded, Unreadable } from './named-files.js'
import type { Problem } from './problem.js'
import { readYaml } from './read-yaml.js'
import { policySchema } from './schema.js'
import type { Configuration, Settings } from './settings.js'
import { validate } from './validate.js'
import { MAX_YAML_BYTES } from './yaml-bounds.js'

/**
 * Reads a policy file and every file it names. Returns the configuration, or every problem there is, in the order of the file.
 * Never rejects for what files hold; `now` is seconds since the epoch.
 */
export async function loadConfiguration(
  file: string,
  environment: NodeJS.ProcessEnv,
  now = Date.now() / 1000,
): Promise<Configuration | readonly Problem[]> {
  const findings = new Findings()
  const path = resolve(file)
  const bytes = await readBounded(path, MAX_YAML_BYTES)
  if (bytes instanceof Unreadable) {
    findings.problem({ file, line: 1, column: 1 }, `the policy file ${bytes.reason}`, bytes.hint)
    return findings.problems
  }
  const written = readYaml(bytes, file, findings)
  if (written === null) return findings.problems
  const { tree, used } = interpolate(written, environment, findings)
  const files = new NamedFiles(dirname(path))
  const draft = new Draft(tree, validate(policySchema, tree, findings), findings, files, now)

  const { routes, index } = compileRoutes(draft)
  const upstreams = await compileUpstreams(draft)
  const issuers = await compileIssuers(draft)
  const server = await compileServer(draft, routes)
  const terminators = compileTerminators(draft)
  const admin = draft.parts.admin?.listen
  const level = draft.parts.log?.level
  checkAdmin(draft, admin)
  checkUseOfIssuers(draft, routes)
  checkDpop(draft)

  const { problems, warnings } = findings
  if (problems.length > 0) return problems
  if (index === null || server === null || admin === undefined || level === undefined)
    throw new Error('a part of the policy is missing and no problem says so')
  const errors = draft.parts.defaults?.errors ?? 'fdx'
  const settings: Settings = { server, terminators, admin, log: { level }, errors, issuers, upstreams }
  const environmentUsed = [...used].sort(([a], [b]) => (a < b ? -1 : 1))
  const named = await files.all()
  return deepFreeze({
    settings,
    routes: index,
    hash: hashOf([
      ['policy', bytes],
      ...environmentUsed,
      ...named.map(({ name, contents }) => [name, contents] as const),
    ]),
    files: await Promise.all(
      [{ path, contents: bytes }, ...named].map(({ path, contents }) => fileRead(path, contents)),
    ),
    warnings,
  })
}
