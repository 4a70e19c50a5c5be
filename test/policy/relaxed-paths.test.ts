/** What `paths` of a route lets through, and what never, whatever an upstream makes of the path. */
import fc from 'fast-check'
import t from 'tap'
import { Denial } from '../../src/decision/denials.js'
import type { ClaimRule } from '../../src/policy/claim-rules.js'
import type { Route, TokenRule } from '../../src/policy/policy.js'
import { RouteIndex } from '../../src/policy/route-index.js'
import { AMBIGUITIES, type Ambiguity, canonicalPath } from '../../src/request/canonical-path.js'

function route(key: string, paths: readonly Ambiguity[] = [], token: TokenRule | null = null): Route {
  const [method = '', template = ''] = key.split(' ')
  return {
    ...{ id: key, method, template, api: 'test', mtls: false, certificates: null, token },
    ...{ upstream: 'provider', errors: 'fdx', upgrade: null, responseTimeoutMs: null, profile: 'custom' },
    ...{ headers: 'tolerant', paths, rates: [], metadataPath: null, metadata: null },
  }
}

function index(...routes: readonly Route[]): RouteIndex {
  const built = RouteIndex.build(routes)
  if (!(built instanceof RouteIndex)) throw new Error('conflict')
  return built
}

/** The matched route's id, or the denial's code and detail. */
function answer(routes: RouteIndex, method: string, path: string): string {
  const canonical = canonicalPath(path)
  const match = canonical instanceof Denial ? canonical : routes.match(method, canonical)
  return match instanceof Denial ? `${match.code}: ${match.detail}` : match.route.id
}

t.test('each relaxation lets through what it names, on its own route only', async t => {
  const held: Readonly<Record<Ambiguity, string>> = {
    encodedSlash: 'a%2Fb',
    semicolon: 'a;v=1',
    encodedUnreserved: 'a%7Eb',
    encodedPercent: 'a%2541',
  }
  for (const ambiguity of AMBIGUITIES) {
    const routes = index(route('GET /r/{id}', [ambiguity]), route('GET /s/{id}'), route('POST /r/{id}'))
    for (const [name, id] of Object.entries(held)) {
      const expected =
        name === ambiguity ? 'GET /r/{id}' : `path_ambiguous: GET /r/{id} does not allow ${name} in paths`
      t.equal(answer(routes, 'GET', `/r/${id}`), expected, `${name} where ${ambiguity} is allowed`)
      t.match(answer(routes, 'GET', `/s/${id}`), /^path_ambiguous: GET \/s/, name)
      t.match(answer(routes, 'POST', `/r/${id}`), /^path_ambiguous: POST \/r/, name)
      t.match(answer(routes, 'GET', `/t/${id}`), /^path_ambiguous: no route has this path/, name)
    }
  }
})

t.test('a slash that stays encoded hides no other route', async t => {
  // An upstream that decodes letters alone reads /s/r%2Fs, which is a path of the first.
  const routes = index(
    route('GET /s/{b}', ['encodedSlash', 'encodedUnreserved']),
    route('GET /{e}/{f}', ['encodedSlash', 'encodedUnreserved', 'encodedPercent']),
  )
  for (const path of ['/%73/r%2Fs', '/%73/r%2fs', '/%2573/r%2Fs', '/%2573/r%252Fs'])
    t.match(answer(routes, 'GET', path), /^path_ambiguous/, path)
  t.equal(answer(routes, 'GET', '/s/r%2Fs'), 'GET /s/{b}')
  t.equal(answer(routes, 'GET', '/%74/r%2Fs'), 'GET /{e}/{f}')
})

