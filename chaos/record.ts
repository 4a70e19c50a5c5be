/** Puts the figures of a run into docs/reliability.md, between the marks of its kind. */
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../test/support/root.js'

const FILE = join(ROOT, 'docs', 'reliability.md')

/** Where figures come from: without it they mean nothing. */
export function conditions(words: string): string {
  const [first] = cpus()
  const memory = (totalmem() / 1024 ** 3).toFixed(0)
  const date = new Date().toISOString().slice(0, 10)
  return `${date}, Node ${process.versions.node}, ${cpus().length} cores (${first?.model.trim() ?? 'unknown'}), ${memory} GiB; load, upstream and issuer on the same machine; ${words}.`
}

export function record(kind: 'chaos' | 'soak', text: string): void {
  const [begin, end] = [`<!-- ${kind}: begin -->`, `<!-- ${kind}: end -->`]
  const page = readFileSync(FILE, 'utf8')
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from === -1 || to < from) throw new Error(`${FILE} has no ${begin} and ${end}`)
  writeFileSync(FILE, `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`)
}
