import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * A volume as Kubernetes mounts it: names link to `..data/`, which links to the directory of a revision. A later revision takes the
 * place of the one before in one step.
 */
export function mount(directory: string, files: Readonly<Record<string, string>>, revision: number): void {
  const target = `..revision_${revision}`
  mkdirSync(join(directory, target), { recursive: true })
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(directory, target, name), text)
    if (!existsSync(join(directory, name))) symlinkSync(join('..data', name), join(directory, name))
  }
  symlinkSync(target, join(directory, '..data_tmp'))
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
  rmSync(join(directory, `..revision_${revision - 1}`), { recursive: true, force: true })
}
