import type { Random } from './random.js'

/** Bytes at which readers change their mind. */
const EDGES = [
  '\0',
  '\t',
  '\n',
  '\r',
  '\r\n',
  ' ',
  '"',
  '%',
  "'",
  ',',
  '.',
  '/',
  ':',
  ';',
  '?',
  '\\',
  '\x7f',
  '\x80',
  '\xff',
]

/** One to four small changes of an input, or a crossing with another one. */
export function mutate(random: Random, input: string, other: string, words: readonly string[]): string {
  let changed = input
  const changes = 1 + random.below(4)
  for (let change = 0; change < changes; change++) changed = mutateOnce(random, changed, other, words)
  return changed
}

function mutateOnce(random: Random, input: string, other: string, words: readonly string[]): string {
  const at = random.below(input.length + 1)
  const end = Math.min(input.length, at + 1 + random.below(random.pick([1, 4, 32])))
  const put = (text: string, until = at) => input.slice(0, at) + text + input.slice(until)
  switch (random.below(9)) {
    case 0:
      return put('', end)
    case 1:
      return put(random.byte(), at + 1)
    case 2:
      return put(random.pick(EDGES), at + random.below(2))
    case 3:
      return put(words.length === 0 ? random.byte() : random.pick(words))
    case 4:
      return put(words.length === 0 ? random.byte() : random.pick(words), end)
    case 5:
      return put(input.slice(at, end).repeat(1 + random.below(random.pick([2, 8, 64]))), end)
    case 6:
      return put(swapCase(input.slice(at, end)), end)
    case 7: {
      const from = random.below(other.length + 1)
      return put(other.slice(from, from + random.below(64)), end)
    }
    default:
      return input.slice(0, at) + other.slice(random.below(other.length + 1))
  }
}

/** Of ASCII letters alone: others have capitals that are no byte. */
function swapCase(text: string): string {
  return /[a-z]/.test(text)
    ? text.replace(/[a-z]+/g, letters => letters.toUpperCase())
    : text.replace(/[A-Z]+/g, letters => letters.toLowerCase())
}
