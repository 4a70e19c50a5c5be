import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { loadConfiguration } from '../config/load.js'
import type { Configuration } from '../config/settings.js'
import { DENIALS } from '../decision/denials.js'
import { sayProblems, scopesInWords } from './check.js'
import { type Invocation, policyFile } from './commands.js'
import { type Evidence, type Explanation, explainRequest } from './explain-request.js'
import { coloured, EXIT, fail, print, table } from './output.js'

/** `postern explain METHOD PATH`: the same functions as the live path, every check evaluated. */
export async function explain(invocation: Invocation): Promise<number> {
  const { positionals, values } = invocation
  const [method, path] = positionals as [string, string]
  if (values.token !== undefined && values.claims !== undefined) {
    fail('--token and --claims exclude each other', 'a token brings its claims')
    return EXIT.usage
  }
  if (values.proof !== undefined && values.token === undefined) {
    fail('--proof needs --token', 'a DPoP proof holds the hash of the token that it came with')
    return EXIT.usage
  }
  const now = values.at === undefined ? Date.now() / 1000 : Date.parse(String(values.at)) / 1000
  if (Number.isNaN(now)) {
    fail(`--at ${values.at} is no time`, 'write it like 2026-12-01T00:00:00Z')
    return EXIT.usage
  }
  const evidence = await readEvidence(values)
  if (evidence === null) return EXIT.usage
  const loaded = await loadConfiguration(policyFile(invocation), invocation.environment)
  if (!('settings' in loaded)) {
    sayProblems(loaded)
    return EXIT.configuration
  }
  const explanation = await explainRequest(loaded, method, path, evidence, now)
  if (values.json === true) print(JSON.stringify(explanation, null, 2))
  else printExplanation(explanation, loaded)
  return EXIT.ok
}

/** null when a file cannot be read as what it should be; that has been said then. */
async function readEvidence(values: Invocation['values']): Promise<Evidence | null> {
  const read = (name: unknown) => (typeof name === 'string' ? readFile(name, 'utf8') : Promise.resolve(null))
  try {
    const [token, claims, certificate, proof] = await Promise.all([
      read(values.token),
      read(values.claims),
      read(values.cert),
      read(values.proof),
    ])
    return {
      token: token?.trim() ?? null,
      claims: claims === null ? null : claimsOf(claims),
      certificate: certificate === null ? null : certificateOf(certificate),
      proof: proof?.trim() ?? null,
    }
  } catch (problem) {
    fail(
      (problem as Error).message,
      '--token, --claims, --cert and --proof name files; the claims are one JSON object, the certificate is PEM',
    )
    return null
  }
}

function claimsOf(text: string): NonNullable<Evidence['claims']> {
  const claims: unknown = JSON.parse(text)
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims))
    throw new Error('the file of --claims holds no JSON object')
  return claims as NonNullable<Evidence['claims']>
}

function certificateOf(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch {
    throw new Error('the file of --cert holds no certificate')
  }
}

function markOf(fact: string): string {
  return fact.startsWith('not checked') ? coloured('yellow', '?') : coloured('red', '✗')
}

function printExplanation(
  { path, route, outcome, code, status, checks }: Explanation,
  { routes }: Configuration,
): void {
  print(`path     ${path ?? '(more than one reading)'}`)
  print(`route    ${route ?? '(none)'}`)
  const found = [...routes.routes, ...routes.ownRoutes].find(({ id }) => id === route)
  const token = found?.token
  if (token)
    print(
      `wants    ${token.flows.join(' or ')}; scopes: ${scopesInWords(token.scopes)}; binding ${token.binding}`,
    )
  if (found)
    print(
      `profile  ${found.profile}; headers ${found.headers}${found.metadata === null ? '' : '; answered here (RFC 9728)'}`,
    )
  print('')
  print(
    table(checks.map(({ check, pass, fact }) => [pass ? coloured('green', '✓') : markOf(fact), check, fact])),
  )
  print('')
  if (code === null) print(coloured(outcome === 'allowed' ? 'green' : 'yellow', outcome))
  else print(`${coloured('red', outcome)}  ${status} ${code}: ${DENIALS[code].hint}`)
}
