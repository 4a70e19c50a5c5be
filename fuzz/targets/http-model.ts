/**
 * A message by RFC 9112 as its letters say, without any tolerance: what a strict reader makes of the bytes of a connection.
 * Slow, plain and written without a look at the readers that it judges.
 */
export interface ModelRequest {
  readonly method: string
  readonly target: string
  readonly version: string
  /** Name in lower case, value without the white space around it. */
  readonly fields: readonly (readonly [string, string])[]
  readonly bodyLength: number
}

/** Characters before a request line. */
export function emptyLines(bytes: string): number {
  return /^[\r\n]*/.exec(bytes)?.[0].length ?? 0
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** The messages at the start of the bytes, until the first one that breaks a rule or is not complete. */
export function readMessages(bytes: string): ModelRequest[] {
  const messages: ModelRequest[] = []
  let rest = bytes
  for (;;) {
    const read = readMessage(rest)
    if (read === null) return messages
    messages.push(read.message)
    rest = read.rest
  }
}

/** Whether the bytes are a complete head by the rules, whatever becomes of the body. */
export function readHead(bytes: string): Omit<ModelRequest, 'bodyLength'> | null {
  // Section 2.2: empty lines before a request line are to be ignored. node:http also passes over a CR or LF alone;
  // that is as little a second reading: nothing of it is forwarded.
  const start = emptyLines(bytes)
  const end = bytes.indexOf('\r\n\r\n', start)
  if (end === -1) return null
  const [line = '', ...lines] = bytes.slice(start, end).split('\r\n')
  // Section 3: words between spaces. node:http takes several spaces for one, as that section lets it.
  const [, method = '', target = '', number = ''] =
    /^([^ ]+) +([^ ]+) +HTTP\/([0-9]\.[0-9])$/.exec(line) ?? []
  if (!TOKEN.test(method)) return null
  const fields: [string, string][] = []
  for (const field of lines) {
    const colon = field.indexOf(':')
    const name = field.slice(0, Math.max(0, colon))
    const value = withoutBlanks(field.slice(colon + 1))
    // Section 5: no white space around the name, no folding; RFC 9110 section 5.5: no control characters in values.
    if (!TOKEN.test(name) || hasControl(value)) return null
    fields.push([name.toLowerCase(), value])
  }
  return { method, target, version: number, fields }
}

/** RFC 9110 section 5.5: everything below a space but the tab, and DEL. */
function hasControl(value: string): boolean {
  return [...value].some(character => (character < ' ' && character !== '\t') || character === '\x7f')
}

function readMessage(bytes: string): { message: ModelRequest; rest: string } | null {
  const head = readHead(bytes)
  if (head === null) return null
  const start = emptyLines(bytes)
  const body = bytes.slice(bytes.indexOf('\r\n\r\n', start) + 4)
  const all = (name: string) => head.fields.filter(([field]) => field === name).map(([, value]) => value)
  const codings = all('transfer-encoding')
  const lengths = all('content-length')
  if (codings.length + lengths.length > 1) return null
  if (codings.length === 1) {
    if (codings[0]?.toLowerCase() !== 'chunked' || head.version !== '1.1') return null
    const used = chunkedLength(body)
    return used === null ? null : { message: { ...head, bodyLength: used }, rest: body.slice(used) }
  }
  const length = lengths[0] ?? '0'
  if (!/^[0-9]{1,15}$/.test(length) || Number(length) > body.length) return null
  return { message: { ...head, bodyLength: Number(length) }, rest: body.slice(Number(length)) }
}

/** Section 7.1: bytes of a chunked body with its trailers, or null when it breaks a rule or does not end. */
function chunkedLength(body: string): number | null {
  let at = 0
  for (;;) {
    const end = body.indexOf('\r\n', at)
    if (end === -1) return null
    // Extensions: any text after a semicolon that has no control characters.
    const size = /^([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/.exec(body.slice(at, end))?.[1]
    if (size === undefined) return null
    at = end + 2
    const length = Number.parseInt(size, 16)
    if (length === 0) break
    if (body.slice(at + length, at + length + 2) !== '\r\n') return null
    at += length + 2
  }
  for (;;) {
    const end = body.indexOf('\r\n', at)
    if (end === -1) return null
    if (end === at) return end + 2
    const colon = body.indexOf(':', at)
    if (colon === -1 || colon > end || !TOKEN.test(body.slice(at, colon))) return null
    at = end + 2
  }
}

/** Without the spaces and tabs around it. `trim` would take more, and a pattern for the end is quadratic. */
function withoutBlanks(text: string): string {
  let first = 0
  let last = text.length
  while (isBlank(text[first])) first++
  while (last > first && isBlank(text[last - 1])) last--
  return text.slice(first, last)
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
