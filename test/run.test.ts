import t from 'tap'
import { createTapReader, type FileResult } from './run.js'

function resultsOf(tap: string, files = ['build/test/a.test.js', 'build/test/b.test.js']): FileResult[] {
  const results: FileResult[] = []
  const read = createTapReader(files, result => results.push(result))
  for (const line of tap.split('\n')) read(line)
  return results
}

t.test('innermost tests are counted, and a failed one is told with its diagnostics', async t => {
  const results = resultsOf(`TAP version 14
1..2
# Subtest: build/test/a.test.js
    # Subtest: a group
        # Subtest: a promise
            ok 1 - should be equal
            ok 2 - should be equal
            1..2
        ok 1 - a promise # time=3ms
        
        # Subtest: a broken promise
            not ok 1 - not ok 2 - looks odd
              ---
              diff: |
                ok 1 - is no test
                not ok 2 - is none either
              ...
            
            1..1
        not ok 2 - a broken promise # time=5ms
          ---
          at: somewhere
          ...
        
        1..2
    not ok 1 - a group # time=9ms
    
    ok 2 - elsewhere # SKIP no engine here
    1..2
not ok 1 - build/test/a.test.js # time=9ms
  ---
  exitCode: 1
  ...

# Subtest: build/test/b.test.js
    ok 1 - a file without subtests is one test
    ok 2 - however much it asserts
    1..2
ok 2 - build/test/b.test.js # time=1ms`)
  t.same(
    results.map(({ file, passed, failed, skipped }) => [file, passed, failed, skipped]),
    [
      ['build/test/a.test.js', 1, 1, 1],
      ['build/test/b.test.js', 1, 0, 0],
    ],
  )
  t.equal(results[0]?.failures.length, 1)
  t.match(
    results[0]?.failures[0],
    'build/test/a.test.js > a group > a broken promise > not ok 2 - looks odd\n',
  )
  t.match(results[0]?.failures[0], 'ok 1 - is no test')
})

t.test('a file that crashes counts as failed although every test in it passed', async t => {
  const [result] = resultsOf(`# Subtest: build/test/a.test.js
    # Subtest: a promise
        ok 1 - should be equal
        1..1
    ok 1 - a promise # time=3ms
    1..1
not ok 1 - build/test/a.test.js # time=9ms
  ---
  exitCode: 3
  ...`)
  t.match(result, { passed: 1, failed: 1 })
})

t.test('a file that never loads counts as failed', async t => {
  const [result] = resultsOf(`# Subtest: build/test/a.test.js
    1..0 # no tests found
not ok 1 - build/test/a.test.js # time=9ms`)
  t.match(result, { passed: 0, failed: 1 })
})

t.test('a file that timed out without a word is not taken for one that ended', async t => {
  t.same(resultsOf('not ok 1 - timeout!\n  ---\n  expired: build/test/a.test.js\n  ...'), [])
})
