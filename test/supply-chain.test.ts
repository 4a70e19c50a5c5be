import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from './support/root.js'
import {
  billOfMaterials,
  licenceFile,
  lockedPackages,
  runtimePackages,
  SBOM_FILE,
} from './support/supply-chain.js'

/**
 * Platform builds of Biome, a development package, that nobody here installs: the registry from which the lock file was made does
 * not have them, so there is no hash to write down. npm leaves out optional packages that do not verify or are not there.
 */
const WITHOUT_HASH = [
  'android-arm64',
  'android-x64',
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-musl',
  'linux-x64-musl',
  'win32-arm64',
  'win32-x64',
].map(platform => `node_modules/@biomejs/cli-${platform}`)

/** Licences that ask for no more than to be named. An expression with OR is allowed when one of its parts is. */
const ALLOWED_LICENCES = ['MIT', 'ISC', '0BSD', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', 'BlueOak-1.0.0']

const EXACT = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Readonly<
  Record<'dependencies' | 'devDependencies' | 'scripts', Readonly<Record<string, string>>>
>
const locked = lockedPackages()

t.test('every version is exact, in the manifest and in the lock file', async t => {
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    t.match(version, EXACT, name)
    t.equal(locked.get(`node_modules/${name}`)?.version, version, `${name} is locked at that version`)
  }
  for (const [path, { version }] of locked) t.match(version, EXACT, path)
})

t.test('every package of the lock file has the hash of its contents', async t => {
  const without = [...locked].filter(([, { integrity }]) => !/^sha512-[\w+/]{86}==$/.test(integrity ?? ''))
  t.same(
    without.map(([path]) => path),
    WITHOUT_HASH,
  )
  for (const [path, { dev, optional }] of without)
    t.ok(dev === true && optional === true, `${path} is never in the image`)
})

t.test('no runtime package runs code when it is installed', async t => {
  for (const { name, path, hasInstallScript } of runtimePackages()) {
    t.not(hasInstallScript, true, name)
    const { scripts = {} } = JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8')) as {
      scripts?: Record<string, string>
    }
    for (const script of ['preinstall', 'install', 'postinstall'])
      t.notOk(Object.hasOwn(scripts, script), `${name}: ${script}`)
    t.notOk(existsSync(join(ROOT, path, 'binding.gyp')), `${name} is not compiled`)
  }
  t.equal(manifest.scripts.build, 'tsc -p tsconfig.build.json', 'the build is the compiler and nothing else')
  for (const script of Object.keys(manifest.scripts))
    t.notMatch(script, /^(?:pre|post)?(?:install|prepare|publish)/)
})

t.test(
  'the bill of materials names every runtime package with version, address, licence and hash',
  async t => {
    const text = readFileSync(join(ROOT, SBOM_FILE), 'utf8')
    t.equal(text, billOfMaterials(), `${SBOM_FILE} is up to date (npm run sbom)`)
    const bom = JSON.parse(text) as {
      bomFormat: string
      specVersion: string
      serialNumber: string
      metadata: { timestamp?: string; component: { 'bom-ref': string; version: string } }
      components: readonly {
        'bom-ref': string
        name: string
        version: string
        purl: string
        hashes: readonly { alg: string; content: string }[]
        licenses: readonly { license?: { id: string }; expression?: string }[]
      }[]
      dependencies: readonly { ref: string; dependsOn: readonly string[] }[]
    }
    t.match(bom, { bomFormat: 'CycloneDX', specVersion: '1.5' })
    t.match(
      bom.serialNumber,
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    )
    t.equal(bom.metadata.timestamp, undefined, 'the same lock file makes the same bytes')
    t.same(
      bom.components.map(({ name, version }) => `${name}@${version}`),
      runtimePackages().map(({ name, version }) => `${name}@${version}`),
    )
    for (const { name, version, purl, hashes, licenses } of bom.components) {
      t.equal(decodeURIComponent(purl), `pkg:npm/${name}@${version}`)
      t.equal(hashes.length, 1)
      t.match(hashes[0], { alg: 'SHA-512', content: /^[0-9a-f]{128}$/ })
      t.ok((licenses[0]?.license?.id ?? licenses[0]?.expression ?? '') !== '', `${name} has a licence`)
    }
    const refs = [bom.metadata.component['bom-ref'], ...bom.components.map(one => one['bom-ref'])]
    t.same(
      bom.dependencies.map(({ ref }) => ref),
      refs,
    )
    const needed = new Set(bom.dependencies.flatMap(({ dependsOn }) => dependsOn))
    t.same(
      [...needed].filter(ref => !refs.includes(ref)),
      [],
      'nothing depends on what is not there',
    )
    t.same(
      refs.slice(1).filter(ref => !needed.has(ref)),
      [],
      'nothing is there that nobody needs',
    )
  },
)

t.test(
  'every runtime package has a licence that the policy allows, and stands in docs/licences.md',
  async t => {
    const page = readFileSync(join(ROOT, 'docs', 'licences.md'), 'utf8')
    for (const one of runtimePackages()) {
      const named = (one.license ?? '').replaceAll(/[()]/g, '').split(' OR ')
      t.ok(
        named.some(licence => ALLOWED_LICENCES.includes(licence)),
        `${one.name}: ${one.license}`,
      )
      t.ok(
        page.includes(`| \`${one.name}\` | ${one.version} | ${one.license} | `),
        `${one.name} is on the page`,
      )
      const file = licenceFile(one)
      if (file !== null)
        t.ok(
          page.includes(file) && readFileSync(join(ROOT, file), 'utf8').length > 200,
          `${one.name}: the text`,
        )
    }
  },
)
