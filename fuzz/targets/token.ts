import {
  createECDH,
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { calculateJwkThumbprint, compactVerify, type JWK } from 'jose'
import { Denial } from '../../src/decision/denials.js'
import { FLOW_PRESETS } from '../../src/policy/flow-presets.js'
import type { DpopRule } from '../../src/policy/policy.js'
import { JsonProblem, readJsonObject } from '../../src/policy/strict-json.js'
import { unverifiedIssuer } from '../../src/sources/compact-jws.js'
import { createNonces } from '../../src/sources/dpop-nonce.js'
import { verifyProof } from '../../src/sources/dpop-proof.js'
import { createJwtSource } from '../../src/sources/jwt.js'
import { createKeySource } from '../../src/sources/keys.js'
import { admitAlways } from '../../src/sources/token-source.js'
import { Random } from '../random.js'
import { promise, type Target } from '../target.js'
import { jsonShape } from './json-model.js'

const ISSUER = 'https://issuer.example'
const NOW = 1_800_000_000

/**
 * Keys that are the same in every run, so that tokens of the corpus stay good; everybody can make them, so nobody may trust
 * them. Ed25519 signs without randomness, and what it signs is repeatable as well.
 */
const ED25519 = createPrivateKey({
  // RFC 8410 section 7: the frame of a private key, and its 32 bytes.
  key: Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    createHash('sha256').update('postern fuzz').digest(),
  ]),
  format: 'der',
  type: 'pkcs8',
})
const P256 = ecKey()
const KEYS: Readonly<Record<string, KeyObject>> = { EdDSA: ED25519, ES256: P256 }
const JWKS = Object.entries(KEYS).map(([alg, key]) => ({
  ...createPublicKey(key).export({ format: 'jwk' }),
  kid: alg,
  alg,
  use: 'sig',
}))

function ecKey(): KeyObject {
  const secret = createHash('sha256').update('postern fuzz P-256').digest()
  const pair = createECDH('prime256v1')
  pair.setPrivateKey(secret)
  const point = pair.getPublicKey()
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map(part => part.toString('base64url')) as [
    string,
    string,
  ]
  return createPrivateKey({
    key: { kty: 'EC', crv: 'P-256', x, y, d: secret.toString('base64url') },
    format: 'jwk',
  })
}

/** The source with a cache of nothing, so that every input is verified. */
const source = createJwtSource({
  rules: {
    name: 'main',
    issuer: ISSUER,
    audience: ['https://api.bank.example'],
    algorithms: ['EdDSA', 'ES256'],
    typ: ['at+jwt', 'jwt', 'none'],
    clockSkewSeconds: 10,
    maxLifetimeSeconds: null,
    requiredClaims: [],
    claims: { scope: 'scope', clientId: ['client_id', 'azp'] },
    flow: FLOW_PRESETS.rfc9068,
    clients: null,
  },
  keys: createKeySource({
    name: 'main',
    issuer: ISSUER,
    settings: { from: 'file', text: JSON.stringify({ keys: JWKS }) },
    meter: { keysRefresh: () => {} },
  }),
  meter: { tokenCache: () => {} },
  cacheBytes: 1,
})
const NONCES = createNonces(Buffer.alloc(32))
const DPOP_RULE: DpopRule = {
  origins: [],
  algorithms: ['EdDSA', 'ES256'],
  maxAgeSeconds: 60,
  futureSkewSeconds: 15,
  nonce: 'none',
  satisfiesBinding: true,
}

/** Reads one text as an access token, as a DPoP proof and as strict JSON: three doors that take the same kinds of bytes. */
export const token: Target = {
  name: 'token',
  maxLength: 24 * 1024,
  maxMs: 100,
  words: [
    '.',
    '..',
    '=',
    'eyJhbGciOiJub25lIn0',
    'eyJhbGciOiJFZERTQSJ9',
    'e30',
    'bnVsbA',
    'AA',
    '-',
    '_',
    '+',
    '/',
    '"a":1,"a":2',
    '{',
    '[',
  ],
  generate: random => (random.oneIn(6) ? json(random, 0) : jws(random)),
  async judge(input) {
    const outcomes = [await judgeToken(input), await judgeProof(input), judgeJson(input)]
    return outcomes.join('; ')
  },
  worst: {
    dots: length => '.'.repeat(length),
    'one long part': length => 'a'.repeat(length),
    'a header of many names': length =>
      part(`{${Array.from({ length: length / 10 }, (_, index) => `"${index}":1`).join()}}`, ED25519),
    'a deep header': length => part('['.repeat(length), ED25519),
    'a string of escapes': length => part(`{"a":"${'\\"'.repeat(length / 2)}"}`, ED25519),
    'a name of escapes': length => part(`{"${'\\u0061'.repeat(length / 6)}":1}`, ED25519),
    'JSON of nothing but braces': length => `{"a":[${'{},'.repeat(length / 3)}{}]}`,
  },
}

const TOKEN_DENIALS = [
  'token_malformed',
  'token_algorithm_not_allowed',
  'token_type_wrong',
  'token_issuer_unknown',
  'token_signature_invalid',
]