t.test('an odd path that could be read as the path of another route is refused', async t => {
  const all = [...AMBIGUITIES]
  const routes = index(
    route('GET /items/{id}', all),
    route('GET /items/{id}/notes', all),
    route('GET /items/special'),
    route('POST /items/{id}/close'),
    route('GET /files/{path...}', all),
    route('GET /files/secret/{name}'),
    route('GET /{any}', all),
    route('GET /admin'),
    route('GET /caf%C3%A9'),
  )
  const refused = [
    ['/items/1%2Fnotes', 'a slash to another route'],
    ['/items/1%252Fnotes', 'decoded twice'],
    ['/items/1%2Fclose', 'a route of another method'],
    ['/items/special;v=1', 'cut to a literal'],
    ['/items/special%3Bv=1', 'decoded, then cut'],
    ['/items/%73pecial', 'a letter as an escape'],
    ['/items/%2573pecial', 'encoded twice'],
    ['/items/special%3Fv', 'cut at a question mark that is decoded'],
    ['/items/special%23v', 'cut at a number sign that is decoded'],
    ['/items/1;v/notes', 'cut to the end of the path'],
    ['/files/secret%2Fx', 'a slash to a literal below'],
    ['/files/secret;x/y', 'cut to a literal below'],
    ['/files/;x/y', 'an empty segment after the cut'],
    ['/files/..;/y', 'a dot segment after the cut'],
    ['/files/a%2F;x', 'an empty segment after decoding and cutting'],
    ['/files/a%2F', 'a slash at the end after decoding'],
    ['/%61dmin', 'a letter as an escape'],
    ['/admin;x', 'cut'],
    ['/%EF%BD%81dmin', 'a full-width letter'],
    ['/caf%C3%A9;x', 'cut to an encoded literal'],
    ['/cafe%CC%81', 'composed to an encoded literal'],
    ['/items%2F1', 'a slash to another route'],
  ] as const
  for (const [path, why] of refused)
    t.match(answer(routes, 'GET', path), /^path_ambiguous/, `${path}: ${why}`)
  const narrow = index(route('GET /docs/{id}/text', all))
  for (const id of ['1;v', '1%3Bv', '1%3Fv', '1%253Fv'])
    t.match(answer(narrow, 'GET', `/docs/${id}/text`), /^path_ambiguous: .* does not govern/, id)
  t.equal(answer(narrow, 'GET', '/docs/1%2Fv/text'), 'GET /docs/{id}/text')
  const many = 'x%EF%BD%93%3Bd;c%EF%BD%93%EF%BD%93%2Fh%25EF%25BC%259Fk/m%252Fi%23l%EF%BC%9Fj%3Bd/b'
  t.equal(answer(routes, 'GET', `/files/${many}`), 'path_ambiguous: more than 16 readings')
  for (const [path, id] of [
    ['/items/1%2F2', 'GET /items/{id}'],
    ['/items/a%2Fb%2Fc', 'GET /items/{id}'],
    ['/items/a;v=1;w=2', 'GET /items/{id}'],
    ['/items/specials;v=1', 'GET /items/{id}'],
    ['/items/a%2Fb/notes', 'GET /items/{id}/notes'],
    ['/files/a;/b', 'GET /files/{path...}'],
    ['/files/a;v=1/b%2Fc', 'GET /files/{path...}'],
    ['/files/secrets%2Fx', 'GET /files/{path...}'],
    ['/files/what%3F', 'GET /files/{path...}'],
    ['/files/a%EF%BC%9F', 'GET /files/{path...}'],
  ] as const)
    t.equal(answer(routes, 'GET', path), id, path)
})

t.test('where a claim rule rests on the path, every reading of the path has the same value', async t => {
  const claims: readonly ClaimRule[] = [
    {
      claim: 'sub',
      test: { equals: { from: 'path', parameter: 'user' } },
      appliesTo: null,
      otherwise: 403,
    },
  ]
  const token = { claims } as unknown as TokenRule
  const routes = index(route('GET /users/{user}', AMBIGUITIES, token))
  for (const user of ['jane;x', 'jane%3Fx', 'jane%23', 'jane%2541', 'jane%2Fx', '%EF%BD%8Aane'])
    t.match(answer(routes, 'GET', `/users/${user}`), /^path_ambiguous: .*claim rule/, user)
  for (const user of ['jane', 'j%61ne', 'Z%C3%BC', 'a%20b', '100%25'])
    t.equal(answer(routes, 'GET', `/users/${user}`), 'GET /users/{user}', user)
})

