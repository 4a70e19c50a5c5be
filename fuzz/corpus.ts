import { readFileSync, writeFileSync } from 'node:fs'
import { vectors } from '../test/support/vectors.js'

/** Inputs of one target that every test run gives to it again. One character is one byte. */
export interface Corpus {
  /** What once was wrong, by a name that says what. */
  readonly failures: Readonly<Record<string, string>>
  /** Inputs that each reached something that none before had reached. */
  readonly reached: readonly string[]
}

/** Longer inputs are not kept: the corpus is read by people as well. */
const MAX_KEPT = 2048
/** So many of a target are kept, of every length. */
const MOST_REACHED = 40

export function corpusFile(target: string): string {
  return vectors(`fuzz/${target}.json`)
}

export function readCorpus(target: string): Corpus {
  return JSON.parse(readFileSync(corpusFile(target), 'utf8')) as Corpus
}

/** All inputs of a corpus. */
export function inputsOf({ failures, reached }: Corpus): readonly string[] {
  return [...Object.values(failures), ...reached]
}

/** Adds to the corpus what is new. Returns the names under which failures were added. */
export function addToCorpus(
  target: string,
  failures: readonly string[],
  reached: readonly string[],
): readonly string[] {
  const before = readCorpus(target)
  const known = new Set(inputsOf(before))
  const named = failures
    .filter(input => !known.has(input))
    // What was wrong only a person can say; test/fuzz/readers.test.ts refuses this name, so that somebody does.
    .map((input, index) => [`TODO name ${Object.keys(before.failures).length + index + 1}`, input] as const)
  const more = reached.filter(input => input.length <= MAX_KEPT && !known.has(input))
  const after: Corpus = {
    failures: { ...before.failures, ...Object.fromEntries(named) },
    reached: thinned([...before.reached, ...more].sort((a, b) => a.length - b.length || (a < b ? -1 : 1))),
  }
  writeFileSync(corpusFile(target), `${JSON.stringify(after, null, 2)}\n`)
  return named.map(([name]) => name)
}

/** A sorted list without so many of its members that few enough are left, evenly. */
function thinned(inputs: readonly string[]): readonly string[] {
  const each = Math.max(1, inputs.length / MOST_REACHED)
  return inputs.filter((_, index) => Math.floor(index / each) !== Math.floor((index - 1) / each))
}
