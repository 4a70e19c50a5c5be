/**
 * A strict reader for DER (X.690 §10, §11): definite and minimal lengths, minimal integers, no trailing bytes.
 *
 * Nothing here recurses and nothing is read twice, so the depth is that of the calling grammar and the time is linear in the
 * input. Contents are views on the caller's buffer: a length that lies cannot make the reader allocate.
 */

/** Identifier octets (X.690 §8.1.2). X.509 needs none of the long form, which is therefore refused. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** The identifier octet of `[number]` around or in place of a primitive type. */
export const primitive = (number: number): number => 0x80 | number

/** The identifier octet of `[number] EXPLICIT`, or of an implicitly tagged constructed type. */
export const constructed = (number: number): number => 0xa0 | number

/** Bytes. The longest in use have about 20; without a limit the dotted form could fill megabytes. */
const MAX_OID = 64

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

const ZERO = 0x30
const Z = 0x5a

const hexOctet = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`

export class DerReader {
  private readonly bytes: Buffer
  private readonly end: number
  private at: number

  /** Reads `bytes` from `start` up to, not including, `end`. */
  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.at = start
    this.end = end
  }

  /** Where the next element starts, in bytes from the beginning of the whole buffer. */
  get offset(): number {
    return this.at
  }

  /** Whether everything has been read. */
  get done(): boolean {
    return this.at === this.end
  }

  /** The identifier octet of the next element; undefined at the end. */
  peek(): number | undefined {
    return this.at < this.end ? this.bytes[this.at] : undefined
  }

  /** Throws: `what` says what is wrong, the offset says where. */
  fail(what: string, offset = this.at): never {
    throw new Error(`${what} at byte ${offset}`)
  }

  /** Throws unless everything has been read. */
  close(what: string): void {
    if (this.at !== this.end) this.fail(`${what}: unexpected bytes after its last field`)
  }

  /** Moves past one element and returns a reader of its content. */
  enter(tag: number, what: string): DerReader {
    const end = this.header(tag, what)
    const inner = new DerReader(this.bytes, this.at, end)
    this.at = end
    return inner
  }

  /** Moves past one element and returns its content. */
  content(tag: number, what: string): Buffer {
    const end = this.header(tag, what)
    const content = this.bytes.subarray(this.at, end)
    this.at = end
    return content
  }

  /** Moves past one element of any type. */
  skip(what: string): void {
    const tag = this.peek()
    if (tag === undefined) this.fail(`${what} is missing`)
    this.at = this.header(tag, what)
  }

  /** The bytes from `offset` up to where the reader stands, headers included. */
  since(offset: number): Buffer {
    return this.bytes.subarray(offset, this.at)
  }

  /**
   * An INTEGER of any size in uppercase hex of whole bytes without leading zero bytes; `0` for zero and a leading `-` for
   * negative numbers. This is the form of `X509Certificate.serialNumber`.
   */
  integer(what: string): string {
    let { start, end } = this.integerContent(TAG.integer, what)
    const first = this.bytes[start] as number
    if (first === 0) {
      if (end - start === 1) return '0'
      start++
    }
    const hex = this.bytes.toString('hex', start, end).toUpperCase()
    if (first < 0x80) return hex
    // RFC 5280 §4.1.2.2 forbids negative serial numbers and asks readers to cope with those that exist all the same.
    const magnitude = ((1n << BigInt(hex.length * 4)) - BigInt(`0x${hex}`)).toString(16).toUpperCase()
    return magnitude.length % 2 === 0 ? `-${magnitude}` : `-0${magnitude}`
  }

  /** A non-negative INTEGER or ENUMERATED below 2^31. */
  smallInteger(what: string, tag: number = TAG.integer): number {
    const { start, end } = this.integerContent(tag, what)
    if (end - start > 4 || (this.bytes[start] as number) >= 0x80) this.fail(`${what} is out of range`, start)
    return this.bytes.readUIntBE(start, end - start)
  }

  /** A BOOLEAN; DER knows 0x00 and 0xFF only (X.690 §11.1). */
  boolean(what: string, tag: number = TAG.boolean): boolean {
    const start = this.at
    const value = this.content(tag, what)
    if (value.length !== 1 || (value[0] !== 0 && value[0] !== 0xff)) {
      this.fail(`${what} is not a BOOLEAN in DER`, start)
    }
    return value[0] === 0xff
  }

  /** An OBJECT IDENTIFIER in dotted form. Arcs above 2^53 are rounded, which keeps them apart from every known one. */
  oid(what: string): string {
    const end = this.header(TAG.oid, what)
    const start = this.at
    if (end === start || (this.bytes[end - 1] as number) >= 0x80) {
      this.fail(`${what}: incomplete object identifier`, start)
    }
    if (end - start > MAX_OID) this.fail(`${what}: object identifier of ${end - start} bytes`, start)
    let dotted = ''
    let arc = 0
    let arcStart = start
    for (let at = start; at < end; at++) {
      const octet = this.bytes[at] as number
      if (octet === 0x80 && at === arcStart) this.fail(`${what}: object identifier with padding`, at)
      arc = arc * 128 + (octet & 0x7f)
      if (octet >= 0x80) continue
      if (dotted !== '') dotted += `.${arc}`
      else if (arc < 80) dotted = `${arc < 40 ? 0 : 1}.${arc % 40}`
      else dotted = `2.${arc - 80}`
      arc = 0
      arcStart = at + 1
    }
    this.at = end
    return dotted
  }

  /** The bytes of a BIT STRING that fills whole bytes, as keys and signatures do. */
  wholeBitString(what: string): Buffer {
    const start = this.at
    const content = this.content(TAG.bitString, what)
    if (content.length < 1 || content[0] !== 0) this.fail(`${what} is not a BIT STRING of whole bytes`, start)
    return content.subarray(1)
  }

  /**
   * A UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 has them (seconds present, no fraction, `Z`), in seconds since the
   * epoch. A UTCTime year of 50 to 99 is in the 1900s.
   */
  time(what: string): number {
    const at = this.at
    const tag = this.peek()
    if (tag !== TAG.utcTime && tag !== TAG.generalizedTime) this.fail(`${what} is not a time`)
    const end = this.header(tag, what)
    const yearDigits = tag === TAG.utcTime ? 2 : 4
    if (end - this.at !== yearDigits + 11 || this.bytes[end - 1] !== Z) {
      this.fail(`${what} is not a time with seconds and Z`, at)
    }
    let year = this.twoDigits(what)
    if (tag === TAG.utcTime) year += year < 50 ? 2000 : 1900
    else year = year * 100 + this.twoDigits(what)
    const month = this.twoDigits(what)
    const day = this.twoDigits(what)
    const hour = this.twoDigits(what)
    const minute = this.twoDigits(what)
    const second = this.twoDigits(what)
    this.at = end
    const leapDay = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0
    // Date.UTC would carry over (31 April becomes 1 May), and takes the years 0 to 99 for 1900 to 1999.
    const exists = year >= 100 && day >= 1 && day <= (MONTH_DAYS[month - 1] ?? 0) + leapDay
    if (!exists || hour > 23 || minute > 59 || second > 59) this.fail(`${what} is not a date that exists`, at)
    return Date.UTC(year, month - 1, day, hour, minute, second) / 1000
  }

  private twoDigits(what: string): number {
    const tens = (this.bytes[this.at] as number) - ZERO
    const units = (this.bytes[this.at + 1] as number) - ZERO
    if (tens < 0 || tens > 9 || units < 0 || units > 9)
      this.fail(`${what} has a character that is not a digit`)
    this.at += 2
    return tens * 10 + units
  }

  private integerContent(tag: number, what: string): { start: number; end: number } {
    const end = this.header(tag, what)
    const start = this.at
    if (end === start) this.fail(`${what} is an empty INTEGER`)
    if (end - start > 1) {
      const first = this.bytes[start]
      const second = this.bytes[start + 1] as number
      // X.690 §8.3.2: the first nine bits are neither all zero nor all one.
      if ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)) {
        this.fail(`${what} is an INTEGER with padding`)
      }
    }
    this.at = end
    return { start, end }
  }

  /** Moves to the content of the next element and returns where that ends. */
  private header(tag: number, what: string): number {
    const start = this.at
    if (start >= this.end) this.fail(`${what} is missing`)
    const found = this.bytes[start] as number
    if (found !== tag) this.fail(`${what}: expected tag ${hexOctet(tag)}, found ${hexOctet(found)}`)
    if ((found & 0x1f) === 0x1f) this.fail(`${what}: tag in the long form`)
    if (start + 1 >= this.end) this.fail(`${what} is cut short`)
    let length = this.bytes[start + 1] as number
    let at = start + 2
    if (length >= 0x80) {
      const octets = length & 0x7f
      if (octets === 0) this.fail(`${what} has an indefinite length`)
      // Four octets already describe 4 GiB.
      if (octets > 4) this.fail(`${what} has a length of ${octets} octets`)
      if (at + octets > this.end) this.fail(`${what} is cut short`)
      length = this.bytes.readUIntBE(at, octets)
      if (length < 0x80 || length < 2 ** (8 * (octets - 1))) this.fail(`${what} has a length with padding`)
      at += octets
    }
    if (length > this.end - at) this.fail(`${what} claims ${length} bytes and ${this.end - at} are left`)
    this.at = at
    return at + length
  }
}
