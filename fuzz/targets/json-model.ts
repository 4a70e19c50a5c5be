/** JSON by RFC 8259, read letter by letter, to say what nobody may choose about: names that stand twice, and depth. */
export interface JsonShape {
  readonly depth: number
  readonly hasDuplicateNames: boolean
}

/** The shape of a text that is JSON; throws for any other. Recursive: for short texts. */
export function jsonShape(text: string): JsonShape {
  let at = 0
  let deepest = 0
  let hasDuplicateNames = false
  const space = () => {
    while (' \t\n\r'.includes(text[at] ?? 'x')) at++
  }
  const string = (): string => {
    const start = at++
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
    return JSON.parse(text.slice(start, ++at)) as string
  }
  const members = (close: string, member: () => void) => {
    at++
    space()
    while (text[at] !== close) {
      member()
      space()
      if (text[at] === ',') at++
      space()
      if (at > text.length) throw new Error('not JSON')
    }
    at++
  }
  const value = (depth: number): void => {
    space()
    deepest = Math.max(deepest, depth)
    if (text[at] === '{') {
      const names: string[] = []
      members('}', () => {
        const name = string()
        if (names.includes(name)) hasDuplicateNames = true
        names.push(name)
        space()
        at++
        value(depth + 1)
      })
    } else if (text[at] === '[') members(']', () => value(depth + 1))
    else if (text[at] === '"') string()
    else while (/[^,\]}\s]/.test(text[at] ?? ',')) at++
  }
  JSON.parse(text)
  value(0)
  return { depth: deepest, hasDuplicateNames }
}
