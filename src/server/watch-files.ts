import { createHash } from 'node:crypto'
import { type FSWatcher, realpathSync, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Editors and ConfigMap swaps make several events of one change. Milliseconds. */
const SETTLE_MS = 150
/** For file systems without events, such as NFS. Milliseconds. */
const POLL_MS = 10_000

/** Watches files until `close`. */
export interface FileWatch {
  /** Replaces the list of files. */
  readonly files: (paths: readonly string[]) => void
  readonly close: () => void
}

/**
 * Calls `changed` some milliseconds after the content of any of the files changed. Directories are watched, not files:
 * a watch on a file goes deaf at its first atomic replacement, which is how editors save and Kubernetes swaps a mount.
 */
export function watchFiles(paths: readonly string[], changed: () => void): FileWatch {
  let files = paths
  let watchers: FSWatcher[] = []
  let settle: NodeJS.Timeout | null = null
  let known: Promise<string> = fingerprint(files)
  let closed = false

  const poll = setInterval(() => {
    rewatch()
    void compare()
  }, POLL_MS)
  poll.unref()
  rewatch()

  function rewatch(): void {
    for (const watcher of watchers) watcher.close()
    watchers = [...directoriesOf(files)].flatMap(directory => {
      try {
        const watcher = watch(directory, { persistent: false }, soon)
        watcher.on('error', () => watcher.close())
        return [watcher]
      } catch {
        return [] // a directory that is gone; the poll looks again
      }
    })
  }

  function soon(): void {
    if (settle !== null) clearTimeout(settle)
    settle = setTimeout(() => void compare(), SETTLE_MS)
  }

  async function compare(): Promise<void> {
    const before = known
    known = fingerprint(files)
    if ((await before) !== (await known) && !closed) changed()
  }

  return {
    files: next => {
      if (next.length === files.length && next.every((path, index) => path === files[index])) return
      files = next
      known = fingerprint(files)
      rewatch()
    },
    close: () => {
      closed = true
      clearInterval(poll)
      if (settle !== null) clearTimeout(settle)
      for (const watcher of watchers) watcher.close()
    },
  }
}

/** The directories of the files, and of what they link to. */
function directoriesOf(paths: readonly string[]): Set<string> {
  const directories = new Set<string>()
  for (const path of paths) {
    directories.add(dirname(path))
    try {
      directories.add(dirname(realpathSync(path)))
    } catch {
      // the file is gone for now; its directory tells when it is back
    }
  }
  return directories
}

async function fingerprint(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths) hash.update(await readFile(path).catch(() => 'missing')).update('\0')
  return hash.digest('hex')
}
