/** The word that was probably meant: at most two edits away and less than half of it, or null. */
function nearestWord(written: string, words: Iterable<string>): string | null {
  let best: string | null = null
  let bestDistance = 3
  for (const word of words) {
    if (word.toLowerCase() === written.toLowerCase()) return word
    const distance = edits(written, word)
    if (distance < bestDistance && distance * 2 < word.length) [best, bestDistance] = [word, distance]
  }
  return best
}

/** `did you mean "x"?`, or `otherwise` when nothing is near. */
export function didYouMean(written: string, words: Iterable<string>, otherwise: string): string {
  const word = nearestWord(written, words)
  return word === null ? otherwise : `did you mean "${word}"?`
}

/** Insertions, deletions, replacements and swaps of neighbours (Damerau-Levenshtein, restricted); 3 stands for more than 2. */
function edits(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2 || a.length > 100) return 3
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      let cost = Math.min((last[j] as number) + 1, (row[j - 1] as number) + 1, (last[j - 1] as number) + same)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (beforeLast[j - 2] as number) + 1)
      row.push(cost)
    }
    beforeLast = last
    last = row
  }
  return Math.min(3, last[b.length] as number)
}
