import fc from 'fast-check'
import t from 'tap'
import type { Grant } from '../../src/checks/authorise.js'
import { Denial } from '../../src/decision/denials.js'
import type { RawHeaders } from '../../src/request/headers.js'
import { valuesOf } from '../../src/request/headers.js'
import { fieldValue, listedWord } from '../../src/upstream/field-value.js'
import { announcedTooLarge, announcesBody } from '../../src/upstream/request-body.js'
import { requestHeaders } from '../../src/upstream/request-headers.js'
import { responseHeaders, switchingHeaders } from '../../src/upstream/response-headers.js'

const EXCHANGE = {
  clientAddress: '192.0.2.7',
  interactionId: '93bac548-d2de-4546-b106-880a5018460d',
  request: { httpVersion: '1.1' },
}
const RULES = { via: 'postern-test', authorization: 'forward', clientCert: 'strip' } as const

interface Facts {
  readonly method?: string
  readonly headers?: RawHeaders
  readonly token?: object | null
  readonly certificate?: object | null
}

function grantOf({ method = 'GET', headers = [], token = null, certificate = null }: Facts = {}): Grant {
  return {
    request: { method, target: '/a', path: '/a', query: '', host: 'api.example:8443', headers },
    match: { route: { id: 'GET /a' }, parameters: {} },
    certificate,
    token,
  } as unknown as Grant
}

const TOKEN = {
  clientId: 'client-1',
  subject: 'sub-1',
  scopes: new Set(['a:read', 'b:read']),
  flow: 'authorization_code',
}

/** The header that an upstream gets for these fields of the client. */
function sent(
  facts: Facts,
  rules: Partial<Parameters<typeof requestHeaders>[2]> = {},
  exchange: object = {},
  upgrade: 'websocket' | null = null,
): RawHeaders {
  return requestHeaders(grantOf(facts), { ...EXCHANGE, ...exchange }, { ...RULES, ...rules }, upgrade)
}

/** The values of one field, as an upstream would find them under any spelling that it folds together. */
function folded(headers: RawHeaders, name: string): string[] {
  const found: string[] = []
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase().replace(/[^a-z0-9]/g, '-') === name)
      found.push(headers[i + 1] as string)
  }
  return found
}

