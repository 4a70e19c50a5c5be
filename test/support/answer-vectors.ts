/** Answers of upstreams as data: `test/vectors/answers/`. */
import { readFileSync } from 'node:fs'
import { vectors } from './vectors.js'

/** One answer as it would be on the wire. */
export interface AnswerVector {
  readonly name: string
  readonly bytes: Buffer
  /** Of the request. */
  readonly method: string
  /** The connection ends after the bytes. */
  readonly ends: boolean
  /** What it means; absent where it has no single meaning. */
  readonly status?: number
  readonly body?: string
  /** Engines that deliver some of it although it is malformed. */
  readonly laxer: readonly string[]
}

type Part = string | readonly [text: string, times: number]

type Entry = Omit<AnswerVector, 'bytes'> & { readonly bytes: readonly Part[] }

/** The vectors of one file. */
export function answerVectors(file: 'malformed' | 'well-formed'): readonly AnswerVector[] {
  const text = readFileSync(vectors(`answers/${file}.json`), 'utf8')
  const { cases } = JSON.parse(text) as { cases: (Partial<Entry> & Pick<Entry, 'name' | 'bytes'>)[] }
  return cases.map(each => ({
    method: 'GET',
    ends: false,
    laxer: [],
    ...each,
    bytes: Buffer.concat(each.bytes.map(bytesOf)),
  }))
}

function bytesOf(part: Part): Buffer {
  const [text, times] = typeof part === 'string' ? [part, 1] : part
  return Buffer.from(text.repeat(times), 'latin1')
}
