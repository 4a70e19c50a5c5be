import { readdirSync, readFileSync } from 'node:fs'
import { join, posix, relative } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { ROOT } from './support/root.js'

const SOURCES = join(ROOT, 'src')

/** A file imports its own folder and lower floors. Folders that share a floor are strangers. */
const FLOORS: readonly (readonly string[])[] = [
  ['decision'],
  ['request'],
  ['policy'],
  ['checks'],
  ['observe'],
  ['sources', 'upstream', 'config'],
  ['gate'],
  ['server'],
  ['cli'],
]

/** One package, one door: the only folder (or file) that may import it. */
const DOORS: Readonly<Record<string, string>> = {
  'http-proxy': 'upstream/',
  jose: 'sources/',
  'lru-cache': 'sources/',
  'rate-limiter-flexible': 'sources/',
  yaml: 'config/',
  zod: 'config/',
  pino: 'observe/',
  'prom-client': 'observe/',
  'node-forge': 'cli/certs.ts',
}

/** The decision core: no I/O, no clock, no library but node:crypto. */
const PURE = ['decision', 'request', 'policy', 'checks']
const IMPURE_GLOBALS: Readonly<Record<string, string>> = {
  Date: 'time is an argument, in seconds since the epoch',
  performance: 'time is an argument',
  process: 'the core knows no process',
  console: 'the core writes nothing',
  fetch: 'the core does no I/O',
  setTimeout: 'the core waits for nothing',
  setInterval: 'the core waits for nothing',
  setImmediate: 'the core waits for nothing',
  queueMicrotask: 'the core waits for nothing',
}
/** Reading a date that was given is not reading the clock. */
const PURE_DATE_USES = /^(?:Date\.parse\(|new Date\([^)]+\))/
/** `Math.random` and the random functions of node:crypto would make a decision unrepeatable. */
const RANDOM = /\b(?:Math\.random|randomUUID|randomBytes|randomInt|getRandomValues)\b/

interface Import {
  readonly specifier: string
  readonly line: number
}

function sourceFiles(): string[] {
  return readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts'))
    .map(name => name.split('\\').join('/'))
    .sort()
}

function parse(file: string): ts.SourceFile {
  const path = join(SOURCES, file)
  return ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2023, true)
}

/** Static, dynamic, re-exporting and `require` imports, types included. */
function importsOf(source: ts.SourceFile): Import[] {
  const imports: Import[] = []
  const add = (node: ts.Node, specifier: ts.Node | undefined) => {
    if (specifier === undefined) return
    const { line } = source.getLineAndCharacterOfPosition(node.getStart())
    imports.push({
      specifier: ts.isStringLiteralLike(specifier) ? specifier.text : '(computed)',
      line: line + 1,
    })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node, node.moduleSpecifier)
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node, node.argument.literal)
    if (ts.isCallExpression(node)) {
      const callee = node.expression.getText(source)
      if (
        node.expression.kind === ts.SyntaxKind.ImportKeyword ||
        /(^|\.)require$|createRequire\(.*\)$/.test(callee)
      )
        add(node, node.arguments[0])
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return imports
}

function floorOf(file: string): number {
  const folder = file.split('/')[0] as string
  return file === 'main.ts' ? FLOORS.length : FLOORS.findIndex(floor => floor.includes(folder))
}

function packageOf(specifier: string): string {
  const [first, second] = specifier.split('/') as [string, string?]
  return first.startsWith('@') ? `${first}/${second}` : first
}

t.test('every file stands on a floor', async t => {
  for (const file of sourceFiles())
    t.not(floorOf(file), -1, `${file} is in a folder that the floors do not name`)
})

t.test('a file imports its own folder and lower floors only', async t => {
  for (const file of sourceFiles())
    for (const { specifier, line } of importsOf(parse(file))) {
      t.not(specifier, '(computed)', `src/${file}:${line} imports a computed name, which nothing can check`)
      if (!specifier.startsWith('.')) continue
      const target = posix.normalize(posix.join(posix.dirname(file), specifier)).replace(/\.js$/, '.ts')
      const same = target.split('/')[0] === file.split('/')[0]
      t.ok(
        same || floorOf(target) < floorOf(file),
        `src/${file}:${line} imports ${target}, which is not on a lower floor`,
      )
    }
})

t.test('each package enters through its one door', async t => {
  const seen = new Set<string>()
  for (const file of sourceFiles())
    for (const { specifier, line } of importsOf(parse(file))) {
      if (specifier.startsWith('.') || specifier.startsWith('node:') || specifier === '(computed)') continue
      const name = packageOf(specifier)
      const door = DOORS[name]
      seen.add(name)
      t.ok(door !== undefined, `src/${file}:${line} imports ${name}, which has no door`)
      t.ok(
        door === undefined || file.startsWith(door),
        `src/${file}:${line} imports ${name}, whose door is src/${door}`,
      )
    }
  t.same([...seen].sort(), Object.keys(DOORS).sort(), 'no door without a package')
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  t.same(
    Object.keys(manifest.dependencies).sort(),
    Object.keys(DOORS).sort(),
    'the dependencies are the doors',
  )
  for (const [name, range] of Object.entries(manifest.dependencies))
    t.match(range, /^\d+\.\d+\.\d+$/, `${name} is pinned`)
})

t.test('the decision core is pure', async t => {
  for (const file of sourceFiles().filter(name => PURE.includes(name.split('/')[0] as string))) {
    const source = parse(file)
    for (const { specifier, line } of importsOf(source))
      t.ok(
        specifier.startsWith('.') || specifier === 'node:crypto',
        `src/${file}:${line} imports ${specifier}`,
      )
    const visit = (node: ts.Node): void => {
      if (ts.isIdentifier(node) && Object.hasOwn(IMPURE_GLOBALS, node.text) && isGlobalUse(node)) {
        const { line } = source.getLineAndCharacterOfPosition(node.getStart())
        const use = node.text === 'Date' ? node.parent.parent.getText(source) : ''
        const expression =
          node.text === 'Date' && ts.isNewExpression(node.parent) ? node.parent.getText(source) : use
        t.ok(
          PURE_DATE_USES.test(expression),
          `src/${file}:${line + 1} uses ${node.text}: ${IMPURE_GLOBALS[node.text]}`,
        )
      }
      ts.forEachChild(node, visit)
    }
    visit(source)
    t.notMatch(source.getFullText(), RANDOM, `src/${file} is random`)
  }
})

/** Whether an identifier names the global, and not a member, a property or a type. */
function isGlobalUse(node: ts.Identifier): boolean {
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node
  return (
    !ts.isPropertyAssignment(parent) && !ts.isPropertySignature(parent) && !ts.isTypeReferenceNode(parent)
  )
}

t.test('only authorise makes a Grant', async t => {
  const casts = sourceFiles().filter(file =>
    /\bas (?:unknown as )?Grant\b/.test(readFileSync(join(SOURCES, file), 'utf8')),
  )
  t.same(casts, ['checks/authorise.ts'])
  t.equal((readFileSync(join(SOURCES, 'checks/authorise.ts'), 'utf8').match(/as Grant\b/g) ?? []).length, 1)
})

t.test('files are small enough to have one reason to change', async t => {
  for (const file of sourceFiles()) {
    const lines = readFileSync(join(SOURCES, file), 'utf8').split('\n').length
    t.ok(lines <= 420, `src/${file} has ${lines} lines`)
    t.notMatch(
      relative('.', file),
      /(^|\/)(?:utils?|helpers?|common|misc)(?:[/.]|$)/,
      `src/${file} says nothing by its name`,
    )
  }
})
