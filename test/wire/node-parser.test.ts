/**
 * The ground that we stand on: what the parser of this Node accepts and rejects, for the whole framing corpus. A Node that reads one
 * of them in another way fails here by name, before anybody asks what that means for us.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { startBareNodeServer } from '../support/bare-node-server.js'
import { framingCorpus } from '../support/framing-corpus.js'
import { vectors } from '../support/vectors.js'

/** What is found in the bytes; by major version of Node where they differ, `else` for all others. */
type Found = string | Readonly<Record<string, string>>

const TABLE = JSON.parse(readFileSync(vectors('node-parser.json'), 'utf8')) as Readonly<Record<string, Found>>
const MAJOR = process.versions.node.split('.')[0] as string

t.test(`Node ${MAJOR} reads every case of the corpus as the table says`, async t => {
  const server = await startBareNodeServer()
  t.teardown(() => server.close())
  const corpus = framingCorpus()
  t.same(
    Object.keys(TABLE).sort(),
    corpus.map(({ name }) => name).sort(),
    'the table has the cases of the corpus',
  )
  for (const { name, bytes } of corpus) {
    const expected = TABLE[name] as Found
    const found = typeof expected === 'string' ? expected : (expected[MAJOR] ?? expected.else)
    t.equal(await server.observe(bytes), found, name)
  }
})
