import { randomUUID } from 'node:crypto'
import t from 'tap'
import { newProofKey, proofFor } from '../support/dpop.js'
import { ask, HOST } from '../support/postern.js'
import { encode } from '../support/token-issuer.js'
import { type Call, startResourceServer, valuesOf } from './resource-server.js'

// fapi2-security-profile-final-dpop-negative-tests, block by block: CS-17, CS-18; RFC 9449 section 4.3; F2-09, F2-10.

const server = await startResourceServer('fapi2')
t.teardown(server.close)
const { client1, client2, resource } = server
const { dpop: target } = resource
const token = server.tokenFor(target)
const now = () => Math.floor(Date.now() / 1000)

const NEGATIVE = [400, 401]
const URL_OF = `https://${HOST}${target.path}`
const call = (options: Call = {}) => server.call(target, { token, ...options })
const proof = (options: Call = {}) => server.proof(target, token, options)

/** A name in the words of the suite, and a call that it expects to fail. */
function refuses(name: string, ...calls: readonly (() => Call)[]): void {
  t.test(`dpop-negative-tests: ${name}`, async t => {
    const before = server.upstream.requests.length
    for (const make of calls) {
      const answered = await call(make())
      t.ok(NEGATIVE.includes(answered.status), `EnsureHttpStatusCodeIs400or401: ${answered.status}`)
      t.match(
        valuesOf(answered, 'www-authenticate').join(),
        /DPoP algs="[^"]+"/,
        'a challenge names the algorithms',
      )
    }
    t.equal(server.upstream.requests.length, before, 'nothing was forwarded')
    t.equal((await call()).status, 200, 'a good proof works right after')
  })
}

function serves(name: string, ...calls: readonly (() => Call)[]): void {
  t.test(`dpop-negative-tests: ${name}`, async t => {
    for (const make of calls) t.equal((await call(make())).status, 200)
  })
}

/** A proof whose signature is right for a header that is changed afterwards. */
function signedThenHeader(header: Record<string, unknown>): string {
  const [, payload, signature] = proof().split('.')
  return `${encode(JSON.stringify(header))}.${payload}.${signature}`
}

serves('the header name may be in upper case', () => ({ dpop: null, headers: { DPOP: proof() } }))
refuses('more than one DPoP header is refused', () => ({ dpop: [proof(), proof()] }))
refuses(
  'a proof that is no well-formed JWT is refused',
  () => ({ dpop: 'not.a.jwt' }),
  () => ({ dpop: proof().split('.').slice(0, 2).join('.') }),
  () => ({ dpop: `${proof()}.AAAA` }),
)
refuses('a proof without typ is refused', () => ({ proofHeader: { typ: undefined } }))
refuses('a proof without alg is refused', () => ({
  dpop: signedThenHeader({ typ: 'dpop+jwt', jwk: client1.key.jwk }),
}))
refuses('a proof without jwk is refused', () => ({ proofHeader: { jwk: undefined } }))
for (const name of ['jti', 'htm', 'htu', 'iat', 'ath'])
  refuses(`a proof without ${name} is refused`, () => ({ proofClaims: { [name]: undefined } }))
refuses('a proof of another typ is refused', () => ({ proofHeader: { typ: 'JWT' } }))
refuses('a proof signed with RS256 is refused', () => {
  const key = newProofKey('RS256')
  const client = { ...client1, key }
  return { client, token: server.tokenFor(target, client) }
})
refuses('a proof with alg none is refused', () => {
  const header = { typ: 'dpop+jwt', alg: 'none', jwk: client1.key.jwk }
  return { dpop: `${encode(JSON.stringify(header))}.${proof().split('.')[1]}.` }
})
refuses('a proof with an invalid signature is refused', () => {
  const good = proof()
  const end = good.lastIndexOf('.') + 1
  const signature = Buffer.from(good.slice(end), 'base64url')
  signature[5] = (signature[5] as number) ^ 0x5a
  return { dpop: good.slice(0, end) + signature.toString('base64url') }
})
refuses('a proof that shows the private key is refused', () => ({
  proofHeader: { jwk: client1.key.key.privateKey.export({ format: 'jwk' }) },
}))
refuses('a proof for another method is refused', () => ({ proofClaims: { htm: 'PUT' } }))
serves(
  'htu may have a query and a fragment, and they do not count',
  () => ({ proofClaims: { htu: `${URL_OF}?example=1#fragment` } }),
  () => ({ path: `${target.path}?example=1`, proofClaims: { htu: URL_OF } }),
)
refuses(
  'a proof for another URL is refused',
  () => ({ proofClaims: { htu: `https://${HOST}/dpop/2` } }),
  () => ({ proofClaims: { htu: 'https://other.example/dpop/1' } }),
)
refuses('a proof of an hour from now is refused', () => ({ proofClaims: { iat: now() + 3600 } }))
refuses('a proof of an hour ago is refused', () => ({ proofClaims: { iat: now() - 3600 } }))

t.test('dpop-negative-tests: a jti works once', async t => {
  const jti = randomUUID()
  t.equal((await call({ proofClaims: { jti } })).status, 200, 'first use')
  t.ok(NEGATIVE.includes((await call({ proofClaims: { jti } })).status), 'second use')
  const dpop = proof()
  t.equal((await call({ dpop })).status, 200, 'first use of the very proof')
  t.ok(NEGATIVE.includes((await call({ dpop })).status), 'second use of the very proof')
})

refuses('a proof with a wrong ath is refused', () => ({
  proofClaims: { ath: Buffer.alloc(32, 1).toString('base64url') },
}))
refuses('a proof of another key is refused', () => ({
  dpop: proofFor(client2.key, { htu: URL_OF, token }),
}))
serves('members that nobody knows do not matter', () => ({
  proofHeader: { unknown: 'value', other: { a: 1 } },
  proofClaims: { unknown: 'value', other: [1] },
}))
serves('htu is compared in any case of scheme and host', () => ({
  proofClaims: { htu: `HTTPS://${HOST.toUpperCase()}${target.path}` },
}))
serves('htu may have the default port', () => ({
  proofClaims: { htu: `https://${HOST}:443${target.path}` },
}))
refuses('no proof is no access', () => ({ dpop: null }))
refuses(
  'the scheme Bearer is no way around the proof (ForceBearer)',
  () => ({ scheme: 'Bearer', dpop: null }),
  () => ({ scheme: 'Bearer' }),
)

t.test('F2-10: a proof with a key that is too small is refused', async t => {
  const client = { ...client1, key: newProofKey('PS256', 1024) }
  const answered = await server.call(target, { client })
  t.equal(answered.status, 401)
})

t.test('dpop-negative-tests: after all that a correct proof still works', async t => {
  t.equal((await call()).status, 200)
  const anonymous = await ask(server.world, server.at('fapi2'), { path: target.path })
  t.equal(anonymous.status, 401)
  t.notMatch(valuesOf(anonymous, 'www-authenticate').join(), 'error=', 'who showed nothing did nothing wrong')
  t.strictSame(
    server
      .at('fapi2')
      .log()
      .filter(line => line.msg === 'fault' || Number(line.status) >= 500),
    [],
  )
})
