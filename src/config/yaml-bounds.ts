import { CST, Lexer } from 'yaml'

/** Policies are a few dozen KiB. */
export const MAX_YAML_BYTES = 1024 * 1024

const MAX_DEPTH = 64

/** A position at which a text is too deep to be parsed. */
export interface DeepPlace {
  readonly line: number
  readonly column: number
  readonly message: string
}

/**
 * Where the text nests more than 64 levels, or null. The parser recurses, and some 20,000 levels end the whole process in a
 * way that no `catch` sees (a RegExp that V8 cannot compile on a full stack); the lexer asked here does not recurse.
 *
 * Counts brackets, columns of indentation, and the indicators that nest without either (`- - -`, `? ? ?`, `a: b: c:`).
 */
export function tooDeep(text: string): DeepPlace | null {
  let line = 1
  let column = 1
  let brackets = 0
  /** Columns at which open block collections begin. */
  let columns: number[] = []
  /** Whether the next token begins a block: it is the first of its line, or follows `-` or `?`. */
  let opens = true
  let colons = 0
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token)
    // Marks of the lexer that are no part of the text: document, start of a scalar, end of a broken flow.
    if (token === CST.DOCUMENT || token === CST.SCALAR || token === CST.FLOW_END) continue
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
      return { line, column, message: `nested more than ${MAX_DEPTH} levels deep` }
    const lastBreak = token.lastIndexOf('\n')
    if (lastBreak === -1) column += token.length
    else {
      line += token.split('\n').length - 1
      column = token.length - lastBreak
    }
  }
  return null
}
