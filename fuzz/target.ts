import type { Random } from './random.js'

/**
 * A reader of hostile input with a judge. Another reader is added by one file like those in `fuzz/targets/` and its line in
 * `fuzz/targets.ts`.
 *
 * An input is bytes, written as a string with one character for each byte, so that it can be read in the corpus.
 */
export interface Target {
  readonly name: string
  /** Inputs are cut at this length, which is beyond what the reader takes. */
  readonly maxLength: number
  /** CPU milliseconds that one input may take, judge included. */
  readonly maxMs: number
  /** Pieces that mean something to the reader; mutations put them in anywhere. */
  readonly words: readonly string[]
  /** A new input by the grammar of the reader, mostly near what is accepted. */
  readonly generate: (random: Random) => string
  /**
   * Gives the input to the reader and compares with what must hold. Returns how it went in words that do not repeat the
   * input, such as the code of a denial: inputs with a new outcome are kept. Throws a `BrokenPromise`; whatever else the
   * reader throws is a find as well.
   */
  readonly judge: (input: string) => string | Promise<string>
  /** Inputs of about `length` characters that are the worst of their kind, by name: time must grow no faster than they do. */
  readonly worst: Readonly<Record<string, (length: number) => string>>
  /** Gives back what the target holds, such as a temporary directory. */
  readonly close?: () => void | Promise<void>
}

/** The reader did something that it must never do. */
export class BrokenPromise extends Error {}

/** Throws a `BrokenPromise` unless `holds`. */
export function promise(holds: boolean, what: string): asserts holds {
  if (!holds) throw new BrokenPromise(what)
}
