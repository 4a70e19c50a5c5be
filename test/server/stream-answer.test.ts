import type { ServerHttp2Stream } from 'node:http2'
import t from 'tap'
import { isWhole } from '../../src/server/http2/stream-answer.js'

/** An answer that was sent to its end. */
const SENT = { headersSent: true, writableEnded: true, aborted: false, rstCode: 0 }

for (const [what, changes, expected] of [
  ['an answer that was sent to its end', {}, true],
  // node:http2 ends the stream of a HEAD when it comes, so that a reset right behind it looks like the end of an answer.
  ['a HEAD that has no answer yet', { headersSent: false }, false],
  ['an answer that goes on', { writableEnded: false }, false],
  ['an answer whose client has left', { aborted: true }, false],
  ['an answer that was reset', { rstCode: 8 }, false],
] as const)
  t.test(`${what} is ${expected ? '' : 'not '}whole`, async t => {
    t.equal(isWhole({ ...SENT, ...changes } as ServerHttp2Stream), expected)
  })
