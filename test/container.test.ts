import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { validate } from 'dockerfile-utils'
import t from 'tap'
import { ROOT } from './support/root.js'

const DOCKERFILE = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')

interface Instruction {
  readonly name: string
  readonly rest: string
}

/** One entry for each instruction, continuation lines joined, comments left out. */
function instructionsOf(dockerfile: string): Instruction[] {
  return dockerfile
    .split('\n')
    .filter(line => !/^\s*#/.test(line) && line.trim() !== '')
    .join('\n')
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .map(line => {
      const [name = '', ...rest] = line.trim().split(/\s+/)
      return { name, rest: rest.join(' ') }
    })
}

const INSTRUCTIONS = instructionsOf(DOCKERFILE)
const stages = INSTRUCTIONS.filter(({ name }) => name === 'FROM')
/** The image that is shipped. */
const FINAL = INSTRUCTIONS.slice(INSTRUCTIONS.findLastIndex(({ name }) => name === 'FROM'))

function only(name: string, instructions = FINAL): string {
  const found = instructions.filter(instruction => instruction.name === name)
  if (found.length !== 1) throw new Error(`${found.length} ${name} instructions`)
  return found[0]?.rest ?? ''
}

t.test('a Dockerfile parser finds nothing to complain about', async t => {
  t.same(
    validate(DOCKERFILE).map(({ message, range }) => `line ${range.start.line + 1}: ${message}`),
    [],
  )
})

t.test('the base image is one Node 24 by a tag, never latest, in both stages', async t => {
  t.equal(stages.length, 2, 'a build stage and a final one')
  for (const { rest } of stages)
    t.match(rest, /^node:24(?:\.\d+)*-bookworm-slim(?:@sha256:[0-9a-f]{64})?(?: AS \w+)?$/)
  t.equal(stages[0]?.rest.split(' ')[0], stages[1]?.rest.split(' ')[0], 'the same image')
  t.notMatch(DOCKERFILE, /:latest/)
})

t.test('packages are installed from the lock file and run no code of theirs', async t => {
  const installs = INSTRUCTIONS.filter(
    ({ name, rest }) => name === 'RUN' && /\bnpm (?:ci|i|install|prune)\b/.test(rest),
  )
  t.ok(installs.some(({ rest }) => rest.startsWith('npm ci ')))
  for (const { rest } of installs)
    for (const command of rest
      .split('&&')
      .filter(command => /\bnpm (?:ci|i|install|prune)\b/.test(command))) {
      t.match(command, '--ignore-scripts')
      t.notMatch(command, /\bnpm (?:i|install)\b/)
    }
})

t.test('manifests are copied before sources, so that packages are installed once', async t => {
  const at = (pattern: RegExp) => INSTRUCTIONS.findIndex(({ name, rest }) => pattern.test(`${name} ${rest}`))
  t.ok(at(/^COPY package\.json package-lock\.json /) < at(/^RUN npm ci/))
  t.ok(at(/^RUN npm ci/) < at(/^COPY src /))
  t.ok(at(/^COPY src /) < at(/^RUN npm run build/))
})

t.test('the shipped image has no build tools, no sources and no development packages', async t => {
  t.match(DOCKERFILE, 'npm prune --omit=dev')
  for (const { name, rest } of FINAL) if (name === 'COPY') t.notMatch(rest, /\b(?:src|test|demo|certs)\b/)
  t.equal(FINAL.filter(({ name }) => name === 'RUN').length, 0, 'nothing is installed into it')
})

t.test('the process is nobody, by number, so that runAsNonRoot can see it', async t => {
  const [, user, group] = /^(\d+):(\d+)$/.exec(only('USER')) ?? []
  t.ok(Number(user) >= 10_000 && Number(group) >= 10_000, `USER ${user}:${group}`)
})

t.test('the process can change no file of the image', async t => {
  for (const { name, rest } of FINAL) {
    if (name === 'COPY') t.notMatch(rest, /--chown|--chmod/, 'files stay with root')
    t.not(name, 'VOLUME')
  }
})

t.test('Node is process 1 and hears SIGTERM itself', async t => {
  t.same(JSON.parse(only('ENTRYPOINT')), ['node', '/app/dist/main.js'])
  t.same(JSON.parse(only('CMD')), ['serve'])
  t.equal(only('STOPSIGNAL'), 'SIGTERM')
})

t.test('health is asked with the program itself, for there is no curl', async t => {
  const [, flags = '', command = ''] = /^(.*?)CMD (.*)$/.exec(only('HEALTHCHECK')) ?? []
  t.same(JSON.parse(command), ['node', '/app/dist/main.js', 'healthcheck'])
  for (const flag of ['--interval=', '--timeout=', '--start-period=', '--retries=']) t.match(flags, flag)
})

t.test('the ports are those of the policy, above 1024', async t => {
  t.same(only('EXPOSE').split(' '), ['8443', '9464'])
})

t.test('labels and environment are what orchestrators look for', async t => {
  for (const label of ['title', 'description', 'licenses', 'version', 'revision'])
    t.match(only('LABEL'), `org.opencontainers.image.${label}=`)
  t.match(only('ENV'), 'NODE_ENV=production')
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  t.equal(
    INSTRUCTIONS.find(({ name, rest }) => name === 'ARG' && rest.startsWith('VERSION='))?.rest,
    `VERSION=${version}`,
  )
})

t.test('nothing is fetched by ADD, and no secret is named', async t => {
  for (const { name, rest } of INSTRUCTIONS) {
    t.not(name, 'ADD')
    t.notMatch(rest, /password|secret|token=|_key=|\.pem|\.key\b|\bcurl\b|\bwget\b/i)
  }
})

/** Whether a path goes to the builder: the last pattern that matches decides, as in Docker. */
function isSent(path: string, patterns: readonly string[]): boolean {
  let sent = true
  for (const pattern of patterns) {
    const body = pattern.replace(/^!/, '')
    const source = body
      .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('**/', '(?:.*/)?')
      .replaceAll(/(?<!\.)\*/g, '[^/]*')
    if (new RegExp(`^${source}(?:/.*)?$`).test(path)) sent = pattern.startsWith('!')
  }
  return sent
}

t.test('the builder is sent what the build needs, and no key, certificate or local file', async t => {
  const patterns = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
  for (const path of [
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'src/main.ts',
    'LICENSE',
    'sbom.cdx.json',
  ])
    t.ok(isSent(path, patterns), `${path} is sent`)
  for (const path of [
    'certs/server.key',
    'certs/client-ca.pem',
    'node_modules/pino/package.json',
    '.git/config',
    '.env',
    'secrets/introspection',
    'policies.yaml',
    'build/test/run.js',
    'dist/main.js',
    'demo/start.ts',
    'src/left-behind.key',
    'src/deep/er/left-behind.pem',
  ])
    t.notOk(isSent(path, patterns), `${path} stays here`)
  const copied = INSTRUCTIONS.filter(({ name, rest }) => name === 'COPY' && !rest.startsWith('--from'))
  for (const { rest } of copied)
    for (const source of rest.split(' ').slice(0, -1))
      t.ok(isSent(source, patterns), `COPY ${source} finds its file`)
})