t.test('fields of the client', async t => {
  t.test('ordinary ones pass in order, spelled as they came, duplicates kept', async t => {
    const headers = ['Accept', 'a', 'X-One', '1', 'accept', 'b', 'Cookie', 'c=1', 'x_custom', 'kept']
    t.same(sent({ headers }).slice(2, 12), headers)
  })

  const dropped = [
    'Connection',
    'Keep-Alive',
    'Proxy-Connection',
    'Proxy-Authenticate',
    'Proxy-Authorization',
    'TE',
    'Trailer',
    'Upgrade',
    'HTTP2-Settings',
    'Expect',
    'DPoP',
    'Client-Cert-Chain',
    'X-Client-Cert',
    'X-Client-Cert-Dn',
    'X-SSL-Client-Verify',
    'ssl-client-cert',
    'X-Forwarded-Client-Cert',
    'X-Forwarded-Port',
    'X-Forwarded',
    'X-Real-IP',
    'X-HTTP-Method',
    'X-HTTP-Method-Override',
    'X-Method-Override',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-Original-URI',
    'X-Envoy-Original-Path',
    'X-HTTP-Path-Override',
    'Proxy',
    'CF-Connecting-IP',
    'Fastly-Client-IP',
    'X-Cluster-Client-IP',
    'X-Originating-IP',
    'X-Client-DN',
    'X-Client-Verify',
    'X-TLS-Client-Cert',
    'X-Amzn-Mtls-Clientcert',
    'Postern-Anything',
    'Client-Cert',
    'Postern-Client-Id',
    'Postern-Subject',
    'Postern-Scopes',
    'Postern-Flow',
    'Content_Length',
    'Transfer_Encoding',
  ]
  for (const name of dropped) {
    t.test(`${name} does not pass, however spelled`, async t => {
      const spellings = [
        name,
        name.toLowerCase(),
        name.toUpperCase(),
        name.replaceAll('-', '_'),
        name.replaceAll('-', '.'),
      ]
      for (const spelling of spellings) {
        const headers = sent({ headers: [spelling, 'forged', spelling, 'forged again'] })
        t.notOk(
          headers.some(text => text.startsWith('forged')),
          spelling,
        )
      }
    })
  }

  for (const spelling of ['Host', 'HOST', 'host']) {
    t.test(`${spelling} is the one that was checked, once`, async t => {
      t.same(folded(sent({ headers: [spelling, 'evil.example'] }), 'host'), ['api.example:8443'])
    })
  }

  t.test(
    'what Connection names is dropped, but neither framing nor Authorization nor a field of ours',
    async t => {
      const headers = sent({
        method: 'POST',
        headers: [
          'Connection',
          'X-User , content-length',
          'connection',
          'transfer-encoding, host, Authorization, via, postern-route, x-fapi-interaction-id',
          'X-USER',
          'forged',
          'Content-Length',
          '3',
          'Authorization',
          'Bearer t',
        ],
      })
      t.same(folded(headers, 'x-user'), [])
      t.same(folded(headers, 'content-length'), ['3'])
      t.same(folded(headers, 'authorization'), ['Bearer t'])
      t.same(folded(headers, 'host'), ['api.example:8443'])
      t.same(folded(headers, 'via'), ['1.1 postern-test'])
      t.same(folded(headers, 'postern-route'), ['GET /a'])
      t.same(folded(headers, 'x-fapi-interaction-id'), [EXCHANGE.interactionId])
      t.same(folded(headers, 'connection'), [])
    },
  )

  t.test('Authorization passes or not, as configured', async t => {
    const headers = ['Authorization', 'Bearer t', 'Authorization', 'Basic u']
    t.same(folded(sent({ headers }), 'authorization'), ['Bearer t', 'Basic u'])
    t.same(folded(sent({ headers }, { authorization: 'strip' }), 'authorization'), [])
  })

  t.test('no spelling of a reserved name survives', async () => {
    const reserved = [
      'postern-client-id',
      'postern-subject',
      'postern-scopes',
      'postern-flow',
      'postern-route',
      'postern-x',
      'x-forwarded-for',
      'x-forwarded-proto',
      'x-forwarded-host',
      'x-forwarded-client-cert',
      'forwarded',
      'via',
      'x-real-ip',
      'x-http-method-override',
      'x-original-url',
      'client-cert',
      'client-cert-chain',
      'x-client-cert',
      'x-ssl-client-cert',
      'ssl-client-verify',
      'x-amzn-mtls-clientcert',
      'expect',
      'dpop',
      'x-fapi-interaction-id',
      'host',
      'connection',
      'transfer-encoding',
      'te',
      'upgrade',
    ]
    const spelling = fc
      .constantFrom(...reserved)
      .chain(name =>
        fc
          .tuple(
            ...[...name].map(c =>
              c === '-' ? fc.constantFrom(..."-_.~!#$%&'*+^`|") : fc.constantFrom(c, c.toUpperCase()),
            ),
          )
          .map(characters => characters.join('')),
      )
    const other = fc.constantFrom('Accept', 'X-Other', 'Connection', 'Cookie')
    const field = fc.tuple(fc.oneof(spelling, other), fc.constant('forged'))
    fc.assert(
      fc.property(fc.array(field, { maxLength: 12 }), fc.boolean(), (fields, withToken) => {
        const headers = sent({ headers: fields.flat(), token: withToken ? TOKEN : null })
        return reserved.every(name => !folded(headers, name).includes('forged'))
      }),
      { numRuns: 2000 },
    )
  })
})

