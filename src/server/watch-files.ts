import { createHash } from 'node:crypto'
import { type FSWatcher, realpathSync, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Editors and ConfigMap swaps make several events of one change. Milliseconds. */
const SETTLE_MS = 150
/** A directory in which something happens all the time is looked at all the same. Milliseconds. */
const LONGEST_SETTLE_MS = 1_000
/** For file systems without events, such as NFS. Milliseconds. */
const POLL_MS = 10_000

/** Looks at files from `begin` until `close`. */
export interface FileWatch {
  /** Replaces the list of files. Resolves once every later change will be noticed, also one from before `begin`. */
  readonly files: (paths: readonly string[]) => Promise<void>
  readonly isWatching: (paths: readonly string[]) => boolean
  /**
   * @param changed resolves with whether the new content was taken into use; if not, it is asked again by and by when
   *   anything else changes in the directories: a new policy may name a file that comes later
   */
  readonly begin: (changed: () => Promise<boolean>) => void
  readonly close: () => void
}

/**
 * Notices, some milliseconds later, that the content of any of the files changed. Directories are watched, not files:
 * a watch on a file goes deaf at its first atomic replacement, which is how editors save and Kubernetes swaps a mount.
 */
export function watchFiles(): FileWatch {
  let files: readonly string[] = []
  let known: Promise<string> = fingerprint(files)
  let changed: (() => Promise<boolean>) | null = null
  let watchers: FSWatcher[] = []
  let poll: NodeJS.Timeout | null = null
  let settle: NodeJS.Timeout | null = null
  let settlingSince = 0
  /** Whether anything happened in the directories since `changed` was last called. */
  let stirred = false
  let refused = false

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
    stirred = true
    const now = performance.now()
    if (settle === null) settlingSince = now
    else clearTimeout(settle)
    const wait = now - settlingSince < LONGEST_SETTLE_MS ? SETTLE_MS : 0
    settle = setTimeout(() => {
      settle = null
      void compare(false)
    }, wait)
  }

  async function compare(anyway: boolean): Promise<void> {
    const before = known
    const present = fingerprint(files)
    known = present
    const differs = (await before) !== (await present)
    if (changed === null || !(differs || anyway)) return
    stirred = false
    refused = !(await changed())
  }

  return {
    files: async next => {
      files = next
      known = fingerprint(files)
      if (changed !== null) rewatch()
      await known
    },
    isWatching: paths => paths.length === files.length && paths.every((path, index) => path === files[index]),
    begin: callback => {
      changed = callback
      rewatch()
      poll = setInterval(() => {
        rewatch()
        void compare(refused && stirred)
      }, POLL_MS)
      poll.unref()
      void compare(false)
    },
    close: () => {
      changed = null
      if (poll !== null) clearInterval(poll)
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