async function judgeToken(input: string): Promise<string> {
  const iss = unverifiedIssuer(input)
  const verdict = await source.authenticate({ scheme: 'bearer', token: input }, NOW, admitAlways)
  const [header = '', payload = '', signature = ''] = input.split('.')
  if (verdict instanceof Denial) {
    promise(TOKEN_DENIALS.includes(verdict.code), `refused with ${verdict.code}`)
    if (verdict.code !== 'token_signature_invalid') return words(verdict)
    const { kid, alg } = JSON.parse(decoded(header)) as { kid?: string; alg: string }
    if (kid === undefined || kid === alg) promise(!isSigned(input, alg), 'a good signature was refused')
    return verdict.code
  }
  promise(input.split('.').length === 3, 'a token without three parts')
  for (const each of [header, payload, signature])
    promise(Buffer.from(each, 'base64url').toString('base64url') === each, 'a part with another spelling')
  const { alg, crit, typ } = JSON.parse(decoded(header)) as Record<string, unknown>
  promise(alg === 'EdDSA' || alg === 'ES256', 'an algorithm that is not allowed')
  promise(isSigned(input, alg), 'a token that the key did not sign')
  promise(crit === undefined, 'an extension that nobody understands')
  promise(typ === undefined || /^(?:application\/)?(?:at\+)?jwt$/i.test(String(typ)), 'another kind of token')
  const claims = JSON.parse(decoded(payload)) as Record<string, unknown>
  promise(claims.iss === ISSUER && iss === ISSUER, 'the token of another issuer')
  promise(isDeepStrictEqual(claims, verdict.claims), 'other claims than those that are signed')
  // The library by itself, with a key of its own: it must see the same token.
  const { payload: seen } = await compactVerify(input, createPublicKey(KEYS[alg] as KeyObject), {
    algorithms: [alg],
  })
  promise(Buffer.from(seen).equals(Buffer.from(payload, 'base64url')), 'the library reads another payload')
  await judgeNeighbours(input)
  return `accepted, ${verdict.flow}`
}

/** A good token with one character changed is no good token, wherever it is. */
async function judgeNeighbours(input: string): Promise<void> {
  const positions = new Random(input.length)
  for (let round = 0; round < 3; round++) {
    const at = positions.below(input.length)
    for (const character of [input[at] === 'A' ? 'B' : 'A', '.', '=', ''])
      if (character !== input[at]) {
        const changed = input.slice(0, at) + character + input.slice(at + 1)
        const verdict = await source.authenticate({ scheme: 'bearer', token: changed }, NOW, admitAlways)
        promise(verdict instanceof Denial, 'a good token with another character is accepted')
      }
  }
}

async function judgeProof(input: string): Promise<string> {
  const verdict = await verifyProof(['DPoP', input], 'token', DPOP_RULE, NONCES, admitAlways)
  if (verdict instanceof Denial) {
    promise(verdict.code === 'proof_invalid', `refused with ${verdict.code}`)
    return words(verdict)
  }
  const header = JSON.parse(decoded(input.split('.')[0] ?? '')) as { typ: unknown; alg: string; jwk: JWK }
  promise(header.typ === 'dpop+jwt', 'a proof of another type')
  promise(!Object.hasOwn(header.jwk, 'd') && header.jwk.kty !== 'oct', 'a proof with a secret in it')
  promise(
    verdict.jkt === (await calculateJwkThumbprint(header.jwk)),
    'another thumbprint than that of the library',
  )
  const key = createPublicKey({ key: header.jwk as never, format: 'jwk' })
  promise(isSignedBy(input, header.alg, key), 'a proof that its key did not sign')
  promise(
    isDeepStrictEqual(verdict.claims, JSON.parse(decoded(input.split('.')[1] ?? ''))),
    'other claims than those of the proof',
  )
  return 'a proof'
}

function judgeJson(input: string): string {
  const bytes = Buffer.from(input, 'latin1')
  const read = readJsonObject(bytes)
  if (read instanceof JsonProblem) return read.detail.replaceAll(/\d+/g, 'N')
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  promise(isDeepStrictEqual(read, JSON.parse(text)), 'strict JSON is read otherwise')
  const { depth, hasDuplicateNames } = jsonShape(text)
  promise(!hasDuplicateNames, 'a name stands twice')
  promise(depth <= 16, 'deeper than 16')
  return 'JSON'
}

/** A refusal without what it quotes of the input. */
function words({ code, detail }: Denial): string {
  return `${code}: ${detail.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').replaceAll(/\d+/g, 'N')}`
}

function decoded(part: string): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.from(part, 'base64url'))
}

function isSigned(input: string, alg: string): boolean {
  const key = KEYS[alg]
  return key !== undefined && isSignedBy(input, alg, createPublicKey(key))
}