t.test('framing', async t => {
  const cases: readonly (readonly [string, string, RawHeaders, readonly string[], readonly string[]])[] = [
    ['GET without a body has none', 'GET', [], [], []],
    ['DELETE without a body has none', 'DELETE', [], [], []],
    ['POST without framing says that it is empty', 'POST', [], ['0'], []],
    ['PUT without framing says that it is empty', 'PUT', [], ['0'], []],
    ['PATCH without framing says that it is empty', 'PATCH', [], ['0'], []],
    ['a length stays', 'POST', ['content-length', '12'], ['12'], []],
    ['a length of a DELETE stays', 'DELETE', ['Content-Length', '12'], ['12'], []],
    [
      'chunked stays chunked, or the body of a GET would go out unframed',
      'GET',
      ['transfer-encoding', 'chunked'],
      [],
      ['chunked'],
    ],
    ['chunked DELETE stays chunked', 'DELETE', ['Transfer-Encoding', 'Chunked'], [], ['chunked']],
    [
      'Connection cannot take the framing away',
      'OPTIONS',
      ['Connection', 'transfer-encoding', 'Transfer-Encoding', 'chunked'],
      [],
      ['chunked'],
    ],
    ['an alias is no framing', 'GET', ['Content_Length', '5', 'transfer.encoding', 'chunked'], [], []],
  ]
  for (const [name, method, headers, lengths, codings] of cases) {
    t.test(name, async t => {
      const out = sent({ method, headers })
      t.same(folded(out, 'content-length'), lengths)
      t.same(folded(out, 'transfer-encoding'), codings)
    })
  }
  t.test('what announces a body, and one that is too large', async t => {
    t.equal(announcesBody([]), false)
    t.equal(announcesBody(['Content-Length', '0']), false)
    t.equal(announcesBody(['Content-Length', '1']), true)
    t.equal(announcesBody(['Transfer-Encoding', 'chunked']), true)
    t.equal(announcedTooLarge(['Content-Length', '10'], 10), null)
    t.equal(announcedTooLarge(['Content-Length', '11'], 10)?.code, 'body_too_large')
    t.equal(announcedTooLarge(['Content-Length', '9'.repeat(400)], 10)?.code, 'body_too_large')
  })
})

t.test('facts of the connection', async t => {
  const cases = [
    ['192.0.2.7', '192.0.2.7', 'for=192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7', 'for=192.0.2.7'],
    ['2001:db8::1', '2001:db8::1', 'for="[2001:db8::1]"'],
    ['fe80::1%eth0', 'fe80::1', 'for="[fe80::1]"'],
    ['', 'unknown', 'for=unknown'],
  ] as const
  for (const [clientAddress, plain, element] of cases) {
    t.test(`address ${clientAddress || 'that is gone'}`, async t => {
      const forged = [
        'X-Forwarded-For',
        '203.0.113.9',
        'Forwarded',
        'for=203.0.113.9',
        'Via',
        '1.1 else',
        'X-Real-Ip',
        '203.0.113.9',
      ]
      const headers = sent({ headers: forged }, {}, { clientAddress })
      t.same(folded(headers, 'x-forwarded-for'), [plain])
      t.same(folded(headers, 'x-forwarded-proto'), ['https'])
      t.same(folded(headers, 'x-forwarded-host'), ['api.example:8443'])
      t.same(folded(headers, 'forwarded'), [`${element};host="api.example:8443";proto=https`])
      t.same(folded(headers, 'via'), ['1.1 postern-test'])
      t.same(folded(headers, 'x-fapi-interaction-id'), [EXCHANGE.interactionId])
      t.same(folded(headers, 'x-real-ip'), [])
    })
  }
})

