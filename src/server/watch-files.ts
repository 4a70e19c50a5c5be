import { createHash } from 'node:crypto'
import { type FSWatcher, realpathSync, watch } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Editors and ConfigMap swaps make several events of one change. Milliseconds. */
const SETTLE_MS = 150
/** A directory in which something happens all the time is looked at all the same. Milliseconds. */
const LONGEST_SETTLE_MS = 1_000
/** For file systems without events, such as NFS. Milliseconds. */
const POLL_MS = 10_000
/**
 * What was refused is not tried again before so many times the time that the last try took: a file that takes seconds to be
 * refused must not take them every few seconds.
 */
const REST = 20

type Read = (path: string) => Promise<Buffer>

/** For tests. */
interface WatchOptions {
  readonly pollMs?: number
  readonly read?: Read
}

/** Files at one time. */
interface Seen {
  readonly stats: string
  readonly content: string
}

/** Looks at files from `begin` until `close`. */
export interface FileWatch {
  /** Replaces the list of files. Resolves once every later change will be noticed, also one from before `begin`. */
  readonly files: (paths: readonly string[]) => Promise<void>
  readonly isWatching: (paths: readonly string[]) => boolean
  /**
   * @param changed resolves with whether the new content was taken into use. If not, it is asked again by and by, with
   *   `again`: a new policy may name a file that comes later, in a directory that nobody watches yet.
   */
  readonly begin: (changed: (again: boolean) => Promise<boolean>) => void
  readonly close: () => void
}

/**
 * Notices, some milliseconds later, that the content of any of the files changed. Directories are watched, not files:
 * a watch on a file goes deaf at its first atomic replacement, which is how editors save and Kubernetes swaps a mount.
 */
export function watchFiles({ pollMs = POLL_MS, read = readFile }: WatchOptions = {}): FileWatch {
  let files: readonly string[] = []
  let known: Promise<Seen> = look(null)
  let changed: ((again: boolean) => Promise<boolean>) | null = null
  let watchers: FSWatcher[] = []
  let poll: NodeJS.Timeout | null = null
  let settle: NodeJS.Timeout | null = null
  let settlingSince = 0
  let refused = false
  let restingUntil = 0

  /** The files as they are now; read only when they look different, for lists of revoked certificates are long. */
  async function look(before: Seen | null): Promise<Seen> {
    const paths = files
    const stats = await statsOf(paths)
    return before?.stats === stats ? before : { stats, content: await fingerprint(paths, read) }
  }

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
    const now = performance.now()
    if (settle === null) settlingSince = now
    else clearTimeout(settle)
    const wait = now - settlingSince < LONGEST_SETTLE_MS ? SETTLE_MS : 0
    settle = setTimeout(() => {
      settle = null
      void compare('event')
    }, wait)
  }

  async function compare(cause: 'event' | 'poll'): Promise<void> {
    if (changed === null) return
    // First: a swapped volume has another directory behind its names, and what comes after the look must make an event there.
    rewatch()
    const before = known
    // A file can be written twice between two ticks of the clock that its times are from: an event is looked into.
    const present = cause === 'event' ? look(null) : before.then(look)
    known = present
    const differs = (await before).content !== (await present).content
    const began = performance.now()
    const again = !differs && refused && cause === 'poll' && began >= restingUntil
    if (changed === null || !(differs || again)) return // closed meanwhile, or nothing new
    refused = !(await changed(again))
    const ended = performance.now()
    restingUntil = ended + REST * (ended - began)
  }

  return {
    files: async next => {
      files = next
      known = look(null)
      if (changed !== null) rewatch()
      await known
    },
    isWatching: paths => paths.length === files.length && paths.every((path, index) => path === files[index]),
    begin: callback => {
      changed = callback
      poll = setInterval(() => void compare('poll'), pollMs)
      poll.unref()
      void compare('event')
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

/** What the file system says of files without reading them. */
async function statsOf(paths: readonly string[]): Promise<string> {
  const each = paths.map(async path => {
    const stats = await stat(path, { bigint: true }).catch(() => null)
    return stats === null
      ? [path]
      : [path, stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].map(String)
  })
  return JSON.stringify(await Promise.all(each))
}

async function fingerprint(paths: readonly string[], read: Read): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths) hash.update(await read(path).catch(() => 'missing')).update('\0')
  return hash.digest('hex')
}
