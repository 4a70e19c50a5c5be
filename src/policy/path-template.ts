import { Denial } from '../decision/denials.js'
import { canonicalPath, plainSpelling } from '../request/canonical-path.js'

export type Segment =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'parameter'; readonly name: string }
  | { readonly kind: 'rest'; readonly name: string }

/** What is wrong with a template, in words for the author of the policy. */
export class TemplateProblem {
  readonly message: string
  readonly hint: string
  constructor(message: string, hint: string) {
    this.message = message
    this.hint = hint
  }
}

const PARAMETER = /^\{([A-Za-z][A-Za-z0-9_]*)(\.\.\.)?\}$/

/**
 * Reads `/accounts/{accountId}/documents/{path...}`: `{name}` is exactly one segment, a last `{name...}` is the rest
 * and at least one segment. A template that no canonical path could ever equal is a problem, not a dead route.
 */
export function parseTemplate(template: string): readonly Segment[] | TemplateProblem {
  if (!template.startsWith('/'))
    return new TemplateProblem(`"${template}" does not start with /`, `write /${template}`)
  const texts = template.slice(1).split('/')
  const segments: Segment[] = []
  const names = new Set<string>()
  for (const [index, text] of texts.entries()) {
    const segment = parseSegment(text, index === texts.length - 1)
    if (segment instanceof TemplateProblem) return segment
    if (segment.kind !== 'literal') {
      if (names.has(segment.name))
        return new TemplateProblem(
          `{${segment.name}} stands twice in "${template}"`,
          'give each parameter its own name',
        )
      names.add(segment.name)
    }
    segments.push(segment)
  }
  const example = canonicalPath(exampleOf(segments))
  const problem =
    example instanceof Denial
      ? `no request can match "${template}": ${example.detail}`
      : example.ambiguities.length > 0
        ? `"${template}" holds ${example.ambiguities.join(', ')}, which \`paths\` can allow in parameters only`
        : null
  if (problem !== null)
    return new TemplateProblem(
      problem,
      'write the path as clients send it, without empty segments, dots, ";" or needless escapes',
    )
  const plain = plainSpelling(template)
  if (plain !== template)
    return new TemplateProblem(`"${template}" has another, plain spelling`, `write ${plain}`)
  return segments
}

function parseSegment(text: string, isLast: boolean): Segment | TemplateProblem {
  if (!/[{}*]/.test(text)) return { kind: 'literal', text }
  const match = PARAMETER.exec(text)
  if (match === null)
    return new TemplateProblem(
      `"${text}" is neither a literal nor one parameter`,
      'a parameter fills a whole segment: {name}, or {name...} as the last one',
    )
  const name = match[1] as string
  if (match[2] === undefined) return { kind: 'parameter', name }
  if (!isLast)
    return new TemplateProblem(
      `{${name}...} is not the last segment`,
      'only the last segment can be the rest',
    )
  return { kind: 'rest', name }
}

/** A path that the template matches. */
function exampleOf(segments: readonly Segment[]): string {
  return segments.map(segment => `/${segment.kind === 'literal' ? segment.text : segment.name}`).join('')
}
