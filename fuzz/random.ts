/** Numbers that follow from a seed, so that every run can be repeated. Nothing here is fit for a secret. */
export class Random {
  #state: number

  /** @param seed a whole number below 2^32 */
  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number from 0 to `below` - 1. */
  below(below: number): number {
    // A Weyl sequence whose values are mixed by two rounds of multiply and shift.
    this.#state = (this.#state + 0x9e37_79b9) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 16), 0x21f0_aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97)
    return ((((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32) * below) >>> 0
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0
  }

  /** One member of a list that has some. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  /** The results of `make`, joined, from `least` to `most` of them. */
  repeat(least: number, most: number, make: () => string, between = ''): string {
    return Array.from({ length: least + this.below(most - least + 1) }, make).join(between)
  }

  /** One byte as a character. */
  byte(): string {
    return String.fromCharCode(this.below(256))
  }
}