/** What servers and what stands before them do to a path, each alone or one after the other. */
const OPERATIONS: Readonly<Record<string, (path: string) => string>> = {
  decode: path => path.replaceAll(/(?:%[0-9A-Fa-f]{2})+/g, escapes => decodeURIComponent(escapes)),
  decodeSlashes: path => path.replaceAll(/%2f/gi, '/'),
  decodeUnreserved: path =>
    path.replaceAll(/%(?:2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)/gi, code => decodeURIComponent(code)),
  decodeSemicolons: path => path.replaceAll(/%3b/gi, ';'),
  decodePercent: path => path.replaceAll('%25', '%'),
  cutParameters: path => path.replaceAll(/;[^/]*/g, ''),
  cutAtSemicolon: path => path.replace(/;.*/, ''),
  cutSession: path => path.replace(/;[^/;]*/, ''),
  cutQuery: path => path.replace(/[?#].*/, ''),
  collapse: path => path.replaceAll(/\/+/g, '/'),
  backslashes: path => path.replaceAll('\\', '/'),
  removeDots: path => new URL(`http://h${path.replaceAll(/[?#\\]/g, '_')}`).pathname,
  stripSlash: path => path.replace(/(?<=.)\/$/, ''),
  fold: path => path.normalize('NFKC'),
}

/** Segment by segment; a text is that of a template when both mean the same. */
function isPathOf(template: string, path: string, unfolds: boolean): boolean {
  const parameter = unfolds ? '.+' : '[^/]+'
  const source = template
    .split('/')
    .map(part =>
      /^\{.*\.\.\.\}$/.test(part) ? '.+' : part.startsWith('{') ? parameter : decodeURIComponent(part),
    )
    .join('/')
  return new RegExp(`^${source}$`).test(path)
}

t.test(
  'whatever an upstream makes of a path, the route that was matched is the one that governs where it arrives',
  async t => {
    const KEYS = [
      'GET /{a}',
      'GET /{a}/x',
      'GET /s/{b}',
      'GET /s/x',
      'GET /s/{b}/x',
      'GET /r/{c...}',
      'GET /r/s/{d}',
    ]
    const OTHERS = [
      'GET /{e}/{f}',
      'GET /caf%C3%A9',
      'POST /s/{b}/r',
      'POST /{e}/{f}/x',
      'GET /s/x/{d...}',
      'GET /{g...}',
    ]
    const policy = fc.tuple(
      fc.subarray([...AMBIGUITIES], { minLength: 1 }),
      fc.subarray(KEYS, { minLength: 2 }),
      fc.subarray(OTHERS),
    )
    const piece = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom('/', 's', 'r', 'x', 'y', '/s', '/r', '/x') },
      {
        weight: 2,
        arbitrary: fc.constantFrom(
          ...[
            '%2F',
            '%2f',
            ';',
            '%3B',
            '%73',
            '%72',
            '%78',
            '%25',
            '%252F',
            '%253B',
            '%2573',
            '%2E',
            '.',
            '%3F',
            '%23',
          ],
          ...[
            '%25%32%46',
            '%5C',
            '%255C',
            'caf%c3%a9',
            'cafe%CC%81',
            '%EF%BD%93',
            '%EF%BC%8F',
            '%25%33b',
            '%253F',
            '%2500',
          ],
        ),
      },
    )
    const pieces = (maxLength: number) =>
      fc.array(piece, { minLength: 1, maxLength }).map(texts => texts.join(''))
    /** Half of them are of some template, so that many are forwarded. */
    const target = fc.oneof(
      pieces(9).map(text => `/${text}`),
      fc.tuple(fc.constantFrom(...KEYS), pieces(4), pieces(4)).map(([key, one, other]) =>
        key
          .slice(4)
          .replace(/\{\w+\}/, one)
          .replace(/\{.*\}/, other),
      ),
    )
    const upstream = fc.array(fc.constantFrom(...Object.keys(OPERATIONS)), { minLength: 1, maxLength: 5 })
    let forwarded = 0
    fc.assert(
      fc.property(policy, target, upstream, ([allowed, keys, others], path, operations) => {
        const routes = [...keys, ...others].map(key => route(key, key.startsWith('GET') ? allowed : []))
        const match = index(...routes)
        const canonical = canonicalPath(path)
        const found = canonical instanceof Denial ? canonical : match.match('GET', canonical)
        if (found instanceof Denial) return
        forwarded++
        let arrived = path
        for (const operation of operations) {
          try {
            arrived = (OPERATIONS[operation] as (path: string) => string)(arrived)
          } catch {
            return // this upstream refuses what it cannot decode
          }
          if (/\/\/|\/\.\.?(?:\/|$)|\\/.test(arrived))
            throw new Error(`${operations}: ${path} of ${found.route.id} arrives at ${arrived}`)
          // What the server then looks up: decoded or not, where that changes no structure.
          const governs = [...routes]
            .filter(({ template }) => isPathOf(template, arrived, false))
            .map(({ id }) => id)
          if (governs.includes(found.route.id)) {
            // Of those that fit, the most specific serves it.
            const exact = canonicalPath(encodeURI(arrived).replaceAll(/[?#]/g, encodeURIComponent))
            const served = exact instanceof Denial ? exact : match.match('GET', { ...exact, ambiguities: [] })
            if (served instanceof Denial) continue
            if (served.route.id !== found.route.id)
              throw new Error(
                `${operations}: ${path} of ${found.route.id} arrives at ${arrived} of ${served.route.id}`,
              )
            continue
          }
          if (governs.length > 0 || !isPathOf(found.route.template, arrived, true))
            throw new Error(`${operations}: ${path} of ${found.route.id} arrives at ${arrived}, ${governs}`)
        }
      }),
      { numRuns: 20_000 },
    )
    t.ok(forwarded > 1500, `${forwarded} were forwarded`)
  },
)
