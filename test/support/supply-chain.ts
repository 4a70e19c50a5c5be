/** What the lock file says of the packages that run in production: a bill of materials and a page of licences. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './root.js'

export const SBOM_FILE = 'sbom.cdx.json'

/** An entry of the lock file. */
export interface LockedPackage {
  readonly version: string
  readonly license?: string
  /** `sha512-` and base64. */
  readonly integrity?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly hasInstallScript?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
}

export interface RuntimePackage extends LockedPackage {
  readonly name: string
  /** As in the lock file: `node_modules/pino`. */
  readonly path: string
}

export function lockedPackages(): ReadonlyMap<string, LockedPackage> {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockedPackage>
  }
  return new Map(Object.entries(lock.packages).filter(([path]) => path !== ''))
}

/** The packages that are in the image, in the order of their names. */
export function runtimePackages(): readonly RuntimePackage[] {
  return [...lockedPackages()]
    .filter(([, { dev }]) => dev !== true)
    .map(([path, entry]) => ({ ...entry, path, name: path.slice(path.lastIndexOf('node_modules/') + 13) }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
}

/**
 * A bill of materials in CycloneDX 1.5 JSON, from the lock file alone. The same lock file makes the same bytes: there is no time in
 * it, and the serial number follows from the contents.
 */
export function billOfMaterials(): string {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    name: string
    version: string
    description: string
    license: string
    dependencies: Readonly<Record<string, string>>
  }
  const packages = runtimePackages()
  const root = `${manifest.name}@${manifest.version}`
  const contents = {
    metadata: {
      lifecycles: [{ phase: 'build' }],
      component: {
        'bom-ref': root,
        type: 'application',
        name: manifest.name,
        version: manifest.version,
        description: manifest.description,
        purl: purlOf(manifest.name, manifest.version),
        licenses: licensesOf(manifest.license),
      },
    },
    components: packages.map(({ name, version, license = '', integrity = '' }) => ({
      'bom-ref': `${name}@${version}`,
      type: 'library',
      name,
      version,
      scope: 'required',
      purl: purlOf(name, version),
      hashes: [
        { alg: 'SHA-512', content: Buffer.from(integrity.replace(/^sha512-/, ''), 'base64').toString('hex') },
      ],
      licenses: licensesOf(license),
    })),
    dependencies: [
      { ref: root, dependsOn: refsOf('', manifest.dependencies, packages) },
      ...packages.map(({ name, version, path, dependencies = {} }) => ({
        ref: `${name}@${version}`,
        dependsOn: refsOf(path, dependencies, packages),
      })),
    ],
  }
  const hash = createHash('sha256').update(JSON.stringify(contents)).digest('hex')
  // RFC 9562 section 5.8: a UUID of version 8 is what its maker says it is.
  const uuid = `${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-8${hash.slice(17, 20)}-${hash.slice(20, 32)}`
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    serialNumber: `urn:uuid:${uuid}`,
    version: 1,
    ...contents,
  }
  return `${JSON.stringify(bom, null, 2)}\n`
}

/** https://github.com/package-url/purl-spec: the @ of a scope is written as an escape. */
function purlOf(name: string, version: string): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`
}

/** One name of the SPDX list, or an expression of several. */
function licensesOf(license: string) {
  return /[ ()]/.test(license) ? [{ expression: license }] : [{ license: { id: license } }]
}

/** What `require` would find from a package: in its own folder, then in those above. */
function refsOf(
  from: string,
  dependencies: Readonly<Record<string, string>>,
  packages: readonly RuntimePackage[],
): readonly string[] {
  return Object.keys(dependencies).flatMap(name => {
    for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
      const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`
      const found = packages.find(one => one.path === path)
      if (found !== undefined) return [`${name}@${found.version}`]
      if (folder === '') return []
    }
  })
}

/** The file in a package that holds its licence; null when the package brings none. */
export function licenceFile({ path }: RuntimePackage): string | null {
  const file = readdirSync(join(ROOT, path)).find(name => /^licen[cs]e/i.test(name))
  return file === undefined ? null : `${path}/${file}`
}

/** docs/licences.md. */
export function licencesPage(): string {
  const rows = runtimePackages().map(one => {
    const file = licenceFile(one)
    return `| \`${one.name}\` | ${one.version} | ${one.license ?? '-'} | ${file === null ? `[repository](${repositoryOf(one)})` : `\`${file}\``} |`
  })
  return `<!-- Made by \`npm run docs\` from package-lock.json and the installed packages. Edit those instead. -->
# Licences

Every package that runs in production, with the licence that it names; the text is in the
package, and so in the image below \`/app\`. \`test/supply-chain.test.ts\` holds the page and the list of licences that are allowed.

| Package | Version | Licence | Text |
|---|---|---|---|
${rows.join('\n')}
`
}

function repositoryOf({ path }: RuntimePackage): string {
  const manifest = join(ROOT, path, 'package.json')
  if (!existsSync(manifest)) return ''
  const { repository } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    repository?: string | { url: string }
  }
  const url = typeof repository === 'string' ? repository : (repository?.url ?? '')
  return url
    .replace(/^git\+/, '')
    .replace(/^git:/, 'https:')
    .replace(/\.git$/, '')
}
