import fc from 'fast-check'
import t from 'tap'
import { normalisedPath, normalisedTarget } from '../../src/checks/target-uri.js'

// RFC 3986 sections 6.2.2 and 6.2.3, with the examples of the RFC where there are any.

t.test('one spelling for all that name the same target', async t => {
  for (const [uri, expected] of [
    ['https://h/a', 'https://h/a'],
    ['HTTPS://H.Example/A', 'https://h.example/A'],
    ['https://h:443/a', 'https://h/a'],
    ['https://h:/a', 'https://h/a'],
    ['https://h:8443/a', 'https://h:8443/a'],
    ['https://h', 'https://h/'],
    ['https://h?q', 'https://h/'],
    ['https://h#f', 'https://h/'],
    ['https://h/a?q=/../b#f?x', 'https://h/a'],
    ['https://h/%7euser/%c3%a9', 'https://h/~user/%C3%A9'],
    ['https://h/a/./b/../b/%63/%7bfoo%7d', 'https://h/a/b/c/%7Bfoo%7D'],
    ['https://h/%2e%2E/a', 'https://h/a'],
    ['https://h/a/..', 'https://h/'],
    ['https://h/a/.', 'https://h/a/'],
    ['https://h/../../a', 'https://h/a'],
    ['https://h/a//b', 'https://h/a//b'],
    ['https://h/a%2Fb', 'https://h/a%2Fb'],
    ['https://[::1]:8443/a', 'https://[::1]:8443/a'],
    ['https://[2001:DB8::1]/a', 'https://[2001:db8::1]/a'],
  ] as const)
    t.equal(normalisedTarget(uri), expected, uri)
})

t.test('what is no plain https URI has no spelling', async t => {
  for (const uri of [
    '',
    '/a',
    '//h/a',
    'https:/h/a',
    'https:h/a',
    'https:///a',
    'http://h/a',
    'ftp://h/a',
    'https://user@h/a',
    'https://user:secret@h/a',
    'https://h@evil/a',
    'https://h\\@evil/a',
    'https://h\\a',
    'https://h/a\\b',
    'https://h/a b',
    ' https://h/a',
    'https://h/a ',
    'https://h/a\n',
    'https://h/é',
    'https://hé/a',
    'https://h%2e/a',
    'https://h/%',
    'https://h/%4',
    'https://h/%zz',
    'https://h:x/a',
    'https://h:123456/a',
    'https://h/a"',
    'https://h/[a]',
    'https://h/a?é',
  ])
    t.equal(normalisedTarget(uri), null, uri)
})

t.test('the path of the request and that of the URI have one spelling', async () => {
  fc.assert(
    fc.property(
      fc.webUrl({ validSchemes: ['https'], withFragments: true, withQueryParameters: true }),
      uri => {
        const path = /^https:\/\/[^/?#]*([^?#]*)/.exec(uri)?.[1] ?? ''
        const target = normalisedTarget(uri)
        return target === null
          ? /%(?![0-9a-fA-F]{2})/.test(path)
          : target.endsWith(normalisedPath(path) as string)
      },
    ),
  )
})

/** A piece of a path, of all kinds that matter. */
const piece = fc.oneof(
  fc.constantFrom(
    '/',
    '/',
    '/',
    '.',
    '..',
    '/./',
    '/../',
    '%2e',
    '%2E',
    '%2f',
    '%7E',
    '%41',
    '%c3',
    '%C3',
    '~',
    'a',
    'B',
    '-',
  ),
  fc.integer({ min: 0, max: 255 }).map(byte => `%${byte.toString(16).padStart(2, '0')}`),
)
const pathText = fc
  .array(piece, { maxLength: 20 })
  .map(pieces => (pieces.length === 0 ? '' : `/${pieces.join('')}`))

/** RFC 3986 section 5.2.4 as the RFC writes it, one step at a time on two buffers. */
function naiveRemoveDotSegments(path: string): string {
  let input = path
  let output = ''
  while (input !== '') {
    if (input.startsWith('/./')) input = input.slice(2)
    else if (input === '/.') input = '/'
    else if (input.startsWith('/../') || input === '/..') {
      input = input === '/..' ? '/' : input.slice(3)
      output = output.slice(0, Math.max(0, output.lastIndexOf('/')))
    } else {
      const next = input.indexOf('/', 1)
      output += next === -1 ? input : input.slice(0, next)
      input = next === -1 ? '' : input.slice(next)
    }
  }
  return output
}

function naiveTarget(scheme: string, host: string, port: string, path: string): string {
  let escapes = ''
  for (let at = 0; at < path.length; at++) {
    if (path[at] !== '%') {
      escapes += path[at]
      continue
    }
    const byte = Number.parseInt(path.slice(at + 1, at + 3), 16)
    const character = String.fromCharCode(byte)
    const plain = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~'
    escapes += plain.includes(character) ? character : `%${path.slice(at + 1, at + 3).toUpperCase()}`
    at += 2
  }
  const shown = port === '443' || port === '' ? '' : `:${port}`
  return `${scheme.toLowerCase()}://${host.toLowerCase()}${shown}${naiveRemoveDotSegments(escapes === '' ? '/' : escapes)}`
}

t.test('the spelling is that of the RFC, step by step', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom('https', 'HTTPS', 'Https'),
      fc.constantFrom('h', 'API.Bank.Example', 'a-b.c'),
      fc.constantFrom(null, '', '443', '80', '8443'),
      pathText,
      fc.constantFrom('', '?', '?a=/../b', '#f', '?q#f'),
      (scheme, host, port, path, rest) => {
        const uri = `${scheme}://${host}${port === null ? '' : `:${port}`}${path}${rest}`
        return normalisedTarget(uri) === naiveTarget(scheme, host, port ?? '', path)
      },
    ),
    { numRuns: 3000 },
  )
})

t.test('a spelling is its own spelling, and any text has one or none', async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        pathText.map(path => `https://h${path}`),
      ),
      text => {
        const once = normalisedTarget(text)
        return once === null || normalisedTarget(once) === once
      },
    ),
    { numRuns: 2000 },
  )
})
