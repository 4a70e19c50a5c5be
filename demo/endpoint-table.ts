/** Reads the endpoint tables of api-security.md: the demo and its check take every route and scope from there. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { projectRoot } from './project-root.js'

export type OAuthFlow = 'authorization_code' | 'client_credentials'

export type ScopeRule =
  | { readonly kind: 'none' }
  | { readonly kind: 'any'; readonly scopes: readonly string[] }
  | { readonly kind: 'all'; readonly scopes: readonly string[]; readonly optional: readonly string[] }

export type EndpointRow = {
  readonly method: string
  /** A path template such as `/fdx/v6/core/accounts/{accountId}`. */
  readonly endpoint: string
  readonly mutualTls: boolean
  readonly scopes: ScopeRule
  readonly flow: OAuthFlow
  /** Line in the file, counted from 1. */
  readonly line: number
}

const columns = ['method', 'endpoint', 'security protocol', 'scopes required', 'oauth flow'] as const

export const endpointTableFile = join(projectRoot, 'demo/api-security.md')

export function readEndpointTable(file = endpointTableFile): EndpointRow[] {
  const rows = parseEndpointTables(readFileSync(file, 'utf8'))
  if (rows.length === 0) throw new Error(`${file}: no table with the columns ${columns.join(', ')}`)
  return rows
}

export function parseEndpointTables(markdown: string): EndpointRow[] {
  const rows: EndpointRow[] = []
  let inEndpointTable = false
  for (const [index, text] of markdown.split(/\r?\n/).entries()) {
    const cells = tableCells(text)
    if (!cells) {
      inEndpointTable = false
    } else if (columns.every((name, i) => cells[i]?.toLowerCase() === name)) {
      inEndpointTable = true
    } else if (inEndpointTable && !cells.every(cell => /^:?-+:?$/.test(cell))) {
      rows.push(parseRow(cells, index + 1))
    }
  }
  return rows
}

/** Every scope that some row names, required or optional. */
export function scopesOf(rows: readonly EndpointRow[]): string[] {
  return [...new Set(rows.flatMap(row => namedScopes(row.scopes)))]
}

export function namedScopes(rule: ScopeRule): readonly string[] {
  if (rule.kind === 'none') return []
  return rule.kind === 'any' ? rule.scopes : [...rule.scopes, ...rule.optional]
}

function tableCells(text: string): string[] | undefined {
  const trimmed = text.trim()
  if (!trimmed.startsWith('|') || !trimmed.endsWith('|') || trimmed.length < 2) return undefined
  return trimmed
    .slice(1, -1)
    .split('|')
    .map(cell => cell.trim())
}

function parseRow(cells: readonly string[], line: number): EndpointRow {
  const [method = '', endpoint = '', security = '', scopes = '', flow = ''] = cells
  const template = endpoint.replaceAll('`', '')
  if (!/^[A-Z]+$/.test(method)) throw new Error(`line ${line}: "${method}" is not a method`)
  if (!template.startsWith('/')) throw new Error(`line ${line}: "${endpoint}" is not a path`)
  return {
    method,
    endpoint: template,
    mutualTls: parseSecurity(security, line),
    scopes: parseScopes(scopes, line),
    flow: parseFlow(flow, line),
    line,
  }
}

function parseSecurity(text: string, line: number): boolean {
  const names = text.split(',').map(name => name.trim().toLowerCase())
  const unknown = names.find(name => name !== 'mtls' && name !== 'oauth 2.0')
  if (unknown !== undefined) throw new Error(`line ${line}: unknown security protocol "${unknown}"`)
  if (!names.includes('oauth 2.0')) throw new Error(`line ${line}: this demo walks OAuth 2.0 rows only`)
  return names.includes('mtls')
}

function parseFlow(text: string, line: number): OAuthFlow {
  if (/^authorization code$/i.test(text)) return 'authorization_code'
  if (/^client credentials$/i.test(text)) return 'client_credentials'
  throw new Error(`line ${line}: unknown OAuth flow "${text}"`)
}

/** `a` or `b` → any; `a`, `b` → all; `a`, `b` (optional) → all of a, with b optional; NA → none. */
function parseScopes(text: string, line: number): ScopeRule {
  if (/^NA$/i.test(text)) return { kind: 'none' }
  const required: string[] = []
  const optional: string[] = []
  const separators = new Set<string>()
  let end = 0
  for (const match of text.matchAll(/`([^`]+)`\s*(\(optional\))?/gi)) {
    const between = text.slice(end, match.index).trim().toLowerCase()
    if (end === 0 ? between !== '' : between !== ',' && between !== 'or') {
      throw new Error(`line ${line}: cannot read the scopes at "${between}"`)
    }
    if (end > 0) separators.add(between)
    const list = match[2] ? optional : required
    list.push(match[1] ?? '')
    end = match.index + match[0].length
  }
  if (end === 0 || text.slice(end).trim() !== '')
    throw new Error(`line ${line}: cannot read the scopes "${text}"`)
  if (separators.size > 1) throw new Error(`line ${line}: "or" and "," in one cell have no agreed order`)
  if (!separators.has('or')) return { kind: 'all', scopes: required, optional }
  if (optional.length > 0) throw new Error(`line ${line}: "or" beside "(optional)" has no agreed meaning`)
  return { kind: 'any', scopes: required }
}
