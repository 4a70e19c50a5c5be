import { CST, Lexer } from 'yaml'

/** Policies are a few dozen KiB. */
export const MAX_YAML_BYTES = 1024 * 1024

const MAX_DEPTH = 64

/**
 * Most words, indicators and line breaks, which is what the time of the parser depends on: a file of 1 MiB has some 150,000 when
 * people or programs write it, and a million when somebody means ill. Ten thousand routes with scopes have 160,000.
 */
const MAX_TOKENS = 200_000

/** A position from which on a text is not parsed. */
export interface BoundPlace {
  readonly line: number
  readonly column: number
  readonly message: string
  readonly hint: string
}

/**
 * Where the text nests more than 64 levels or has more than 200,000 tokens, or null. The parser recurses, and some 20,000
 * levels end the whole process in a way that no `catch` sees (a RegExp that V8 cannot compile on a full stack); and it makes an
 * error of every character that it does not like. The lexer asked here does neither.
 *
 * Counts brackets, columns of indentation, and the indicators that nest without either (`- - -`, `? ? ?`, `a: b: c:`).
 */
export function boundOf(text: string): BoundPlace | null {
  let line = 1
  let column = 1
  let brackets = 0
  /** Columns at which open block collections begin. */
  let columns: number[] = []
  /** Whether the next token begins a block: it is the first of its line, or follows `-` or `?`. */
  let opens = true
  let colons = 0
  let tokens = 0
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token)
    // Marks of the lexer that are no part of the text: document, start of a scalar, end of a broken flow.
    if (token === CST.DOCUMENT || token === CST.SCALAR || token === CST.FLOW_END) continue
    if (type !== 'space' && type !== 'comment' && ++tokens > MAX_TOKENS)
      return {
        ...{ line, column, message: `more than ${MAX_TOKENS} words, signs and line breaks up to here` },
        hint: 'no policy needs that; look whether it is the right file',
      }
    switch (type) {
      case 'flow-map-start':
      case 'flow-seq-start':
        brackets++
        break
      case 'flow-map-end':
      case 'flow-seq-end':
        brackets = Math.max(0, brackets - 1)
        break
    }
    if (type === 'newline') {
      opens = true
      colons = 0
    } else if (type !== 'space' && type !== 'comment' && brackets === 0) {
      const nests = type === 'seq-item-ind' || type === 'explicit-key-ind'
      if (type === 'map-value-ind') colons++
      if (opens || nests || colons > 1) {
        columns = columns.filter(open => open < column)
        columns.push(column)
      }
      opens = nests
    }
    if (brackets + columns.length > MAX_DEPTH)
      return {
        ...{ line, column, message: `nested more than ${MAX_DEPTH} levels deep` },
        hint: 'no policy needs that; look for brackets that are not closed',
      }
    const lastBreak = token.lastIndexOf('\n')
    if (lastBreak === -1) column += token.length
    else {
      line += token.split('\n').length - 1
      column = token.length - lastBreak
    }
  }
  return null
}