t.test('identity', async t => {
  t.test('of the token', async t => {
    const headers = sent({ token: TOKEN, headers: ['Postern-Subject', 'admin', 'postern_scopes', 'all'] })
    t.same(folded(headers, 'postern-client-id'), ['client-1'])
    t.same(folded(headers, 'postern-subject'), ['sub-1'])
    t.same(folded(headers, 'postern-scopes'), ['a:read b:read'])
    t.same(folded(headers, 'postern-flow'), ['authorization_code'])
    t.same(folded(headers, 'postern-route'), ['GET /a'])
  })

  t.test('what is not known is not sent, and a forged copy is gone all the same', async t => {
    const bare = { clientId: null, subject: null, scopes: new Set(), flow: 'unknown' }
    for (const token of [null, bare]) {
      const headers = sent({
        token,
        headers: ['postern-client-id', 'x', 'Postern_Subject', 'x', 'POSTERN-FLOW', 'x'],
      })
      t.same(
        headers.filter(text => /^postern/i.test(text)),
        ['Postern-Route'],
      )
    }
  })

  t.test('a claim cannot inject a field, end a header, or pass for another claim', async t => {
    t.equal(fieldValue('a b'), 'a b')
    t.equal(fieldValue('x\r\nPostern-Subject: admin'), 'x%0D%0APostern-Subject: admin')
    t.equal(fieldValue('100%'), '100%25')
    t.equal(fieldValue(' admin '), '%20admin%20')
    t.equal(fieldValue('Zoë'), 'Zo%C3%AB')
    t.equal(fieldValue('\0\x7f\t'), '%00%7F%09')
    t.equal(listedWord('a b'), 'a%20b')
    const headers = sent({ token: { ...TOKEN, scopes: new Set(['one two']) } })
    t.same(folded(headers, 'postern-scopes'), ['one%20two'])
    const text = fc.string({ unit: 'grapheme' })
    fc.assert(
      fc.property(text, value => {
        const safe = fieldValue(value)
        return (
          /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/.test(safe) && decodeURIComponent(safe) === value
        )
      }),
    )
    fc.assert(
      fc.property(
        text,
        value => decodeURIComponent(listedWord(value)) === value && !listedWord(value).includes(' '),
      ),
    )
  })

  t.test('Client-Cert only when configured and proved', async t => {
    const certificate = { der: Buffer.from([0x30, 0xff, 0xfe]) }
    const headers = [
      'Client-Cert',
      ':Zm9yZ2Vk:',
      'client_cert',
      ':Zm9yZ2Vk:',
      'Client-Cert-Chain',
      ':Zm9yZ2Vk:',
    ]
    t.same(folded(sent({ headers, certificate }, { clientCert: 'forward' }), 'client-cert'), [':MP/+:'])
    t.same(folded(sent({ headers, certificate }), 'client-cert'), [])
    t.same(folded(sent({ headers }, { clientCert: 'forward' }), 'client-cert'), [])
    t.same(folded(sent({ headers, certificate }, { clientCert: 'forward' }), 'client-cert-chain'), [])
  })
})

t.test('an upgrade', async t => {
  const headers = sent(
    {
      headers: [
        'Connection',
        'Upgrade, x-user',
        'Upgrade',
        'websocket',
        'Sec-WebSocket-Key',
        'k',
        'X-User',
        'u',
        'Content-Length',
        '0',
      ],
    },
    {},
    {},
    'websocket',
  )
  t.same(folded(headers, 'connection'), ['Upgrade'])
  t.same(folded(headers, 'upgrade'), ['websocket'])
  t.same(folded(headers, 'sec-websocket-key'), ['k'])
  t.same(folded(headers, 'x-user'), [])
  t.same(folded(headers, 'content-length'), [])
})

const NOW = new Date('2026-09-01T12:00:00Z')
const ANSWER_RULES = { interactionId: EXCHANGE.interactionId, isPublic: false, now: NOW, closes: false }

/** The header that a client gets for these fields of the upstream. */
function got(headers: RawHeaders, status = 200, rules: object = {}): RawHeaders {
  const result = responseHeaders({ status, headers }, { ...ANSWER_RULES, ...rules })
  if (result instanceof Denial) throw new Error(result.detail)
  return result
}

