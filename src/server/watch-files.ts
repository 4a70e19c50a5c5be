import { type FSWatcher, realpathSync, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileRead, MAX_CRL_BYTES, readBounded, Unreadable } from '../config/named-files.js'
import type { FileRead } from '../config/settings.js'

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

/** For tests. */
interface WatchOptions {
  readonly pollMs?: number
  readonly readFile?: typeof readBounded
}

/** Files at one time. */
interface Seen {
  /** What the file system says of them; null: not known. */
  readonly stats: string | null
  readonly content: string
}

/** Looks at files from `begin` until `close`. */
export interface FileWatch {
  /**
   * The files that were just read for a policy; from now on they are looked at, and compared with what was read. Told of
   * every reading, whatever caused it: a file that changes back and forth while it is read would else be taken for one that has
   * not changed, and what it held in between stay in use.
   */
  readonly read: (files: readonly FileRead[]) => void
  /** Whether what is in the files was taken into use. */
  readonly tried: (isInUse: boolean) => void
  /**
   * @param changed resolves when the new content was tried, and never rejects. While it is not in use it is asked again by and
   *   by, with `again`: a new policy may name a file that comes later, in a directory that nobody watches yet.
   */
  readonly begin: (changed: (again: boolean) => Promise<unknown>) => void
  readonly close: () => void
}

/**
 * Notices, some milliseconds later, that any of the files is not what was read. Directories are watched, not files:
 * a watch on a file goes deaf at its first atomic replacement, which is how editors save and Kubernetes swaps a mount.
 */
export function watchFiles({ pollMs = POLL_MS, readFile = readBounded }: WatchOptions = {}): FileWatch {
  let paths: readonly string[] = []
  let known: Seen = { stats: null, content: '' }
  let changed: ((again: boolean) => Promise<unknown>) | null = null
  let watchers: FSWatcher[] = []
  let poll: NodeJS.Timeout | null = null
  let settle: NodeJS.Timeout | null = null
  let settlingSince = 0
  let last: Promise<void> = Promise.resolve()
  let isWaiting = false
  let hadEvent = false
  let mayRetry = false
  let refused = false
  let restingUntil = 0

  /** The files as they are now; read only when they look different from `before`, for lists of revoked certificates are long. */
  async function look(before: Seen | null): Promise<Seen> {
    const looked = paths
    const stats = await statsOf(looked)
    return before?.stats === stats ? before : { stats, content: await contentOf(looked, readFile) }
  }

  function rewatch(): void {
    for (const watcher of watchers) watcher.close()
    watchers = [...directoriesOf(paths)].flatMap(directory => {
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
      hadEvent = true
      check()
    }, wait)
  }

  /** One look after another, each with what comes of it; those that wait together are one. */
  function check(): void {
    if (isWaiting) return
    isWaiting = true
    last = last.then(compare)
  }

  async function compare(): Promise<void> {
    const [isEvent, isPoll] = [hadEvent, mayRetry]
    isWaiting = hadEvent = mayRetry = false
    if (changed === null) return
    // First: a swapped volume has another directory behind its names, and what comes after the look must make an event there.
    rewatch()
    const before = known
    // A file can be written twice between two ticks of the clock that its times are from: an event is looked into.
    const present = await look(isEvent ? null : before)
    // Closed meanwhile; or the files were read, and another look is on its way.
    if (changed === null || known !== before) return
    known = present
    const differs = present.content !== before.content
    const began = performance.now()
    const again = !differs && refused && isPoll && began >= restingUntil
    if (!(differs || again)) return
    await changed(again)
    const ended = performance.now()
    restingUntil = ended + REST * (ended - began)
  }

  return {
    read: files => {
      paths = files.map(({ path }) => path)
      known = { stats: null, content: files.map(({ sha256 }) => sha256).join() }
      // What has happened since they were read was compared with something else.
      if (changed !== null) soon()
    },
    tried: isInUse => {
      refused = !isInUse
    },
    begin: callback => {
      changed = callback
      poll = setInterval(() => {
        mayRetry = true
        check()
      }, pollMs)
      poll.unref()
      hadEvent = true
      check()
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

/** As in `FileRead`, of all files; what cannot be read has the reason in its place. */
async function contentOf(paths: readonly string[], readFile: typeof readBounded): Promise<string> {
  const digests: string[] = []
  for (const path of paths) {
    const contents = await readFile(path, MAX_CRL_BYTES)
    digests.push(contents instanceof Unreadable ? contents.reason : (await fileRead(path, contents)).sha256)
  }
  return digests.join()
}
