import { createHash, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import fc from 'fast-check'
import { calculateJwkThumbprint } from 'jose'
import t from 'tap'
import type { ProofFacts } from '../../src/checks/proof-facts.js'
import { Denial, type Verdict } from '../../src/decision/denials.js'
import type { DpopRule } from '../../src/policy/policy.js'
import { createNonces } from '../../src/sources/dpop-nonce.js'
import { thumbprintOf, verifyProof } from '../../src/sources/dpop-proof.js'
import { admitAlways } from '../../src/sources/token-source.js'
import { newProofKey, proofFor } from '../support/dpop.js'

const RULE: DpopRule = {
  origins: ['https://api.example'],
  algorithms: ['PS256', 'ES256', 'EdDSA', 'Ed25519'],
  maxAgeSeconds: 60,
  futureSkewSeconds: 15,
  nonce: 'none',
  satisfiesBinding: true,
}
const NONCES = createNonces(Buffer.alloc(32, 7))
const TOKEN = 'the.access.token'
const TARGET = { htu: 'https://api.example/a', token: TOKEN }

const client = newProofKey()
const verify = (headers: readonly string[], rule: Partial<DpopRule> = {}) =>
  verifyProof(headers, TOKEN, { ...RULE, ...rule }, NONCES, admitAlways)
const codeOf = (verdict: Verdict<ProofFacts>) => (verdict instanceof Denial ? verdict.code : 'good')
const detailOf = (verdict: Verdict<ProofFacts>) => (verdict instanceof Denial ? verdict.detail : 'good')

t.test('a verified proof becomes facts: who made it, what it says, with which token it came', async t => {
  const nonce = NONCES.issue(60, 1_800_000_030)
  const facts = await verify(['dpop', proofFor(client, TARGET, { jti: 'id', iat: 5, nonce })])
  if (facts instanceof Denial) throw new Error(facts.detail)
  t.equal(facts.jkt, client.jkt)
  t.equal(facts.jkt, await calculateJwkThumbprint(client.jwk as Parameters<typeof calculateJwkThumbprint>[0]))
  t.equal(facts.alg, 'ES256')
  t.equal(facts.tokenHash, createHash('sha256').update(TOKEN).digest('base64url'))
  t.equal(facts.nonceIssuedAt, 1_800_000_000)
  t.match(facts.claims, { jti: 'id', htm: 'GET', htu: TARGET.htu, iat: 5, nonce })
})

t.test('nothing of the claims is judged here', async t => {
  t.equal(
    codeOf(await verify(['DPoP', proofFor(client, TARGET, { htm: 7, iat: 'x', jti: undefined })])),
    'good',
  )
})

t.test('the thumbprint is that of RFC 7638, for every kind of key', async t => {
  // RFC 7638 section 3.1
  const n =
    '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
  const { createPublicKey } = await import('node:crypto')
  const rfc = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' } as JsonWebKey, format: 'jwk' })
  t.equal(thumbprintOf(rfc), 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
  for (const alg of ['ES256', 'ES384', 'ES512', 'PS256', 'EdDSA'] as const) {
    const { key, jwk } = newProofKey(alg)
    const expected = await calculateJwkThumbprint(jwk as Parameters<typeof calculateJwkThumbprint>[0])
    t.equal(thumbprintOf(key.publicKey), expected, alg)
  }
})

t.test('the header field is there once, and holds one proof', async t => {
  const proof = proofFor(client, TARGET)
  t.equal(codeOf(await verify([])), 'proof_missing')
  t.equal(codeOf(await verify(['X-DPoP', proof])), 'proof_missing')
  t.equal(detailOf(await verify(['DPoP', proof, 'dpop', proof])), '2 DPoP headers')
  t.equal(detailOf(await verify(['DPoP', `${proof}, ${proof}`])), 'several proofs in one DPoP header')
  t.equal(detailOf(await verify(['DPoP', 'x'.repeat(8193)])), 'longer than 8192 bytes')
  t.equal(detailOf(await verify(['DPoP', ''])), 'not three parts separated by dots')
})

t.test('header members that are wrong', async t => {
  const { d: _, ...publicJwk } = client.key.privateKey.export({ format: 'jwk' })
  const bad: readonly (readonly [Record<string, unknown>, string | RegExp])[] = [
    [{ typ: 'JWT' }, 'typ is not dpop+jwt'],
    [{ typ: undefined }, 'typ is not dpop+jwt'],
    [{ jwk: undefined }, 'jwk: not an object'],
    [{ jwk: { ...publicJwk, d: 'AA' } }, /^jwk: holds a secret/],
    [{ jwk: { ...publicJwk, use: 'enc' } }, 'jwk: use is not sig'],
    [{ jwk: { ...publicJwk, alg: 'ES384' } }, 'the jwk is no key for ES256'],
    [{ jwk: newProofKey('EdDSA').jwk }, 'the jwk is no key for ES256'],
    [{ jwk: newProofKey().jwk }, 'the signature is not that of the jwk'],
    [{ crit: [] }, 'crit'],
  ]
  for (const [header, detail] of bad)
    t.match(detailOf(await verify(['DPoP', proofFor(client, TARGET, {}, header)])), detail)
  t.equal(
    codeOf(await verify(['DPoP', proofFor(client, TARGET, {}, { jku: 'https://evil', kid: 7 })])),
    'good',
  )
  t.equal(
    detailOf(await verify(['DPoP', proofFor(client, TARGET)], { algorithms: ['PS256'] })),
    'alg is "ES256"',
  )
})

t.test('a key that would cost too much to verify with', async t => {
  const rsa = newProofKey('PS256')
  const e = Buffer.from([1, 0, 0, 0, 1]).toString('base64url')
  const detail = detailOf(await verify(['DPoP', proofFor(rsa, TARGET, {}, { jwk: { ...rsa.jwk, e } })]))
  t.equal(detail, 'jwk: RSA with an exponent of more than 32 bits')
  const small = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 })
  const jwk = small.publicKey.export({ format: 'jwk' })
  const key = { ...rsa, jwk, key: { ...rsa.key, privateKey: small.privateKey } }
  t.equal(codeOf(await verify(['DPoP', proofFor(key, TARGET)])), 'good')
})

t.test('no proof of which a character was changed passes', async () => {
  const proof = proofFor(client, TARGET)
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.,= '
  await fc.assert(
    fc.asyncProperty(
      fc.nat(proof.length - 1),
      fc.constantFrom(...alphabet),
      fc.constantFrom(0, 1),
      async (at, character, replaced) => {
        const mutated = proof.slice(0, at) + character + proof.slice(at + replaced)
        return mutated === proof || codeOf(await verify(['DPoP', mutated])) === 'proof_invalid'
      },
    ),
    { numRuns: 500 },
  )
})

t.test('any text at all is refused, and nothing throws', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), async text => codeOf(await verify(['DPoP', text])) === 'proof_invalid'),
  )
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), async jwk => {
      const verdict = await verify(['DPoP', proofFor(client, TARGET, {}, { jwk })])
      return codeOf(verdict) === 'proof_invalid'
    }),
  )
})
