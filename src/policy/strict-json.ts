export type JsonObject = Readonly<Record<string, unknown>>

/** Why a text is not one plain JSON object; for the operator. */
export class JsonProblem {
  readonly detail: string

  constructor(detail: string) {
    this.detail = detail
  }
}

/** Objects and arrays inside each other; the root counts as 1. */
export const MAX_JSON_DEPTH = 16

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads UTF-8 JSON whose root is an object. Refuses duplicate member names at any depth, because two parsers may
 * choose differently (RFC 8259 section 4, RFC 7515 section 4), and more than 16 levels. Linear in the input; the caller bounds
 * its size. Never throws.
 */
export function readJsonObject(bytes: Uint8Array): JsonObject | JsonProblem {
  let text: string
  let value: unknown
  try {
    text = UTF_8.decode(bytes)
    value = JSON.parse(text)
  } catch {
    return new JsonProblem('not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return new JsonProblem('not a JSON object')
  return shapeProblem(text) ?? (value as JsonObject)
}

/** Walks a text that is known to be JSON and looks only at its nesting and its member names. */
function shapeProblem(text: string): JsonProblem | null {
  /** The member names so far of every open object; null for an open array. */
  const open: (Set<string> | null)[] = []
  let nameIsNext = false
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '{':
      case '[':
        if (open.length === MAX_JSON_DEPTH) return new JsonProblem(`nested deeper than ${MAX_JSON_DEPTH}`)
        nameIsNext = text[at] === '{'
        open.push(nameIsNext ? new Set() : null)
        break
      case '}':
      case ']':
        open.pop()
        nameIsNext = false
        break
      case ',':
        nameIsNext = open.at(-1) !== null
        break
      case '"': {
        const end = endOfString(text, at)
        if (nameIsNext) {
          const name = nameOf(text.slice(at, end + 1))
          const names = open.at(-1)
          if (names?.has(name)) return new JsonProblem(`duplicate member name at offset ${at}`)
          names?.add(name)
          nameIsNext = false
        }
        at = end
      }
    }
  }
  return null
}

function endOfString(text: string, start: number): number {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at
}

/** `"\u0061"` and `"a"` are one name. */
function nameOf(literal: string): string {
  return literal.includes('\\') ? (JSON.parse(literal) as string) : literal.slice(1, -1)
}