function isSignedBy(input: string, alg: string, key: KeyObject): boolean {
  const end = input.lastIndexOf('.')
  const signature = Buffer.from(input.slice(end + 1), 'base64url')
  return verify(
    alg === 'EdDSA' ? null : 'sha256',
    Buffer.from(input.slice(0, end)),
    { key, dsaEncoding: 'ieee-p1363' },
    signature,
  )
}

/** A header with this text, a payload of nothing, and a signature. */
function part(header: string, key: KeyObject): string {
  const input = `${encode(header)}.e30`
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`
}

function encode(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64url')
}

function jws(random: Random): string {
  const alg = random.pick(['EdDSA', 'EdDSA', 'ES256', 'none', 'HS256', 'eddsa', 'RS256'])
  const jwk = random.oneIn(3) ? `,"jwk":${jwkOf(random)}` : ''
  const kid = random.oneIn(3) ? `,"kid":${random.pick([`"${alg}"`, '"EdDSA"', '""', '1', 'null'])}` : ''
  const typ = random.oneIn(8)
    ? ''
    : `,"typ":${random.pick(['"at+jwt"', '"at+jwt"', '"JWT"', '"dpop+jwt"', '"application/at+jwt"', '"logout+jwt"', '1'])}`
  const more = random.oneIn(6)
    ? random.pick([
        ',"crit":["exp"]',
        ',"b64":false',
        ',"alg":"none"',
        ',"zip":"DEF"',
        ',"jku":"https://x"',
        `,"x":${json(random, 1)}`,
      ])
    : ''
  const header = `{"alg":"${alg}"${typ}${kid}${jwk}${more}}`
  const claims = random.oneIn(8) ? json(random, 0) : payload(random)
  const input = `${encoded(random, header)}.${encoded(random, claims)}`
  const key = KEYS[alg] ?? ED25519
  if (random.oneIn(10)) return `${input}.${random.pick(['', 'AA', 'A'])}`
  const signed = sign(key === P256 ? 'sha256' : null, Buffer.from(input), {
    key,
    dsaEncoding: random.oneIn(8) ? 'der' : 'ieee-p1363',
  })
  return `${input}.${signed.toString(random.oneIn(10) ? 'base64' : 'base64url')}`
}

function encoded(random: Random, text: string): string {
  const plain = encode(text)
  if (!random.oneIn(12)) return plain
  return random.pick([
    `${plain}=`,
    `${plain}==`,
    ` ${plain}`,
    Buffer.from(text).toString('base64'),
    `${plain}\n`,
  ])
}

function payload(random: Random): string {
  const members = [
    `"iss":${random.oneIn(8) ? random.pick(['"https://other"', 'null', '["https://issuer.example"]']) : `"${ISSUER}"`}`,
    `"aud":${random.pick(['"https://api.bank.example"', '["https://api.bank.example"]', '"client-1"', '[]', '{}'])}`,
    `"exp":${random.pick(['1800000300', '1', '1e99', '-0', '"1800000300"', '1800000300.5', 'null'])}`,
    `"client_id":${random.pick(['"client-1"', '1', '""', '["client-1"]'])}`,
    `"sub":${random.pick(['"user-1"', '"client-1"', '{}', '"\\u0000"'])}`,
    `"scope":${random.pick(['"a b"', '"a  b"', '["a","b"]', '[1]', '""', 'null'])}`,
    `"cnf":${random.pick(['{"x5t#S256":"a"}', '{"jkt":"b"}', '{}', '[]', 'null', '{"jkt":1}'])}`,
    `"${random.pick(['nonce', 'at_hash', '__proto__', 'constructor', 'act', 'grant_type'])}":${json(random, 2)}`,
  ]
  const chosen = members.filter((_, index) => index === 0 || random.oneIn(2))
  if (random.oneIn(8)) chosen.push(random.pick(members))
  return `{${chosen.join(random.oneIn(8) ? ' , ' : ',')}}`
}

function jwkOf(random: Random): string {
  if (random.oneIn(4))
    return random.pick([
      '{}',
      '[]',
      'null',
      '{"kty":"oct","k":"AA"}',
      '{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
      '{"kty":"OKP","crv":"Ed25519","x":""}',
    ])
  const jwk = { ...(random.pick(JWKS) as Record<string, unknown>) }
  if (random.oneIn(4)) delete jwk.alg
  if (random.oneIn(8)) jwk.d = 'AA'
  return JSON.stringify(jwk)
}

function json(random: Random, depth: number): string {
  const inside = () => json(random, depth + 1)
  const leaf = depth > 20 || random.oneIn(2)
  if (depth > 0 && leaf)
    return random.pick([
      '0',
      '-1',
      '1e5',
      '""',
      '"a"',
      '"\\u0061"',
      '"\\ud800"',
      'true',
      'null',
      '1E400',
      '"\xc3\xa9"',
      '"\xff"',
    ])
  if (random.oneIn(3)) return `[${random.repeat(0, 3, inside, ',')}]`
  return `{${random.repeat(0, 3, () => `"${random.pick(['a', '\\u0061', 'b', '', 'iss', '__proto__'])}":${inside()}`, random.pick([',', ', ', ',\n']))}}`
}
