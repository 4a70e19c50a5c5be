import { type DestinationStream, destination, pino } from 'pino'

/** The log of the process: JSON lines. Callers pass named fields only, never objects of a request, token or library. */
export interface Logger {
  readonly info: (fields: Fields, message: string) => void
  readonly warn: (fields: Fields, message: string) => void
  readonly error: (fields: Fields, message: string) => void
  readonly debug: (fields: Fields, message: string) => void
  /** Whether info lines are written at all, so that the request line need not be built in vain. */
  readonly isInfoEnabled: boolean
  /** Info lines of requests, written at once. Past pino, which takes twice as long: the names of their fields are known, so none is looked for. */
  readonly requests: (lines: readonly RequestLine[]) => void
  readonly setLevel: (level: string) => void
  /** Resolves when what is buffered is written, or cannot be: a reader that is gone or slow holds nobody up. Never rejects. */
  readonly flush: () => Promise<void>
}

/** What the log says of a request. */
export interface RequestLine {
  /** When the request ended, in seconds since the epoch. */
  readonly at: number
  readonly fields: Fields
}

export type Fields = Readonly<Record<string, string | number | boolean | null | undefined>>

/**
 * A second line behind the rule that no secret is passed: these members are blanked wherever they might turn up.
 */
const NEVER_LOGGED = [
  'authorization',
  'token',
  'access_token',
  'client_secret',
  'dpop',
  'cookie',
  'key',
  'password',
]

/** Longest wait for the reader of the log at the end. Milliseconds. */
const FLUSH_MS = 2_000

/** Lines are written together from so many bytes on. More would cost more: the sink walks through its last 16 KiB for each line. */
const WRITE_BYTES = 12 * 1024

/** Where log lines go. */
export type LogSink = DestinationStream

export interface LogOptions {
  readonly sink?: LogSink
  /** Which of several processes writes; in every line of it. */
  readonly worker?: number
}

/** Opens the log on stdout. Lines are buffered for a moment: one write for many requests. */
export function openLog(level: string, { sink = bufferedStdout(), worker }: LogOptions = {}): Logger {
  const base = worker === undefined ? { name: 'postern' } : { name: 'postern', worker }
  const timeMember = timeMembers()
  const log = pino(
    {
      level,
      base,
      timestamp: () => timeMember(Date.now()),
      formatters: { level: label => ({ level: label }) },
      redact: { paths: NEVER_LOGGED, censor: '[redacted]' },
    },
    sink,
  )
  const ofAll = `,${JSON.stringify(base).slice(1, -1)},`
  const lineOf = ({ at, fields }: RequestLine): string =>
    `{"level":"info"${timeMember(Math.floor(at * 1000))}${ofAll}${JSON.stringify(fields).slice(1, -1)},"msg":"request"}\n`
  return {
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    error: (fields, message) => log.error(fields, message),
    debug: (fields, message) => log.debug(fields, message),
    get isInfoEnabled() {
      return log.isLevelEnabled('info')
    },
    requests: lines => sink.write(lines.map(lineOf).join('')),
    setLevel: next => {
      log.level = next
    },
    flush: () =>
      new Promise(resolve => {
        setTimeout(resolve, FLUSH_MS).unref()
        // Not its flushSync, which tries for ever when the reader has gone.
        if ('flush' in sink && typeof sink.flush === 'function') sink.flush(() => resolve())
        else resolve()
      }),
  }
}

/** The member for the time of a line, in milliseconds since the epoch; many lines are of the same millisecond. */
function timeMembers(): (now: number) => string {
  let at = 0
  let member = ''
  return now => {
    if (now !== at) member = `,"time":"${new Date(now).toISOString()}"`
    at = now
    return member
  }
}

export function bufferedStdout(): LogSink {
  const stdout = destination({
    fd: 1,
    sync: false,
    minLength: WRITE_BYTES,
    maxLength: 4 * 1024 * 1024,
    periodicFlush: 200,
  })
  // A reader of the log that went away (EPIPE) must not end the process.
  stdout.on('error', () => {})
  return stdout
}

/** What may be said of a thrown value in a log: name, message and stack of an Error, nothing else. */
export function faultFields(fault: unknown): Fields {
  return fault instanceof Error
    ? { fault: fault.name, reason: fault.message, stack: fault.stack ?? '' }
    : { fault: 'not an Error', reason: typeof fault }
}
