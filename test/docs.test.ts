import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { makeDevelopmentCertificates } from '../src/cli/certs.js'
import { policyJsonSchema } from '../src/config/json-schema.js'
import { loadConfiguration } from '../src/config/load.js'
import { formatProblem } from '../src/config/problem.js'
import { DENIALS } from '../src/decision/denials.js'
import { ROOT } from './support/root.js'
import { generatedDocs } from './write-docs.js'

const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const filesBelow = (folder: string, ending: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map(name => `${folder}/${name.split('\\').join('/')}`)
    .filter(name => name.endsWith(ending))

/** Documents for people; what is generated is checked by comparison. */
const DOCUMENTS = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'demo/README.md',
  ...filesBelow('docs', '.md'),
]
const FENCE = /^```(\w*)\n([\s\S]*?)^```$/gm

t.test('the references are what the code says (npm run docs)', async t => {
  for (const [name, text] of generatedDocs()) t.equal(textOf(name), text, `${name} is up to date`)
  t.same(
    JSON.parse(textOf('policies.schema.json')),
    JSON.parse(JSON.stringify(policyJsonSchema())),
    'policies.schema.json',
  )
})

t.test('every denial has a line in docs/denials.md with its status', async t => {
  const page = textOf('docs/denials.md')
  for (const [code, { status, message }] of Object.entries(DENIALS)) {
    const lines = page.split('\n').filter(line => line.startsWith(`| \`${code}\` | ${status} |`))
    t.equal(lines.length, 1, `${code} has one line`)
    t.match(lines[0], message)
  }
})

t.test('every denial is provoked in a test against the running process', async t => {
  const tests = [...filesBelow('test/scenario', '.test.ts'), ...filesBelow('test/wire', '.test.ts')]
    .map(textOf)
    .join('\n')
  t.same(
    Object.keys(DENIALS).filter(code => !new RegExp(`\\b${code}\\b`).test(tests)),
    [],
    'codes that appear neither in test/scenario nor in test/wire',
  )
})

t.test('links and named files exist', async t => {
  for (const document of DOCUMENTS) {
    const text = textOf(document).replaceAll(FENCE, '')
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
    for (const target of links.filter(target => !/^(?:https?:|mailto:|#)/.test(target))) {
      const [path = ''] = target.split('#')
      t.ok(existsSync(join(ROOT, normalize(join(dirname(document), path)))), `${document} links to ${target}`)
    }
    for (const [, path = ''] of text.matchAll(
      /`((?:src|test|docs|demo|deploy|bench|chaos|\.ci)\/[\w./-]*)`/g,
    ))
      t.ok(existsSync(join(ROOT, path)), `${document} names ${path}`)
  }
})

t.test('headings that are linked to exist', async t => {
  for (const document of DOCUMENTS)
    for (const [, path = '', anchor = ''] of textOf(document).matchAll(/\]\(([^)#\s]*)#([^)\s]+)\)/g)) {
      if (/^https?:/.test(path)) continue
      const target = path === '' ? document : normalize(join(dirname(document), path))
      const anchors = [...textOf(target).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
        heading
          .toLowerCase()
          .replaceAll(/[^\w\s-]/g, '')
          .replaceAll(' ', '-'),
      )
      t.ok(anchors.includes(anchor), `${document} links to ${path}#${anchor}`)
    }
})

t.test('the scripts that documents name are in package.json', async t => {
  const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> }
  for (const document of DOCUMENTS)
    for (const [, name = ''] of textOf(document).matchAll(/\bnpm run (?:--silent )?([\w:-]+)/g))
      t.ok(Object.hasOwn(scripts, name), `${document} names npm run ${name}`)
})

t.test('the commands that documents name exist, and the README names them all', async t => {
  const help = execFileSync(process.execPath, [join(ROOT, 'dist/main.js'), '--help'], { encoding: 'utf8' })
  const commands = [...(help.split('Commands:')[1] ?? '').matchAll(/^ {2}([a-z]+) /gm)].map(
    ([, name = '']) => name,
  )
  t.ok(commands.includes('serve'), 'the help lists commands')
  for (const document of DOCUMENTS.filter(name => !name.startsWith('docs/decisions')))
    for (const [, name = ''] of textOf(document).matchAll(/(?:`|npx |^)postern ([a-z]+)\b/gm))
      t.ok(commands.includes(name), `${document} names postern ${name}`)
  for (const name of commands)
    t.match(textOf('README.md'), `\`postern ${name}`, `the README names postern ${name}`)
})

t.test('the policy of the README loads as it is shown', async t => {
  const policies = [...textOf('README.md').matchAll(FENCE)].filter(([, language]) => language === 'yaml')
  t.equal(policies.length, 1)
  const folder = t.testdir({ certs: {} })
  await makeDevelopmentCertificates(join(folder, 'certs'))
  for (const [, , policy = ''] of policies) {
    const file = join(folder, 'policies.yaml')
    writeFileSync(file, policy)
    const loaded = await loadConfiguration(file, {})
    if (!('settings' in loaded)) t.fail(loaded.map(formatProblem).join('\n'))
    else t.same(loaded.warnings.map(formatProblem), [])
  }
})

t.test("documents speak of no machine but the reader's own", async t => {
  for (const document of DOCUMENTS) {
    t.notMatch(
      textOf(document),
      /\/(?:home|root|work|Users)\//,
      `${document} has no path of somebody's machine`,
    )
    t.notMatch(textOf(document), /\b(?:TODO|FIXME|XXX)\b/, `${document} is finished`)
  }
})
