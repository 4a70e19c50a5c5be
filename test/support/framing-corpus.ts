/** Requests that servers have split in different places, from test/vectors/framing.json. */
import { readFileSync } from 'node:fs'
import { vectors } from './vectors.js'

export interface FramingCase {
  readonly name: string
  /** What a client writes, one character a byte. `/L/` stands for the base of a lane. */
  readonly bytes: string
  /** Method of the first request, where the form of its answer depends on it. */
  readonly method?: string
  /** Statuses of all answers, in order. */
  readonly answers: readonly number[]
  /** All requests that the upstream sees, in order: method and target, and the body. */
  readonly upstream: readonly (readonly [start: string, body: string])[]
  /** Whether the connection ends after the answers. */
  readonly closes: boolean
  /** The rule, or the attack. */
  readonly why: string
}

/** The corpus, on a lane that is named by one character, so that lengths stay true. */
export function framingCorpus(): readonly FramingCase[] {
  return JSON.parse(readFileSync(vectors('framing.json'), 'utf8')) as readonly FramingCase[]
}

/** A text of the corpus on a lane. */
export function onLane(text: string, lane: string): string {
  return text.replaceAll('/L/', `/${lane}/`)
}
