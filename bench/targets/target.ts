import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Material } from '../material.js'

/** A proxy that is measured: Postern, or something to compare it with. */
export interface Target {
  readonly name: string
  /** For tables. */
  readonly title: string
  /** Whether it judges tokens; false: TLS and client certificates alone. */
  readonly judgesTokens: boolean
  /** Questions of bench/verify.ts that it cannot answer rightly, with the reason; they are told with its figures. */
  readonly gaps?: Readonly<Record<string, string>>
  /** What it says its version is; null when it is not installed. */
  readonly version: () => string | null
  /** How to get it, for those who do not have it. */
  readonly howToGet: string
  /** Writes its configuration; returns what to start. It runs in the foreground until SIGTERM. */
  readonly prepare: (place: Place) => Command
}

/** Where one instance of a target runs, and with what. */
export interface Place {
  /** TLS, on 127.0.0.1. */
  readonly port: number
  /** HTTP/1.1, on 127.0.0.1. */
  readonly upstreamPort: number
  /** A folder of its own. */
  readonly directory: string
  readonly material: Material
}

export interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

export function write(place: Place, name: string, text: string): string {
  const path = join(place.directory, name)
  writeFileSync(path, text)
  return path
}
