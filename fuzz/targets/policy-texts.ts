import type { Target } from '../target.js'

/** What a policy is put together from: of each part the good form first, then others. */
export const PARTS: readonly (readonly string[])[] = [
  ['version: 1', 'version: 1', 'version: 1', 'version: 2', 'version: "1"', ''],
  [
    `server:
  listen: 127.0.0.1:0
  publicUrl: https://api.bank.example
  tls:
    profile: fapi1-advanced
    certificates: [{ cert: server.pem, key: server.key }]
    clients: { trust: pki, ca: [ca.pem] }`,
    `server:
  listen: "127.0.0.1:\${PORT}"
  publicUrl: [https://api.bank.example]
  tls: { profile: fapi2, certificates: [{ cert: server.pem, key: server.key }], clients: { trust: possession } }
  limits: { headerBytes: 32KiB, connections: \${ONE}, headersTimeout: 10s }`,
    `server: { listen: \${SECRET}, publicUrl: "\${SECRET}" }`,
  ],
  ['admin: { listen: 127.0.0.1:0 }', 'admin: { listen: "[::1]:9464" }', 'admin: { listen: 0.0.0.0:9464 }'],
  ['log: { level: info }', `log: { level: \${SECRET} }`, ''],
  [
    `issuers:
  main:
    issuer: https://issuer.example
    audience: [https://api.bank.example]
    algorithms: [PS256, ES256]
    keys: { file: jwks.json }
    flow: { preset: rfc9068 }`,
    `issuers:
  main: &m
    issuer: https://issuer.example
    audience: api
    algorithms: ES256
    keys: { url: https://issuer.example/jwks, cooldown: 1s, ca: ca.pem }
    flow: { preset: rfc9068 }
    clockSkew: 10s
  other: *m`,
    `issuers: { main: { issuer: "\${SECRET}", audience: [a], algorithms: [none, HS256], keys: { file: "\${SECRET}" } } }`,
  ],
  [
    'upstreams:\n  provider: { url: http://127.0.0.1:8080 }',
    `upstreams: { provider: { url: "https://\${SECRET}:x" } }`,
    'upstreams: {}',
  ],
  [
    'defaults: { upstream: provider, issuer: main, errors: fdx }',
    'defaults: { upstream: none, issuer: [main, main] }',
    '',
  ],
  [
    `apis:
  - name: Accounts
    base: /accounts
    security: [oauth2]
    flow: authorization_code
    routes:
      GET /{id}: { scopes: { any: [basic, detailed] } }
      POST /{id}/notes: { scopes: { all: [notes] }, claims: [{ claim: sub, equals: { path: id } }] }`,
    `apis:
  - name: Open
    base: /open
    security: public
    routes: { GET /{path...}: {}, GET /a: {}, GET /{b}: { stepUp: { maxAge: 5m } } }`,
    `apis:
  - { name: M, base: /m, security: [mtls, oauth2], flow: client_credentials, profile: fapi2, routes: { GET /a: { scopes: none, certificates: { subject: "CN=a" } } } }`,
    `apis: [{ name: \${SECRET}, base: a//b, security: [oauth3], flow: \${SECRET}, routes: { FETCH a: \${SECRET} } }]`,
  ],
]

/** Repeats of a few characters that make the parser or the checks work hardest. */
export const WORST_POLICIES: Target['worst'] = (() => {
  const head = PARTS.slice(0, -1)
    .map(part => part[0])
    .join('\n')
  const shapes: Readonly<Record<string, readonly [string, string, string]>> = {
    'brackets that close at once': ['', '[]', ''],
    'brackets that nothing opened': ['', ']', ''],
    commas: ['[', ',', ']'],
    'empty flow maps': ['[', '{},', ']'],
    'empty pairs': ['[', ': ,', ']'],
    'explicit keys': ['', '? \n', ''],
    'explicit pairs': ['', '? a\n: b\n', ''],
    'empty entries': ['', '-\n', ''],
    tags: ['', '! ', ''],
    anchors: ['', '& ', ''],
    'escapes that are none': ['"', '\\q', '"'],
    'two quotes': ['', '""', ''],
    'tabs for indentation': ['', '\ta: 1\n', ''],
    'aliases of nothing': ['', '*b : 1\n', ''],
    directives: ['', '%a\n', ''],
    'lines that are no map': ['', 'a b: c\n', ''],
    'one key again and again': ['', 'a:\n', ''],
    comments: ['a:\n', '#\n', ' b'],
    'empty lines': ['a:', '\n', 'b'],
    'a text of many lines': ['a: ', 'x\n  ', ''],
    'a folded text': ['a: >\n', '  x\n   y\n', ''],
    'open variables': ['a: "', `\${`, '"'],
    'variables that are not set': ['', `- \${A}\n`, ''],
    'settings that are none': ['version: 1\n', 'k#: 1\n', ''],
    'algorithms from the environment': ['issuers:\n  main:\n    algorithms:\n', `      - \${ONE}\n`, ''],
    'routes that are wrong': [
      `${head}\napis:\n  - name: A\n    base: /a\n    security: public\n    routes:\n`,
      '      GET /#: 1\n',
      '',
    ],
    'routes that are good': [
      `${head}\napis:\n  - name: A\n    base: /a\n    security: public\n    routes:\n`,
      '      GET /#: {}\n',
      '',
    ],
    'routes that meet': [
      `${head}\napis:\n  - name: A\n    base: /a\n    security: public\n    routes:\n`,
      '      GET /{a#}: {}\n',
      '',
    ],
    'APIs that are empty': [`${head}\napis:\n`, '  - {}\n', ''],
    'issuers that are empty': ['issuers:\n', '  i#: {}\n', ''],
  }
  return Object.fromEntries(
    Object.entries(shapes).map(([name, [before, unit, after]]) => [
      name,
      (length: number) => {
        let text = before
        const parts: string[] = []
        for (let at = 0, size = before.length + after.length; size < length; at++) {
          const part = unit.replace('#', String(at))
          size += part.length
          if (size <= length) parts.push(part)
        }
        text += parts.join('')
        return text + after
      },
    ]),
  )
})()
