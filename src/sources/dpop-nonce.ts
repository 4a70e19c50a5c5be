import { createHmac, timingSafeEqual } from 'node:crypto'

/** Nonces for DPoP proofs (RFC 9449 section 9). None is stored: each says when it was issued and proves that we said so. */
export interface Nonces {
  /** The nonce of the present window of so many seconds; the same until the window ends. base64url, so NQCHAR (section 8.1). */
  readonly issue: (windowSeconds: number, now: number) => string
  /** When the nonce was issued, in seconds since the epoch; null when it is not one of ours. */
  readonly issuedAt: (nonce: unknown) => number | null
}

/** Milliseconds since the epoch. */
const TIME_BYTES = 6
/** 128 bits of HMAC-SHA-256: nobody guesses a nonce of a window to come. */
const MAC_BYTES = 16
const NONCE_LENGTH = Math.ceil(((TIME_BYTES + MAC_BYTES) * 4) / 3)

/** @param secret at least 32 random bytes; the same for all processes that accept each other's nonces */
export function createNonces(secret: Buffer): Nonces {
  const nonceOf = (time: Buffer) => {
    const mac = createHmac('sha256', secret).update('dpop-nonce').update(time).digest()
    return Buffer.concat([time, mac.subarray(0, MAC_BYTES)])
  }
  return {
    issue(windowSeconds, now) {
      const time = Buffer.alloc(TIME_BYTES)
      time.writeUIntBE(Math.round(Math.floor(now / windowSeconds) * windowSeconds * 1000), 0, TIME_BYTES)
      return nonceOf(time).toString('base64url')
    },
    issuedAt(nonce) {
      if (typeof nonce !== 'string' || nonce.length !== NONCE_LENGTH) return null
      const bytes = Buffer.from(nonce, 'base64url')
      if (bytes.length !== TIME_BYTES + MAC_BYTES || bytes.toString('base64url') !== nonce) return null
      const time = bytes.subarray(0, TIME_BYTES)
      return timingSafeEqual(bytes, nonceOf(time)) ? time.readUIntBE(0, TIME_BYTES) / 1000 : null
    },
  }
}
