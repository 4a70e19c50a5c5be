import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { FileRead } from './settings.js'

const MIB = 1024 * 1024

/** Certificates, keys and key sets. */
const MAX_FILE_BYTES = 10 * MIB

/** A revocation list of a large authority has some hundred thousand entries. */
export const MAX_CRL_BYTES = 64 * MIB

/** Why a file could not be read, in words. */
export class Unreadable {
  readonly reason: string
  readonly hint: string
  constructor(reason: string, hint: string) {
    this.reason = reason
    this.hint = hint
  }
}

/** The files that a policy names. Each is read once, so that everything said of it concerns the same bytes. */
export class NamedFiles {
  readonly #directory: string
  readonly #contents = new Map<string, Promise<Buffer | Unreadable>>()
  readonly #names = new Map<string, string>()

  /** Relative names count from this directory. */
  constructor(directory: string) {
    this.#directory = directory
  }

  /** The bytes of a file, or why there are none. Never rejects. */
  read(name: string, maxBytes = MAX_FILE_BYTES): Promise<Buffer | Unreadable> {
    const path = resolve(this.#directory, name)
    let contents = this.#contents.get(path)
    if (contents === undefined) {
      contents = readBounded(path, maxBytes)
      this.#contents.set(path, contents)
      this.#names.set(path, name)
    }
    return contents
  }

  /** Whether everybody on this machine may read the file; false where nobody can tell. */
  async isWorldReadable(name: string): Promise<boolean> {
    if (process.platform === 'win32') return false // it has no such bits, and Node makes some up
    const stats = await stat(resolve(this.#directory, name)).catch(() => null)
    return stats !== null && (stats.mode & constants.S_IROTH) !== 0
  }

  /** The files that could be read, in the order of their names as written. */
  async all(): Promise<readonly NamedFile[]> {
    const read: NamedFile[] = []
    for (const [path, name] of this.#names) {
      const contents = await this.#contents.get(path)
      if (Buffer.isBuffer(contents)) read.push({ name, path, contents })
    }
    return read.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  }
}

/** Name as written, and absolute path. */
interface NamedFile {
  readonly name: string
  readonly path: string
  readonly contents: Buffer
}

/**
 * What is remembered of a file, to tell whether it has changed since. In pieces of a millisecond: a list of revoked certificates
 * has up to 64 MiB, and requests are served meanwhile.
 */
export async function fileRead(path: string, contents: Buffer): Promise<FileRead> {
  const hash = createHash('sha256')
  for (let from = 0; from < contents.length; from += MIB) {
    hash.update(contents.subarray(from, from + MIB))
    await turn()
  }
  return { path, sha256: hash.digest('hex') }
}

/** Hex SHA-256 over named parts. Lengths go in as well, so that no two lists of parts read the same. */
export function hashOf(parts: Iterable<readonly [string, string | Buffer]>): string {
  const hash = createHash('sha256')
  for (const [name, contents] of parts) {
    hash.update(`${Buffer.byteLength(name)}:${name}${Buffer.byteLength(contents)}:`)
    hash.update(contents)
  }
  return hash.digest('hex')
}

/** Reads at most `maxBytes` of a regular file. A pipe or device could block or never end, so it is not read at all. */
export async function readBounded(path: string, maxBytes: number): Promise<Buffer | Unreadable> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const stats = await handle.stat()
      if (!stats.isFile()) return new Unreadable('is not a file', 'name a file, not a directory or device')
      const tooLong = new Unreadable(
        `has more than ${maxBytes / MIB} MiB`,
        'look whether it is the right file',
      )
      if (stats.size > maxBytes) return tooLong
      // A file may grow while it is read.
      const buffer = Buffer.alloc(Math.min(maxBytes, stats.size) + 1)
      let length = 0
      while (length < buffer.length) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length)
        if (bytesRead === 0) return buffer.subarray(0, length)
        length += bytesRead
      }
      return stats.size === maxBytes
        ? tooLong
        : new Unreadable('grew while it was read', 'write a new file and rename it into place')
    } finally {
      await handle.close()
    }
  } catch (error) {
    return unreadable((error as NodeJS.ErrnoException).code ?? '')
  }
}

function unreadable(code: string): Unreadable {
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new Unreadable('does not exist', 'names count from the directory of the policy file')
    case 'EACCES':
    case 'EPERM':
      return new Unreadable('may not be read by this user', 'change its owner or mode')
    case 'EISDIR':
      return new Unreadable('is not a file', 'name a file, not a directory or device')
    default:
      return new Unreadable(
        `cannot be read (${code || 'unknown reason'})`,
        'look whether it is the right file',
      )
  }
}