t.test('the answer', async t => {
  t.test('passes in order, duplicates kept', async t => {
    const headers = [
      'Set-Cookie',
      'a=1',
      'Content-Type',
      'application/json',
      'set-cookie',
      'b=2',
      'Location',
      '/x',
    ]
    t.same(got(headers).slice(0, 8), headers)
  })

  t.test('hides what belongs to the hop or names the software', async t => {
    const names = [
      'Connection',
      'Keep-Alive',
      'Proxy-Connection',
      'Proxy-Authenticate',
      'TE',
      'Trailer',
      'Upgrade',
      'Server',
      'X-Powered-By',
      'x_powered_by',
      'Postern-Subject',
      'postern_x',
      'Client-Cert',
      'Client-Cert-Chain',
      'DPoP-Nonce',
      'X-Nominated',
    ]
    const headers = names.flatMap(name => [name, name === 'Connection' ? 'x-nominated, date' : 'secret'])
    t.notOk(got(headers).some(text => text.includes('secret') || text.includes('nominated')))
    t.same(valuesOf(got(headers), 'date').length, 1)
  })

  t.test('carries our interaction id only', async t => {
    const headers = got(['X-FAPI-Interaction-Id', 'other', 'x_fapi_interaction_id', 'other'])
    t.same(folded(headers, 'x-fapi-interaction-id'), [EXCHANGE.interactionId])
  })

  const ours = 'Tue, 01 Sep 2026 12:00:00 GMT'
  const theirs = 'Mon, 31 Aug 2026 11:59:59 GMT'
  const dates = [
    ['a valid one stays', ['Date', theirs], theirs],
    ['none', [], ours],
    ['two', ['Date', theirs, 'date', theirs], ours],
    ['the wrong weekday', ['Date', 'Tue, 31 Aug 2026 11:59:59 GMT'], ours],
    ['asctime', ['Date', 'Mon Aug 31 11:59:59 2026'], ours],
    ['ISO 8601', ['Date', '2026-08-31T11:59:59Z'], ours],
    ['no date at all', ['Date', 'soon'], ours],
  ] as const
  for (const [name, headers, expected] of dates)
    t.test(`has one valid Date: ${name}`, async t => t.same(valuesOf(got(headers), 'date'), [expected]))

  t.test('is not stored unless the upstream or a public route says so', async t => {
    t.same(valuesOf(got([]), 'cache-control'), ['no-store'])
    t.same(valuesOf(got(['cache-control', 'private, max-age=60']), 'cache-control'), ['private, max-age=60'])
    t.same(valuesOf(got([], 200, { isPublic: true }), 'cache-control'), [])
    t.same(valuesOf(got(['Connection', 'cache-control', 'Cache-Control', 'private']), 'cache-control'), [
      'no-store',
    ])
  })

  t.test('that varied on the certificate varies on everything', async t => {
    t.same(valuesOf(got(['Vary', 'Accept, Client-Cert', 'Vary', 'Origin']), 'vary'), ['*'])
    t.same(valuesOf(got(['Vary', 'client-cert-chain']), 'vary'), ['*'])
    t.same(valuesOf(got(['Vary', 'Accept', 'Vary', 'Origin']), 'vary'), ['Accept', 'Origin'])
  })

  const framings: readonly (readonly [string, number, RawHeaders, readonly string[] | null])[] = [
    ['a length', 200, ['Content-Length', '5'], ['5']],
    ['chunked is left to the writer', 200, ['Transfer-Encoding', 'chunked'], []],
    ['none', 200, [], []],
    ['304 may state the length of what it stands for', 304, ['Content-Length', '5'], ['5']],
    ['204 may not', 204, ['Content-Length', '5'], []],
    ['both', 200, ['Content-Length', '5', 'Transfer-Encoding', 'chunked'], null],
    ['two lengths', 200, ['Content-Length', '5', 'Content-Length', '5'], null],
    ['a list of lengths', 200, ['Content-Length', '5, 5'], null],
    ['a length that is none', 200, ['Content-Length', '0x5'], null],
    ['another coding', 200, ['Transfer-Encoding', 'gzip, chunked'], null],
    ['two codings', 200, ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked'], null],
  ]
  for (const [name, status, headers, lengths] of framings) {
    t.test(`framing: ${name}`, async t => {
      const result = responseHeaders({ status, headers }, ANSWER_RULES)
      if (lengths === null) t.match(result, { code: 'upstream_malformed' })
      else t.same(valuesOf(result as RawHeaders, 'content-length'), lengths)
      if (lengths !== null) t.same(valuesOf(result as RawHeaders, 'transfer-encoding'), [])
    })
  }

  t.test('says so when the connection closes', async t => {
    t.same(valuesOf(got([]), 'connection'), [])
    t.same(valuesOf(got([], 413, { closes: true }), 'connection'), ['close'])
  })

  t.test('101 keeps the handshake and carries Date and interaction id', async t => {
    const headers = switchingHeaders(
      {
        status: 101,
        headers: [
          'Upgrade',
          'WebSocket',
          'Connection',
          'upgrade',
          'Sec-WebSocket-Accept',
          'x',
          'Server',
          's',
          'Content-Length',
          '0',
        ],
      },
      ANSWER_RULES,
    )
    t.same(headers, [
      'Sec-WebSocket-Accept',
      'x',
      'Connection',
      'Upgrade',
      'Upgrade',
      'websocket',
      'Date',
      ours,
      'x-fapi-interaction-id',
      EXCHANGE.interactionId,
    ])
  })
})
