/** How a figure moves over time. */

export const MIB = 1024 * 1024

/** For people. */
export const mib = (bytes: number): string => (bytes / MIB).toFixed(1)

export interface Sample {
  /** Seconds since the start. */
  readonly at: number
  readonly value: number
}

/** Slope of the line with the least squares, a second; 0 with fewer than two samples. */
export function slope(samples: readonly Sample[]): number {
  const count = samples.length
  if (count < 2) return 0
  const meanAt = samples.reduce((sum, { at }) => sum + at, 0) / count
  const meanValue = samples.reduce((sum, { value }) => sum + value, 0) / count
  const spread = samples.reduce((sum, { at }) => sum + (at - meanAt) ** 2, 0)
  const common = samples.reduce((sum, { at, value }) => sum + (at - meanAt) * (value - meanValue), 0)
  return spread === 0 ? 0 : common / spread
}

/** The last half of the time, where caches are full and code is compiled. */
export function lastHalf(samples: readonly Sample[]): readonly Sample[] {
  const [first, last] = [samples[0]?.at ?? 0, samples.at(-1)?.at ?? 0]
  return samples.filter(({ at }) => at >= (first + last) / 2)
}
